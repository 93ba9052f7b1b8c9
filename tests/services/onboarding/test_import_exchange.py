"""Rows that take EPG names or networks which other rows of the file give up."""

import pytest

from core.models import ObjectChange
from ipam.models import VLAN, Prefix
from netbox_vlan_manager.models import Allocation, Segment
from netbox_vlan_manager.services import allocate
from netbox_vlan_manager.services.onboarding.import_files import parse_csv
from netbox_vlan_manager.services.onboarding.importing import import_segments
from tests.drift import find_drift
from tests.factories import make_pool, make_segment, make_user

pytestmark = pytest.mark.django_db

NAMES = ("A", "B", "C", "D")


@pytest.fixture
def pool():
    pool = make_pool()
    for index, name in enumerate(NAMES):
        make_segment(pool, 100 + index, index, epg_name=name)
    return pool


def load(rows, **kwargs):
    """Import {VLAN ID: (EPG name, network, IPv6 network)}."""
    lines = [f"{vid},{name},{network},{ipv6}" for vid, (name, network, ipv6) in rows.items()]
    text = "pool,vlan_id,epg_name,segment,ipv6_prefix\n" + "".join(f"network1-site1,{line}\n" for line in lines)
    return import_segments(parse_csv(text), user=make_user(), enforce=False, **kwargs)


def row(name, index, ipv6=""):
    return name, f"10.0.{index}.0/24", ipv6


def state():
    segments = Segment.objects.order_by("vid")
    return {segment.vid: (segment.epg_name, str(segment.prefix.prefix)) for segment in segments}


def check_hierarchy():
    """Check that NetBox's cached prefix counts are right."""
    for prefix in Prefix.objects.annotate_hierarchy():
        assert (prefix._depth, prefix._children) == (prefix.hierarchy_depth, prefix.hierarchy_children), prefix


@pytest.mark.parametrize(
    "names",
    [("B", "A", "C", "D"), ("B", "C", "D", "A"), ("B", "C", "D", "E"), ("E", "A", "B", "C"), ("D", "C", "B", "A")],
)
@pytest.mark.parametrize("atomic", [False, True])
def test_names_change_places(pool, names, atomic):
    allocate("prod", pool=pool, vid=100, user=make_user())
    before = VLAN.objects.count()
    result = load({100 + index: row(name, index) for index, name in enumerate(names)}, atomic=atomic)

    assert [r.errors for r in result.results] == [{}] * 4
    assert [name for name, _network in state().values()] == list(names)
    # The allocation has the segment's new EPG name, and no object was made.
    assert Allocation.objects.get().epg_name == names[0]
    assert VLAN.objects.count() == before
    assert find_drift() == []
    changes = ObjectChange.objects.filter(changed_object_type__model="vlan", action="update").order_by("pk")
    logged = [(c.prechange_data["name"], c.postchange_data["name"]) for c in changes]
    assert sorted(logged) == sorted(pair for pair in zip(NAMES, names, strict=True) if pair[0] != pair[1])


@pytest.mark.parametrize("order", [(1, 0, 2, 3), (1, 2, 3, 0), (1, 2, 3, 9), (9, 0, 1, 2)])
def test_networks_change_places(pool, order):
    result = load({100 + index: row(name, order[index]) for index, name in enumerate(NAMES)})

    assert [r.errors for r in result.results] == [{}] * 4
    assert [network for _name, network in state().values()] == [f"10.0.{index}.0/24" for index in order]
    assert find_drift() == []
    check_hierarchy()


def test_networks_of_other_lengths_and_names_with_them(pool):
    rows = {100: ("B", "10.0.2.0/23", ""), 101: ("A", "10.0.0.0/25", ""), 102: ("D", "10.0.0.128/25", "")}
    result = load(rows | {103: ("C", "10.0.1.0/24", "")})

    assert [r.errors for r in result.results] == [{}] * 4
    assert state() == {vid: value[:2] for vid, value in rows.items()} | {103: ("C", "10.0.1.0/24")}
    assert find_drift() == []
    check_hierarchy()


def test_ipv6_networks_change_places(pool):
    pool.prefixes.create(prefix="2001:db8::/48", vrf=pool.vrf, status="container")
    nets = ["2001:db8:0:1::/64", "2001:db8:0:2::/64"]
    assert load({100 + n: row(NAMES[n], n, nets[n]) for n in (0, 1)}).count("updated") == 2
    assert load({100 + n: row(NAMES[n], n, nets[1 - n]) for n in (0, 1)}).count("updated") == 2
    assert [str(Segment.objects.get(vid=100 + n).ipv6_prefix.prefix) for n in (0, 1)] == nets[::-1]
    assert find_drift() == []


def test_a_new_segment_takes_what_is_given_up(pool):
    result = load({104: row("A", 0), 100: row("E", 9)})
    assert [r.status for r in result.results] == ["created", "updated"]


def test_where_one_cannot_the_others_do_what_they_can(pool):
    allocate("prod", pool=pool, vid=100, user=make_user())
    before = state()
    # 100 is held and keeps its network, so 101 cannot have it; 102 and 103 are independent.
    result = load({100: row("A", 1), 101: row("B", 0), 102: row("D", 2), 103: row("C", 3)})

    assert [r.status for r in result.results] == ["failed", "failed", "updated", "updated"]
    assert list(result.results[0].errors) == list(result.results[1].errors) == ["segment"]
    assert state() == before | {102: ("D", "10.0.2.0/24"), 103: ("C", "10.0.3.0/24")}
    assert find_drift() == []


def test_dry_run_changes_nothing(pool):
    before = state()
    assert load({100: row("B", 1), 101: row("A", 0)}, dry_run=True).count("updated") == 2
    assert state() == before
