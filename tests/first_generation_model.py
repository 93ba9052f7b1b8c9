"""
A model of the first generation's rules on NetBox's prefixes: its answers, allocations and releases.

It reproduces the observed behavior, for tests of migrating and undoing.
"""

from django.db.models import Q

from ipam.models import Prefix
from netbox_vlan_manager.services.base import audit
from tests.first_generation import name_group


class OddData(Exception):
    """The first generation would answer with an internal error."""


def find_prefixes(vrf, site):
    """
    Return the prefixes that it takes for segments, in its order: those of its VLAN group, and all with tenant and site.

    Raises:
        OddData: A prefix has no VLAN, or is active although a cluster holds it.
    """
    in_group = Q(vlan__group__name=name_group(vrf, site))
    prefixes = Prefix.objects.filter(in_group | Q(tenant__isnull=False, _site_group__name=site), vrf__name=vrf)
    prefixes = list(prefixes.select_related("vlan").order_by("prefix", "pk"))
    for prefix in prefixes:
        if prefix.vlan is None:
            raise OddData(f"{prefix} has no VLAN")
        if prefix.status == "active" and cluster_of(prefix):
            raise OddData(f"{prefix} is active and held by {cluster_of(prefix)}")
    return prefixes


def cluster_of(prefix):
    return prefix.custom_field_data.get("Cluster") or ""


def answer(vrf, site, cluster):
    """Return the prefix that it gives a cluster that asks again, or None."""
    prefixes = find_prefixes(vrf, site)
    forms = (
        lambda prefix: cluster_of(prefix) == cluster,
        lambda prefix: (
            "," in cluster_of(prefix) and cluster in [name.strip() for name in cluster_of(prefix).split(",")]
        ),
        lambda prefix: (
            prefix.status == "reserved" and not cluster_of(prefix) and f"Cluster: {cluster}" in prefix.description
        ),
    )
    return next((prefix for form in forms for prefix in prefixes if form(prefix)), None)


def allocate(vrf, site, cluster):
    """Return the prefix that a cluster holds, or else allocate the lowest free one; None if there is none."""
    if held := answer(vrf, site, cluster):
        return held
    free = (prefix for prefix in find_prefixes(vrf, site) if prefix.status == "active" and not cluster_of(prefix))
    if prefix := next(free, None):
        write(prefix, "reserved", cluster)
    return prefix


def release(vrf, site, cluster):
    prefix = answer(vrf, site, cluster)
    left = [name.strip() for name in cluster_of(prefix).split(",") if name.strip() not in ("", cluster)]
    write(prefix, "reserved" if left else "active", ",".join(left))


def share(prefix, cluster):
    write(prefix, "reserved", ",".join(filter(None, (cluster_of(prefix), cluster))))


def write(prefix, status, cluster):
    """Save a prefix as NetBox's REST API does for the first generation."""
    with audit.change_tracking(audit.get_user("alice")):
        prefix = Prefix.objects.get(pk=prefix.pk)
        prefix.snapshot()
        prefix.status = status
        prefix.custom_field_data["Cluster"] = cluster or None
        prefix.full_clean()
        prefix.save()
