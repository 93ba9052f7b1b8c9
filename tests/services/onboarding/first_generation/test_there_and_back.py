import contextlib
import random

import pytest

from ipam.models import Prefix
from netbox_vlan_manager.exceptions import PoolExhausted
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool
from netbox_vlan_manager.services import (
    allocate,
    release,
    share,
)
from netbox_vlan_manager.services.onboarding.first_generation.undoing import undo
from tests import first_generation_model as model
from tests.drift import find_drift
from tests.first_generation import make_fields, make_group, make_prefix
from tests.services.onboarding.first_generation.base import AT, PLACE, answers_of, held_by_plugin, run

pytestmark = pytest.mark.django_db


COLUMNS = ("status", "vlan", "tenant", "scope_id", "description", "comments", "custom_field_data")


def all_prefixes():
    return {row["pk"]: row for row in Prefix.objects.values("pk", *COLUMNS)}


def make_random_world(rng, tenant):
    """Make first-generation prefixes of every kind, and return the clusters that it answers."""
    make_fields()
    group = make_group(container=rng.choice(["10.0.0.0/16", None]))
    clusters = []
    vids = rng.sample(range(100, 900), 24)
    for number, vid in enumerate(vids):
        names, fields = None, {}
        kind = rng.choice(["free", "free", "exact", "exact", "shared", "again", "older", "nobody"])
        if kind == "exact":
            names = f"c{number}"
        elif kind == "shared":
            names = rng.choice([",", ", "]).join(
                [f"s{number}", f"t{number}", *rng.sample(clusters, min(1, len(clusters)))]
            )
        elif kind == "again" and clusters:
            names = rng.choice(clusters)
        elif kind == "older":
            fields = {"status": "reserved", "description": f"Cluster: o{number}"}
        elif kind == "nobody":
            fields = {"status": "reserved"}
        if names:
            clusters += [name.strip() for name in names.split(",")]
        if kind == "older":
            clusters.append(f"o{number}")
        else:
            fields |= rng.choice([{}, {"description": f"Rack {number}"}, {"comments": f"What people wrote, {number}"}])
        dhcp = rng.choice([True, False])
        make_prefix(group, vid, f"10.0.{number * 2}.0/24", cluster=names, tenant=tenant, dhcp=dhcp, **fields)
    return sorted(set(clusters))


def take_a_step(rng, name):
    """Do a random operation of the plugin or the first generation, for this cluster if needed; return its name."""
    names = sorted(held_by_plugin())
    what = rng.choice(["take", "take", "take there", "give", "give there", "share", "share there"])
    if what == "take":
        with contextlib.suppress(PoolExhausted):
            allocate(name, user="alice", **AT)
    elif what == "take there":
        model.allocate(*PLACE, name)
    elif what == "give":
        release(rng.choice(names), user="alice", **AT)
    elif what == "give there":
        model.release(*PLACE, rng.choice(names))
    else:
        # A shared prefix comes after earlier lists that name the cluster; see below.
        several = set(Allocation.objects.active().exclude(purpose="").values_list("cluster_name", flat=True))
        alone = Allocation.objects.active().exclude(segment__allocations__cluster_name__in=several)
        segment = alone.get(cluster_name=rng.choice(list(alone.values_list("cluster_name", flat=True)))).segment
        if what == "share" or not model.cluster_of(segment.prefix):
            share(segment, name, user="alice")
        else:
            model.share(segment.prefix, name)
    return what


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.slow("Migrates a world there and back, and works in it")
def test_there_and_back_in_any_world(tenant, seed):
    rng = random.Random(seed)
    clusters = make_random_world(rng, tenant)
    before, prefixes = answers_of(clusters), all_prefixes()
    assert before.keys() == set(clusters)

    assert run(dry_run=True).failed == 0
    assert all_prefixes() == prefixes
    assert run().failed == 0
    for name in clusters:
        result = allocate(name, user="alice", **AT)
        assert not result.created
    assert held_by_plugin() == before
    # Neither the new containers nor other changes affect the first generation's answers.
    assert answers_of(clusters) == before
    assert {pk: row for pk, row in all_prefixes().items() if pk in prefixes} == prefixes
    assert find_drift() == []

    assert run(undo, dry_run=True).failed == 0
    assert SegmentPool.objects.count() == 1
    assert run(undo).failed == 0
    # Undone at once, all prefixes are as before, including containers.
    assert all_prefixes() == prefixes
    assert not SegmentPool.objects.exists()
    assert not Segment.objects.exists()

    assert run().failed == 0
    assert held_by_plugin() == before

    # Both work in turns: after each step they give all clusters the same answers.
    for step in range(20):
        what = take_a_step(rng, f"n{step}")
        clusters.append(f"n{step}")
        held = held_by_plugin()
        answered = answers_of(clusters)
        # When a cluster gives its first segment back, the first generation answers it with another one that it holds.
        others = set(Allocation.objects.active().exclude(purpose="").values_list("cluster_name", flat=True))
        assert {name: answered[name] for name in answered if name in held or name not in others} == held, what
        assert find_drift() == []

    held = held_by_plugin()
    assert run(undo).failed == 0
    assert {name: answers_of([name])[name] for name in held} == held
    assert not Allocation.objects.active().exists()
    assert run().failed == 0
    assert {name: held_by_plugin()[name] for name in held} == held
