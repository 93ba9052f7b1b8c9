"""Makes VLANs and prefixes for the tests of adoption."""

from netaddr import IPNetwork

from ipam.models import VLAN, Prefix
from netbox_vlan_manager.services.onboarding.adoption import adopt
from netbox_vlan_manager.services.onboarding.candidates import find_candidates


def make_vlan(pool, vid, name=None, **fields):
    return VLAN.objects.create(**{"group": pool.vlan_group, "vid": vid, "name": name or f"web_{vid}", **fields})


def make_prefix(pool, network, vlan, **fields):
    return Prefix.objects.create(**{"prefix": IPNetwork(network), "vrf": pool.vrf, "vlan": vlan, **fields})


def make_candidate(pool, vid, network=None, **fields):
    network = network or f"10.0.{vid - 100}.0/24"
    return make_prefix(pool, network, make_vlan(pool, vid), **fields)


def only(pool, user=None):
    """Return the only candidate of a pool."""
    (candidate,) = find_candidates(pool, user)
    return candidate


def adopt_all(pool, **kwargs):
    return adopt(pool, enforce=False, **{"user": "alice", **kwargs})
