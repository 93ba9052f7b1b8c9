"""Every way to change a pool, a segment or an allocation refuses the same values, and changes nothing."""

import pytest
from django.urls import reverse

from ipam.models import VLAN, VRF, Prefix, VLANGroup
from netbox.registry import registry
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool
from netbox_vlan_manager.services import allocate
from tests.api.base import client_of, run_in_background, url_of
from tests.factories import make_pool, make_user
from tests.ui.test_pools import edit_data
from utilities.exceptions import AbortRequest

pytestmark = pytest.mark.django_db

# NetBox's views that change objects; the others call their own services. A new view needs a way below.
NETBOX_WAYS = {
    "segmentpool": {"add", "edit", "delete", "bulk_import", "bulk_edit", "bulk_delete"},
    "segment": {"add", "edit", "delete", "bulk_import_objects", "bulk_edit", "bulk_delete"},
    "allocation": {"edit", "bulk_edit"},
}
OWN_WAYS = {
    "segmentpool": {"merge", "resize", "retire", "generate", "adopt"},
    "segment": {
        "bulk_import",
        "bulk_disable",
        "bulk_enable",
        "bulk_release",
        "disable",
        "enable",
        "end_quarantine",
        "share",
    },
    "allocation": {"allocate", "allocate_stretched", "bulk_release", "release", "renew", "hand_over", "undo_release"},
}
READING = {
    "",
    "list",
    "segments",
    "allocations",
    "history",
    "map",
    "space",
    "changelog",
    "journal",
    "contacts",
    "jobs",
    "image_attachments",
}


@pytest.fixture
def pool(client):
    client.force_login(make_user("root", is_superuser=True))
    pool = make_pool(segments=2)
    VRF.objects.create(name="Other")
    VLANGroup.objects.create(name="Other", slug="other")
    Prefix.objects.create(prefix="10.9.0.0/16", vrf=pool.vrf, status="container")
    return pool


BAD = {
    "lengths of IPv6": {"min_prefix_length": 100, "max_prefix_length": 120},
    "lengths upside down": {"min_prefix_length": 28, "max_prefix_length": 20},
    "thresholds upside down": {"warning_threshold": 90, "critical_threshold": 50},
    "a threshold beyond": {"critical_threshold": 101},
    "retiring": {"status": "retiring"},
    "an unknown status": {"status": "gone"},
    "growth without a length": {"auto_grow": True},
    "a template": {"epg_template": "{secret}"},
    "a cool-down": {"cooldown": -1},
    "another VRF": {"vrf": "Other"},
    "another VLAN group": {"vlan_group": "Other"},
    "other containers": {"prefixes": ["10.9.0.0/16"]},
}


def for_rest(values):
    return {name: {"name": value} if name in ("vrf", "vlan_group") else value for name, value in values.items()}


def for_form(values):
    by_name = {"vrf": VRF, "vlan_group": VLANGroup}
    values = {name: by_name[name].objects.get(name=v).pk if name in by_name else v for name, v in values.items()}
    if "prefixes" in values:
        values["prefixes"] = list(Prefix.objects.filter(prefix__in=values["prefixes"]).values_list("pk", flat=True))
    return {name: "true" if value is True else value for name, value in values.items()}


def patch(client, pool, values):
    rest = client_of(make_user("root"))
    response = rest.patch(url_of("segmentpool-detail", pk=pool.pk), for_rest(values), format="json")
    assert response.status_code == 400, response.json()


def bulk_patch(client, pool, values):
    rest = client_of(make_user("root"))
    response = rest.patch(url_of("segmentpool-list"), [{"id": pool.pk, **for_rest(values)}], format="json")
    assert response.status_code == 400, response.json()


def background(client, pool, values):
    rest = client_of(make_user("root"))
    job = run_in_background(rest, "patch", url_of("segmentpool-list"), [{"id": pool.pk, **for_rest(values)}])
    assert (job.status, job.data["status_code"]) == ("failed", 400)


def form(client, pool, values):
    response = client.post(f"{pool.get_absolute_url()}edit/", edit_data(pool, **for_form(values)))
    assert response.status_code == 200


def bulk_form(client, pool, values):
    response = client.post(
        reverse("plugins:netbox_vlan_manager:segmentpool_bulk_edit"),
        {"pk": [pool.pk], "_apply": "1", **for_form(values)},
    )
    assert response.status_code == 200


def file_with_ids(client, pool, values):
    names = ",".join(["id", *values])
    row = ",".join(str(v[0] if isinstance(v, list) else v) for v in [pool.pk, *values.values()])
    response = client.post(
        reverse("plugins:netbox_vlan_manager:segmentpool_bulk_import"),
        {"import_method": "direct", "format": "csv", "csv_delimiter": ",", "data": f"{names}\n{row}"},
    )
    assert response.status_code == 200


def script(client, pool, values):
    pool = SegmentPool.objects.get(pk=pool.pk)
    for name, value in for_form(values).items():
        setattr(pool, f"{name}_id" if name in ("vrf", "vlan_group") else name, value is True or value)
    with pytest.raises(AbortRequest):
        pool.save()


# Values that a way does not check. The database checks the thresholds; scripts may save the other values.
NOT_TAKEN = {
    bulk_form: {"vrf", "vlan_group", "prefixes"},
    script: {"prefixes", "status", "warning_threshold", "critical_threshold", "epg_template", "cooldown"},
}


@pytest.mark.parametrize("way", [patch, bulk_patch, background, form, bulk_form, file_with_ids, script])
@pytest.mark.parametrize("bad", BAD)
def test_pools(client, pool, bad, way):
    values = BAD[bad]
    if NOT_TAKEN.get(way, set()).intersection(values):
        return

    def state():
        return list(SegmentPool.objects.values()), sorted(pool.prefixes.values_list("prefix", flat=True))

    before = state()
    way(client, pool, values)
    assert state() == before


def test_good_values_by_the_bulk_form(client, pool):
    other = make_pool(scope="Site2", container="10.1.0.0/16", description="Old")
    response = client.post(
        reverse("plugins:netbox_vlan_manager:segmentpool_bulk_edit"),
        {
            "pk": [pool.pk, other.pk],
            "_apply": "1",
            "min_prefix_length": 24,
            "max_prefix_length": 28,
            "auto_grow": "true",
            "grow_prefix_length": 26,
            "_nullify": "description",
            "changelog_message": "Ticket 7",
        },
    )
    assert response.status_code == 302
    for changed in (pool, other):
        changed.refresh_from_db()
        assert (changed.min_prefix_length, changed.max_prefix_length) == (24, 28)
        assert (changed.auto_grow, changed.grow_prefix_length, changed.description) == (True, 26, "")


def test_the_bulk_form_names_the_pool_and_the_field(client, pool):
    other = make_pool(scope="Site2", container="2001:db8::/32")
    response = client.post(
        reverse("plugins:netbox_vlan_manager:segmentpool_bulk_edit"),
        {"pk": [pool.pk, other.pk], "_apply": "1", "min_prefix_length": 64, "max_prefix_length": 64},
    )
    errors = response.context["form"].errors
    assert errors["min_prefix_length"] == ["Network1 Site1: The pool's containers are IPv4: use a length up to /32."]
    other.refresh_from_db()
    assert other.min_prefix_length is None


@pytest.mark.parametrize(
    "bad", [{"vid": 2000}, {"epg_name": "a b c!"}, {"prefix": "192.0.2.0/24"}, {"ipv6_prefix": "10.0.9.0/24"}]
)
def test_segments(client, pool, bad):
    segment = pool.segments.get(vid=100)
    rest = client_of(make_user("root"))
    now = {"vid": 100, "epg_name": "EPG_100", "prefix": "10.0.0.0/24"}

    def state():
        return [list(model.objects.order_by("pk").values()) for model in (Segment, VLAN, Prefix)]

    before = state()
    for response in (
        rest.patch(url_of("segment-detail", pk=segment.pk), bad, format="json"),
        rest.put(url_of("segment-detail", pk=segment.pk), {"pool": pool.pk, **now, **bad}, format="json"),
        rest.patch(url_of("segment-list"), [{"id": segment.pk, **bad}], format="json"),
    ):
        assert response.status_code == 400, response.json()
    response = client.post(f"{segment.get_absolute_url()}edit/", {**now, **bad})
    assert response.status_code == 200
    names, row = ",".join(["id", *bad]), ",".join(map(str, [segment.pk, *bad.values()]))
    response = client.post(
        reverse("plugins:netbox_vlan_manager:segment_bulk_import_objects"),
        {"import_method": "direct", "format": "csv", "csv_delimiter": ",", "data": f"{names}\n{row}"},
    )
    assert response.status_code == 200
    assert state() == before


def test_a_script_changes_nothing_that_the_services_write(pool):
    allocation = allocate("prod-01", pool=pool, user=make_user()).allocation
    segment = Segment.objects.get(pk=allocation.segment_id)
    segment.vid, segment.status, segment.pool = 500, "available", make_pool(scope="Site2", container="10.1.0.0/16")
    segment.save()
    allocation.cluster_name, allocation.pool = "other", segment.pool
    allocation.save()
    assert list(Segment.objects.filter(pk=segment.pk).values_list("vid", "status", "pool")) == [
        (100, "allocated", pool.pk)
    ]
    assert list(Allocation.objects.values_list("cluster_name", "pool")) == [("prod-01", pool.pk)]


@pytest.mark.parametrize("model", NETBOX_WAYS)
def test_all_views_are_known(model):
    views = {view["name"] for view in registry["views"]["netbox_vlan_manager"][model]}
    own = {view for view in views if not view.endswith("_job")} - NETBOX_WAYS[model] - OWN_WAYS[model] - READING
    assert own == set()
