"""A NetBox with one of everything that the plugin stores, made through its services."""

from datetime import timedelta

import django
from django.utils import timezone

if __name__ == "__main__":
    django.setup()

from core.models import ObjectType
from dcim.models import Location, Region, SiteGroup
from extras.models import CustomField, JournalEntry, Tag
from netbox_vlan_manager.models import Allocation, IdempotencyKey, PoolSnapshot, Segment
from netbox_vlan_manager.services import (
    allocate,
    delete_segment,
    disable_segment,
    release,
    release_allocation,
    share,
)
from netbox_vlan_manager.services.reporting.snapshots import take_snapshots
from netbox_vlan_manager.services.reporting.thresholds import refresh
from tenancy.models import Tenant
from tests.factories import make_pool, make_segment, make_site, make_user, make_vrf
from virtualization.models import Cluster, ClusterType

__all__ = ("fill",)


def fill():
    """
    Fill the database of this process. The clusters "prod-01" to "prod-04" hold segments of the pool "Network1 Site1",
    "prod-01" one more for storage; "prod-02" shares with "shared-01", "prod-03" has a lease, "old-01" is history.
    """
    user = make_user()
    region = Region.objects.create(name="North", slug="north")
    site = make_site(region=region, group=SiteGroup.objects.create(name="Labs", slug="labs"))
    hall = Location.objects.create(name="Hall A", slug="hall-a", site=site)
    tenant = Tenant.objects.create(name="Platform", slug="platform")
    cluster_type = ClusterType.objects.create(name="Kubernetes", slug="kubernetes")
    Cluster.objects.create(name="prod-01", type=cluster_type, tenant=tenant)
    field = CustomField.objects.create(name="ticket", type="text")
    field.object_types.set(ObjectType.objects.get_for_model(model) for model in (Segment, Allocation))

    pool = make_pool(tenant=tenant, max_per_cluster=3, warning_threshold=40, description="The first")
    pool.tags.add(Tag.objects.create(name="Gold", slug="gold"))
    for index in range(8):
        make_segment(pool, 100 + index, index, custom_field_data={"ticket": f"NET-{index}"})
    for name in ("prod-01", "prod-02", "prod-03", "prod-04", "old-01", "old-02"):
        allocate(name, pool=pool, user=user, custom_field_data={"ticket": name.upper()})
    allocate("prod-01", pool=pool, user=user, purpose="storage")
    share(Allocation.objects.get(cluster_name="prod-02").segment, "shared-01", user=user)
    in_two_days = timezone.now() + timedelta(days=2)
    Allocation.objects.filter(cluster_name="prod-03").update(expires_at=in_two_days, expiry_warned=True)
    release_allocation(Allocation.objects.get(cluster_name="old-01"), user=user, reason="expired")
    gone = release("old-02", pool=pool, user=user).allocation.segment
    delete_segment(gone, user=user)
    disable_segment(Segment.objects.get(pool=pool, vid=107), user=user, reason="The fabric uses it")
    JournalEntry.objects.create(assigned_object=pool, created_by=user, kind="info", comments="As it was handed over")

    dual = make_pool(
        vrf=make_vrf("Network2", rd="65000:2"),
        scope=hall,
        container="10.2.0.0/16",
        vid_ranges=((200, 299),),
        cooldown=86400,
        allocation_order="least-recently-used",
        auto_grow=True,
        grow_limit=20,
        grow_prefix_length=24,
        epg_template="EPG_{site}_{vid}",
        gateway_rule="nth",
        gateway_offset=2,
        create_gateways=True,
        dns_servers=["192.0.2.53", "2001:db8::53"],
        domain_name="site1.example.com",
        mtu=9000,
    )
    containers = [*dual.prefixes.all()]
    dual.prefixes.add(type(containers[0]).objects.create(prefix="2001:db8::/48", vrf=dual.vrf, status="container"))
    for index in range(4):
        make_segment(dual, 200 + index, index, ipv6_prefix=f"2001:db8:0:{index}::/64")
    for name in ("edge-01", "edge-02"):
        allocate(name, pool=dual, user=user)
    release("edge-02", pool=dual, user=user)

    make_pool("Network1", region, container="10.3.0.0/16", vid_ranges=((300, 399),), segments=1)
    take_snapshots()
    yesterday = timezone.localdate() - timedelta(days=1)
    PoolSnapshot.objects.create(
        pool=pool, date=yesterday, total_segments=8, allocated=4, available=4, quarantined=0, disabled=0
    )
    refresh()
    IdempotencyKey.objects.create(user=user, key="fill", fingerprint="0" * 64, status_code=201, body={"id": 1})


if __name__ == "__main__":
    fill()
