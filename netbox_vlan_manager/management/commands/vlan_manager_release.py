from ...services import release
from ._base import ClusterCommand


class Command(ClusterCommand):
    help = "Release the segment that a cluster holds"

    def handle(self, *, cluster_name, site, vrf, purpose, user, **options):
        with self.service_errors():
            allocation = release(cluster_name, site=site, vrf=vrf, purpose=purpose, user=user).allocation
        self.stdout.write(
            f"Released from {allocation.cluster_name}: VLAN {allocation.vid}, {allocation.prefixes}, "
            f"EPG {allocation.epg_name}"
        )
