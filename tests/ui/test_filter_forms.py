import pytest

from netbox_vlan_manager import filtersets, forms

PAIRS = [
    (forms.SegmentPoolFilterForm, filtersets.SegmentPoolFilterSet),
    (forms.SegmentFilterForm, filtersets.SegmentFilterSet),
    (forms.AllocationFilterForm, filtersets.AllocationFilterSet),
]


@pytest.mark.django_db
@pytest.mark.parametrize(("form", "filterset"), PAIRS)
def test_every_field_filters_and_is_shown(form, filterset):
    fields = set(form().fields) - {"filter_id"}

    assert fields <= set(filterset().filters)
    assert fields <= {item for fieldset in form.fieldsets for item in fieldset.items}
