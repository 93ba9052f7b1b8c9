"""
Finds the prefixes that clusters of the first generation hold and that are in no segment because they could not be
migrated.

They are in use all the same: no other cluster gets their VLAN or network, and their clusters get no other segment. Only
pools that were migrated from the first generation are searched; for other pools no statement is made.
"""

from django.contrib.contenttypes.models import ContentType
from django.db.models import Q
from django.db.models.fields.json import KeyTextTransform
from django.utils.translation import gettext as _

from ipam.models import Prefix

from ...exceptions import NotMigrated
from ..base.cluster_keys import cluster_keys
from .first_generation_fields import CLUSTER_FIELD, GROUP_NAME, HELD, STATUSES, cluster_text, read_holders

__all__ = ("Held", "check_cluster", "find_unmigrated")

# The columns in which NetBox caches the places that the scope of a prefix is or lies in, by model of a pool's scope.
PLACES = {"location": "_location_id", "site": "_site_id", "sitegroup": "_site_group_id", "region": "_region_id"}


def find_unmigrated(pools, pk=None, cluster_name=""):
    """
    Return the (SegmentPool, Prefix) pairs of held prefixes that were not migrated, ordered by pool and prefix.

    Args:
        pools: SegmentPools. Those that were not migrated from the first generation are left out.
        pk: Only the prefix with this id.
        cluster_name: Only prefixes that this cluster may hold, among others.
    """
    pools = [pool for pool in pools if pool.first_generation]
    if not pools:
        return []
    text = KeyTextTransform(CLUSTER_FIELD, "custom_field_data")
    held = Prefix.objects.annotate(cluster_text=text).filter(
        Q(cluster_text__icontains=cluster_name, cluster_text__gt="")
        | Q(status=HELD, description__icontains=cluster_name, description__contains="Cluster:"),
        vrf__in={pool.vrf_id for pool in pools},
        status__in=STATUSES,
        segment__isnull=True,
        ipv6_segment__isnull=True,
    )
    if pk is not None:
        held = held.filter(pk=pk)
    prefixes = [
        prefix for prefix in held.select_related("vlan__group", "vrf").order_by("prefix", "pk") if cluster_text(prefix)
    ]
    return [(pool, prefix) for pool in pools for prefix in prefixes if _belongs(prefix, pool)]


def _belongs(prefix, pool):
    """Whether a migration would put the prefix into the pool; one without a place may belong to any pool of its VRF."""
    if prefix.vrf_id != pool.vrf_id:
        return False
    group = prefix.vlan and prefix.vlan.group
    if group and group.pk == pool.vlan_group_id:
        return True
    if prefix.scope_id is None:
        return not (group and GROUP_NAME.fullmatch(group.name))
    return getattr(prefix, PLACES[ContentType.objects.get_for_id(pool.scope_type_id).model]) == pool.scope_id


def check_cluster(pool, cluster_name):
    """
    Make sure that a cluster that is to get a segment of a pool holds no prefix that was not migrated.

    Raises:
        NotMigrated: The cluster holds such a prefix.
    """
    found = find_unmigrated([pool], cluster_name=cluster_name)
    names = [name for _pool, prefix in found for name in read_holders(prefix).names]
    if names:
        keys = cluster_keys([cluster_name, *names])
        if keys[cluster_name] in {keys[name] for name in names}:
            raise NotMigrated(cluster_name, pool)


class Held:
    """The VLANs and networks in the VRFs of pools that clusters hold and that were not migrated; read once."""

    def __init__(self, pools):
        found = [prefix for _pool, prefix in find_unmigrated(pools)]
        self.vlans = {prefix.vlan_id for prefix in found}
        self.networks = {(prefix.vrf_id, prefix.prefix) for prefix in found}

    def errors(self, pool, vlan, networks):
        """
        Return {field: texts} with the reasons why a new segment of a pool cannot have a VLAN, or None, and networks.
        """
        errors = {}
        if vlan and vlan.pk in self.vlans:
            text = _("A cluster of the first generation holds VLAN ID {vid}: migrate it first, or use another.")
            errors["vid"] = [text.format(vid=vlan.vid)]
        for name, network in networks.items():
            for vrf_id, other in self.networks:
                if vrf_id == pool.vrf_id and (network in other or other in network):
                    text = _("A cluster of the first generation holds addresses of {prefix}: migrate it first.")
                    errors[name] = [text.format(prefix=network)]
        return errors
