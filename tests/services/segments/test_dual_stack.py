"""Segments with both an IPv4 and an IPv6 prefix."""

import pytest
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import ProtectedError

from core.models import ObjectChange
from ipam.models import IPAddress, Prefix
from netbox_vlan_manager.exceptions import SegmentInUse
from netbox_vlan_manager.models import Segment
from netbox_vlan_manager.services import (
    allocate,
    create_segment,
    delete_segment,
    release,
    update_pool,
    update_segment,
)
from netbox_vlan_manager.services.onboarding.import_files import parse_csv
from netbox_vlan_manager.services.onboarding.importing import import_segments
from netbox_vlan_manager.services.reporting.export import segment_rows
from netbox_vlan_manager.services.reporting.vlan_map import vlan_map
from netbox_vlan_manager.services.segments.segment_columns import EXPORTED
from tests.drift import find_drift
from tests.factories import make_pool, make_segment
from utilities.exceptions import AbortRequest

pytestmark = pytest.mark.django_db

CIDR = "2001:db8::/64"


@pytest.fixture
def pool(user):
    pool = make_pool()
    return update_pool(pool, user=user, prefixes=["10.0.0.0/16", "2001:db8::/48"])


@pytest.fixture
def segment(pool):
    return make_segment(pool, 100, ipv6_prefix=CIDR)


def errors(error):
    return error.value.message_dict


def test_both_prefixes_are_made_and_go_with_the_segment(user, pool, segment):
    prefix = Prefix.objects.get(prefix=CIDR)
    assert segment.ipv6_prefix == prefix
    assert (prefix.vrf, prefix.vlan, prefix.scope, prefix.status) == (pool.vrf, segment.vlan, pool.scope, "active")
    assert (prefix.depth, Prefix.objects.get(prefix="2001:db8::/48").children) == (1, 1)
    assert find_drift() == []

    delete_segment(segment, user=user)

    assert not Prefix.objects.filter(prefix__in=[CIDR, "10.0.0.0/24"]).exists()


def test_prefix_that_was_there_is_taken_and_stays(user, pool):
    existing = Prefix.objects.create(prefix=CIDR, vrf=pool.vrf)
    segment = make_segment(pool, 100, ipv6_prefix=CIDR)
    assert (segment.ipv6_prefix, segment.owns_ipv6_prefix, segment.owns_prefix) == (existing, False, True)
    existing.refresh_from_db()
    assert existing.vlan == segment.vlan

    delete_segment(segment, user=user)
    assert Prefix.objects.filter(pk=existing.pk).exists()


@pytest.mark.parametrize(
    ("prefix", "ipv6_prefix", "field", "says"),
    [
        ("10.0.1.0/24", "10.0.2.0/24", "ipv6_prefix", "is IPv4"),
        ("2001:db8:0:1::/64", "2001:db8:0:2::/64", "ipv6_prefix", "is IPv6 already"),
        ("10.0.1.0/24", "2001:db9::/64", "ipv6_prefix", "lies in no container"),
        ("10.0.1.0/24", "2001:db8::/128", "ipv6_prefix", "/48 to /127"),
        ("10.0.1.0/24", "2001:db8::1/64", "ipv6_prefix", "2001:db8::/64"),
        ("10.0.1.0/24", "2001:db8::/63", "ipv6_prefix", "overlaps another segment"),
        ("2001:db8::/63", None, "prefix", "overlaps another segment"),
    ],
)
def test_wrong_prefix_makes_nothing(pool, segment, prefix, ipv6_prefix, field, says):
    with pytest.raises(ValidationError) as error:
        make_segment(pool, 101, prefix=prefix, ipv6_prefix=ipv6_prefix)
    assert list(errors(error)) == [field]
    assert says in errors(error)[field][0]
    assert Segment.objects.count() == 1


def test_allocation_tells_both_and_both_are_reserved(user, pool, segment):
    allocation = allocate("prod-01", user=user, pool=pool).allocation
    assert (str(allocation.prefix), str(allocation.ipv6_prefix)) == ("10.0.0.0/24", CIDR)
    assert set(Prefix.objects.filter(vlan=segment.vlan).values_list("status", flat=True)) == {"reserved"}
    assert find_drift() == []

    release("prod-01", user=user, pool=pool)
    assert set(Prefix.objects.filter(vlan=segment.vlan).values_list("status", flat=True)) == {"active"}


def test_prefix_is_added_to_an_allocated_segment(user, pool):
    segment = make_segment(pool, 100)
    allocation = allocate("prod-01", user=user, pool=pool).allocation

    segment = update_segment(segment, user=user, ipv6_prefix=CIDR)

    allocation.refresh_from_db()
    assert str(allocation.ipv6_prefix) == CIDR
    assert (segment.ipv6_prefix.status, segment.owns_ipv6_prefix) == ("reserved", True)
    assert find_drift() == []
    change = ObjectChange.objects.filter(changed_object_id=segment.pk, changed_object_type__model="segment").latest(
        "time"
    )
    assert (change.prechange_data["ipv6_prefix"], change.postchange_data["ipv6_prefix"]) == (
        None,
        segment.ipv6_prefix.pk,
    )


@pytest.mark.parametrize("value", ["2001:db8:0:9::/64", None])
def test_prefix_of_an_allocated_segment_stays(user, pool, segment, value):
    allocate("prod-01", user=user, pool=pool)
    with pytest.raises(SegmentInUse):
        update_segment(segment, user=user, ipv6_prefix=value)


def test_prefix_is_changed_and_removed(user, segment):
    pk = segment.ipv6_prefix_id
    update_segment(segment, user=user, ipv6_prefix="2001:db8:0:9::/64")
    assert str(Prefix.objects.get(pk=pk)) == "2001:db8:0:9::/64"

    segment = update_segment(segment, user=user, ipv6_prefix=None)

    segment.refresh_from_db()
    assert segment.ipv6_prefix is None
    assert not segment.owns_ipv6_prefix
    assert not Prefix.objects.filter(pk=pk).exists()
    assert find_drift() == []


def test_prefix_that_was_there_stays_when_it_is_removed(user, pool):
    existing = Prefix.objects.create(prefix=CIDR, vrf=pool.vrf)
    segment = make_segment(pool, 100, ipv6_prefix=CIDR)
    update_segment(segment, user=user, ipv6_prefix=None)
    assert Prefix.objects.filter(pk=existing.pk).exists()


def test_ipv4_prefix_becomes_no_ipv6_one_beside_another(user, segment):
    with pytest.raises(ValidationError) as error:
        update_segment(segment, user=user, prefix="2001:db8:0:9::/64")
    assert "is IPv6 already" in errors(error)["ipv6_prefix"][0]


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("prefix", "2001:db9::/64", "lies in no container"),
        ("prefix", "10.0.9.0/24", "is IPv4"),
        ("status", "deprecated", "allocate or release"),
        ("vrf", None, "stays in VRF"),
        ("vlan", None, "stays with VLAN"),
    ],
)
def test_edit_in_netbox_that_does_not_fit_is_refused(segment, field, value, says):
    prefix = Prefix.objects.get(prefix=CIDR)
    prefix.snapshot()
    setattr(prefix, field, value)
    with pytest.raises(ValidationError) as error:
        prefix.full_clean()
    assert says in errors(error)[field][0]


def test_edit_in_netbox_is_followed(user, pool, segment):
    prefix = Prefix.objects.get(prefix=CIDR)
    prefix.prefix = "2001:db8:0:5::/64"
    prefix.save()
    allocation = allocate("prod-01", user=user, pool=pool).allocation
    assert str(allocation.ipv6_prefix) == "2001:db8:0:5::/64"

    prefix.prefix = "2001:db8:0:6::/64"
    with pytest.raises(AbortRequest, match="release it before"):
        prefix.save()


def test_container_of_the_second_prefix_is_kept(user, pool, segment):
    container = Prefix.objects.get(prefix="2001:db8::/48")
    with pytest.raises(ProtectedError), transaction.atomic():
        container.delete()
    with pytest.raises(ValidationError) as error:
        update_pool(pool, user=user, prefixes=["10.0.0.0/16"])
    assert CIDR in errors(error)["prefixes"][0]


def test_prefix_in_use_elsewhere_is_not_deleted_under_its_user(user, pool, segment):
    """IP addresses do not prevent the deletion of their prefix, as in NetBox; they stay."""
    IPAddress.objects.create(address="2001:db8::1/64", vrf=pool.vrf)
    update_segment(segment, user=user, ipv6_prefix=None)
    assert IPAddress.objects.count() == 1


HEADER = "site,vlan_id,epg_name,segment,ipv6_prefix,vrf\n"


def run_import(user, text):
    return import_segments(parse_csv(HEADER + text), user=user)


def test_import_takes_both_and_changes_nothing_the_second_time(user, pool):
    text = f"Site1,100,EPG_a,10.0.1.0/24,{CIDR},Network1\nSite1,101,EPG_b,10.0.2.0/24,,Network1\n"
    assert run_import(user, text).count("created") == 2
    assert run_import(user, text).count("unchanged") == 2
    assert str(Segment.objects.get(vid=100).ipv6_prefix) == CIDR

    result = run_import(user, "Site1,101,EPG_b,10.0.2.0/24,2001:db8:0:1::/64,Network1\n")
    assert result.results[0].changes == {"ipv6_prefix": {"old": "", "new": "2001:db8:0:1::/64"}}
    result = run_import(user, "Site1,101,EPG_b,10.0.2.0/24,,Network1\n")
    assert result.results[0].changes == {"ipv6_prefix": {"old": "2001:db8:0:1::/64", "new": ""}}
    assert Segment.objects.get(vid=101).ipv6_prefix is None

    # Without the column, the IPv6 prefix stays.
    result = import_segments(
        parse_csv("site,vlan_id,epg_name,segment,vrf\nSite1,100,EPG_a,10.0.1.0/24,Network1\n"), user=user
    )
    assert result.count("unchanged") == 1
    assert find_drift() == []


def test_import_names_the_column(user, pool):
    (row,) = run_import(user, "Site1,100,EPG_a,10.0.1.0/24,10.0.2.0/24,Network1\n").results
    assert "is IPv4" in row.errors["ipv6_prefix"][0]


def test_two_new_rows_do_not_share_one(user, pool):
    text = f"Site1,100,EPG_a,10.0.1.0/24,{CIDR},Network1\nSite1,101,EPG_b,10.0.2.0/24,{CIDR},Network1\n"
    result = run_import(user, text)
    assert [row.status for row in result.results] == ["created", "failed"]
    assert "overlaps" in result.results[1].errors["ipv6_prefix"][0]


def test_export_and_map_show_both(user, pool, segment):
    make_segment(pool, 101, 1)
    rows = [dict(zip(EXPORTED, row, strict=True)) for row in segment_rows(Segment.objects.all())]
    assert [row["ipv6_prefix"] for row in rows] == [CIDR, ""]
    cell = next(cell for cell in vlan_map(pool, user).cells if cell.vid == 100)
    assert (str(cell.prefix), str(cell.ipv6_prefix)) == ("10.0.0.0/24", CIDR)


def test_both_are_counted_in_bulk_and_one_by_one_alike(user, pool):
    rows = "".join(
        f"Site1,{100 + number},EPG_{number},10.0.{number}.0/24,2001:db8:0:{number:x}::/64,Network1\n"
        for number in range(30)
    )
    assert run_import(user, rows).count("created") == 30
    create_segment(pool, user=user, vid=200, epg_name="one", prefix="10.0.99.0/24", ipv6_prefix="2001:db8:0:ff::/64")
    for cidr in ("10.0.0.0/16", "2001:db8::/48"):
        container = Prefix.objects.get(prefix=cidr)
        assert container.children == 31
        assert set(container.get_child_prefixes().values_list("_depth", flat=True)) == {1}
