"""Pools, segments and allocations have the same filters of a kind, in REST, in pages and in GraphQL."""

import pytest

from netbox_vlan_manager import filtersets, forms
from netbox_vlan_manager.graphql import filters

MODELS = {
    "pools": (filtersets.SegmentPoolFilterSet, forms.SegmentPoolFilterForm, filters.SegmentPoolFilter),
    "segments": (filtersets.SegmentFilterSet, forms.SegmentFilterForm, filters.SegmentFilter),
    "allocations": (filtersets.AllocationFilterSet, forms.AllocationFilterForm, filters.AllocationFilter),
}
# By name and by id in REST, by id in a form, nested in GraphQL.
RELATIONS = ("region", "site_group", "site", "location", "tenant", "tenant_group", "vrf", "vlan_group")


@pytest.mark.django_db
@pytest.mark.parametrize("model", MODELS)
def test_filters_of_a_kind(model):
    filterset, form, graphql = MODELS[model]
    by_rest, by_form = set(filterset().filters), set(form().fields)
    by_graphql = {field.name for field in graphql.__strawberry_definition__.fields}

    assert {*RELATIONS, *(f"{name}_id" for name in RELATIONS)} <= by_rest
    assert {f"{name}_id" for name in RELATIONS} <= by_form
    assert set(RELATIONS) <= by_graphql

    assert {"prefix", "within", "within_include", "contains"} <= by_rest
    assert {"within_include", "contains"} <= by_form
    assert {"within", "within_include", "contains"} <= by_graphql

    for surface in (by_rest, by_form, by_graphql):
        assert ("held_at" in surface) == (model != "pools")


@pytest.mark.django_db
def test_held_at_names_the_time_zone():
    for form in (forms.SegmentFilterForm, forms.AllocationFilterForm):
        assert "UTC" in form().fields["held_at"].help_text
        assert "2026-03-12T14:30:00Z" in form({"held_at": "March"}).errors["held_at"][0]
