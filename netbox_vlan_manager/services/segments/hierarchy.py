"""Creates and deletes prefixes, and updates the depths and child counts that NetBox caches for its prefix tree."""

from collections import Counter

from django.db.models import F
from netaddr import IPNetwork

from ipam.models import Prefix
from ipam.signals import handle_prefix_deleted, handle_prefix_saved

from ..base import audit

__all__ = (
    "create_prefixes",
    "delete_prefixes",
)

# With more new prefixes than this, counting the hierarchy of the whole VRF is cheaper than around each of them.
HIERARCHY_SWEEP = 20


def create_prefixes(prefixes):
    """Save new prefixes, and set the depths and child counts of them and of the prefixes around them."""
    sweeps = len(prefixes) > HIERARCHY_SWEEP
    if sweeps:
        _count_hierarchy(prefixes)
    audit.create(prefixes)
    if not sweeps:
        for prefix in prefixes:
            handle_prefix_saved(instance=prefix, created=True)


def _count_hierarchy(prefixes):
    """
    Set the depths and child counts of prefixes yet to be saved, and save those of the prefixes around them.

    It counts as NetBox's signal receiver does after each save(), but reads each VRF once and writes only the rows that
    change. NetBox's `rebuild_prefixes` would write every prefix of the VRF, and wait for every transaction that
    allocates one.
    """
    for vrf_id in {prefix.vrf_id for prefix in prefixes}:
        new = [prefix for prefix in prefixes if prefix.vrf_id == vrf_id]
        stored = Prefix.objects.filter(vrf=vrf_id).order_by().values_list("pk", "prefix", "_depth", "_children")
        numbers = Counter(prefix.prefix for prefix in new)
        numbers.update(network for _pk, network, _depth, _children in stored)
        depths, children, parents = {}, Counter(), []
        for network in sorted(numbers, key=IPNetwork.sort_key):
            while parents and network not in parents[-1]:
                parents.pop()
            depths[network] = len(parents)
            for parent in parents:
                children[parent] += numbers[network]
            parents.append(network)
        for prefix in new:
            prefix._depth, prefix._children = depths[prefix.prefix], children[prefix.prefix]
        changed = [
            Prefix(pk=pk, _depth=depths[network], _children=children[network])
            for pk, network, depth, count in stored
            if (depth, count) != (depths[network], children[network])
        ]
        Prefix.objects.bulk_update(changed, ("_depth", "_children"), batch_size=100)


def delete_prefixes(prefixes):
    """Delete prefixes, change-logged, and update the child counts of the prefixes around them."""
    # NetBox counts again below and above a prefix; for one without children only the counts above change.
    for prefix in prefixes:
        if prefix._children:
            audit.delete([prefix])
            handle_prefix_deleted(prefix)
    leaves = [prefix for prefix in prefixes if not prefix._children]
    if not leaves:
        return
    audit.delete(leaves)
    parents = Prefix.objects.filter(vrf__in={prefix.vrf_id for prefix in leaves}, _children__gt=0).order_by("pk")
    for pk, vrf_id, network in parents.values_list("pk", "vrf_id", "prefix"):
        if count := sum(prefix.vrf_id == vrf_id and prefix.prefix in network for prefix in leaves):
            Prefix.objects.filter(pk=pk).update(_children=F("_children") - count)
