from ...services import allocate
from ._base import ClusterCommand


class Command(ClusterCommand):
    help = "Allocate a segment to a cluster, or show the one that it holds"

    def handle(self, *, cluster_name, site, vrf, purpose, user, **options):
        with self.service_errors():
            allocation, created = allocate(cluster_name, site=site, vrf=vrf, purpose=purpose, user=user)
        self.stdout.write(
            f"{'Allocated' if created else 'Already allocated'} to {allocation.cluster_name}: "
            f"VLAN {allocation.vid}, {allocation.prefixes}, EPG {allocation.epg_name}"
        )
