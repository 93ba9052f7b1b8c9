import math
from datetime import timedelta

from django.db import transaction
from django.utils import timezone
from django.utils.text import slugify

from dcim.models import Site, SiteGroup
from ipam.models import VRF, IPAddress, Role
from tenancy.models import Tenant
from virtualization.models import Cluster, ClusterType

from ...models import Allocation, PoolSnapshot, SegmentPool
from ...services import allocate, create_pool, release
from ...services.base.audit import change_tracking, get_user
from ...services.onboarding.importing import import_segments
from ...services.reporting.snapshots import take_snapshots
from ...services.reporting.statistics import pool_statistics
from ...services.reporting.thresholds import refresh
from ._base import ServiceCommand

SITES = ("Site1", "Site2", "Site3")
VRFS = ("Network1", "Network2", "Network3")
# The number of segments in the pool of each site, by VRF; sixty in total.
SEGMENTS = {"Network1": 10, "Network2": 6, "Network3": 4}
CLUSTERS = {
    ("Site1", "Network1"): ("prod-02", "prod-03", "stage-01", "ci-runners"),
    ("Site1", "Network2"): ("prod-02", "storage-01"),
    ("Site2", "Network1"): (
        "prod-11",
        "prod-12",
        "edge-01",
        "edge-02",
        "edge-03",
        "stage-11",
        "dr-01",
        "dr-02",
        "lab-1",
    ),
    ("Site2", "Network2"): ("prod-11",),
    ("Site3", "Network3"): ("lab-21", "lab-22", "lab-23", "lab-24"),
}
# The cluster whose nodes have IP addresses in NetBox, and the VLAN ID of its segment.
NODES_OF, NODES_VID = "prod-11", 1100
# The days until an allocation expires.
LEASE_DAYS = 30
# The days before today that have snapshots.
HISTORY_DAYS = 90


class Command(ServiceCommand):
    help = "Fill an empty NetBox with demo data: three sites, three VRFs, nine pools, sixty segments, some allocated"

    def handle(self, *, user, **options):
        if SegmentPool.objects.exists():
            self.stdout.write("There are pools already: nothing was changed")
            return
        with self.service_errors():
            user = get_user(user)
            with change_tracking(user), transaction.atomic():
                self._create_places(user)
                self._allocate(user)
                self._use()
                self._write_history()
                # Not left to the next job: the levels must match the counts on the pages.
                refresh()
        self.stdout.write(f"Made {SegmentPool.objects.count()} pools")

    def _create_places(self, user):
        tenant = self._save(Tenant(name="Platform", slug="platform"))
        role = self._save(Role(name="Cluster network", slug="cluster-network"))
        cluster_type = self._save(ClusterType(name="Kubernetes", slug="kubernetes"))
        groups = [self._save(SiteGroup(name=name, slug=slugify(name))) for name in SITES]
        for group in groups:
            for hall in "AB":
                name = f"{group.name} Hall {hall}"
                self._save(Site(name=name, slug=slugify(name), group=group))
        for name in ("prod-02", "prod-11"):
            self._save(Cluster(name=name, type=cluster_type))
        vrfs = [self._save(VRF(name=name, rd=f"65000:{number}")) for number, name in enumerate(VRFS, 1)]
        rows = []
        for vrf_number, vrf in enumerate(vrfs, 1):
            for site_number, group in enumerate(groups, 1):
                first_vid = 100 * vrf_number + 1000 * (site_number - 1)
                # The first VRF is dual stack.
                ipv6 = f"2001:db8:{site_number}" if vrf_number == 1 else ""
                create_pool(
                    user=user,
                    vrf=vrf,
                    scope=group,
                    prefixes=[f"10.{vrf_number}{site_number}.0.0/16", *([f"{ipv6}::/48"] if ipv6 else [])],
                    vid_ranges=[(max(first_vid, 1), first_vid + 99)],
                    tenant=tenant,
                    role=role,
                    description=f"Cluster networks of {group.name}",
                )
                for number in range(SEGMENTS[vrf.name]):
                    row = {
                        "site": group.name,
                        "vrf": vrf.name,
                        "vlan_id": first_vid + number,
                        "epg_name": f"EPG_{group.name}_{vrf.name}_{first_vid + number}",
                        "segment": f"10.{vrf_number}{site_number}.{number}.0/24",
                        "ipv6_prefix": f"{ipv6}:{number:x}::/64" if ipv6 else "",
                        "dhcp": str(number % 2 == 0),
                        "description": "",
                    }
                    rows.append((None, row))
        import_segments(rows, user=user, atomic=True, enforce=False)

    def _allocate(self, user):
        for (site, vrf), clusters in CLUSTERS.items():
            for cluster in clusters:
                allocate(cluster, site=site, vrf=vrf, user=user)
        release("stage-11", site="Site2", vrf="Network1", user=user)
        allocate("prod-13", site="Site2", vrf="Network1", user=user)
        expires_at = timezone.now() + timedelta(days=LEASE_DAYS)
        allocate("lab-2", site="Site2", vrf="Network2", user=user, expires_at=expires_at)

    def _use(self):
        """Add the IP addresses of a cluster's nodes. A release does not delete them."""
        held = Allocation.objects.select_related("segment__prefix").get(cluster_name=NODES_OF, vid=NODES_VID)
        network = held.segment.prefix.prefix
        for number in (1, 2, 3):
            address = f"{network[10 + number]}/{network.prefixlen}"
            name = f"node{number}.{NODES_OF}.example.com"
            self._save(IPAddress(address=address, vrf=held.segment.prefix.vrf, dns_name=name))

    def _write_history(self):
        """Write snapshots as if the pools had filled up over the days, in waves."""
        take_snapshots()
        today = timezone.localdate()
        snapshots = []
        for number, row in enumerate(pool_statistics(SegmentPool.objects.all())):
            for age in range(1, HISTORY_DAYS + 1):
                share = age / HISTORY_DAYS
                wave = 1.5 * share * math.sin(number + age / 7)
                allocated = round(row.usage.allocated * (1 - 0.7 * share) + wave)
                allocated = min(max(allocated, 0), row.usage.total_segments)
                snapshots.append(
                    PoolSnapshot(
                        pool_id=row.pool,
                        date=today - timedelta(days=age),
                        total_segments=row.usage.total_segments,
                        allocated=allocated,
                        available=row.usage.total_segments - allocated,
                        quarantined=0,
                        disabled=0,
                    )
                )
        PoolSnapshot.objects.bulk_create(snapshots)

    def _save(self, instance):
        instance.full_clean()
        instance.save()
        return instance
