"""Helpers of the tests of migrating the first generation's data."""

from ipam.models import Prefix
from netbox_vlan_manager.models import Allocation, Segment
from netbox_vlan_manager.services.onboarding.first_generation.migrating import migrate
from tenancy.models import Tenant
from tests import first_generation_model as model
from tests.factories import make_pool, make_user
from tests.first_generation import make_fields, make_group

__all__ = (
    "AT",
    "PLACE",
    "Tenant",
    "answers_of",
    "assert_failed",
    "held_by_plugin",
    "make_fields",
    "make_group",
    "make_pool",
    "make_user",
    "problems_of",
    "run",
)

PLACE = "Network1", "Site1"
AT = {"vrf": "Network1", "site": "Site1"}


def run(work=migrate, **kwargs):
    return work(enforce=False, **{"user": "alice", **kwargs})


def problems_of(result):
    """Return {network: text}."""
    return {problem.network: problem.text for pool in result.pools for problem in pool.problems}


def assert_failed(migration, prefix, text):
    """Check that a prefix was not migrated, for a reason with this text."""
    (problem,) = (one for pool in migration.pools for one in pool.problems if one.network == str(prefix.prefix))
    assert problem.failed
    assert text in problem.text
    assert not Segment.objects.filter(prefix=prefix).exists()
    now = Prefix.objects.get(pk=prefix.pk)
    assert (now.status, now.vlan_id) == (prefix.status, prefix.vlan_id)


def held_by_plugin():
    """Return {cluster: (prefix, VLAN ID, EPG name)} of the plugin's answers to calls without a purpose."""
    found = Allocation.objects.active().filter(purpose="")
    return {one.cluster_name: (str(one.prefix), one.vid, one.epg_name) for one in found}


def answers_of(clusters):
    """Return the same for the first generation's model, for the clusters that it answers."""
    found = {name: model.answer(*PLACE, name) for name in clusters}
    return {name: (str(one.prefix), one.vlan.vid, one.vlan.name) for name, one in found.items() if one}
