from django.core.management.base import CommandError

from utilities.data import array_to_string

from ...models import SegmentPool
from ...services.segments.generation import generate_segments
from ...validators import EPG_TEMPLATE
from ._base import ServiceCommand

# The options that are arguments of `generate_segments`.
ASKED = (
    "count",
    "vid_min",
    "vid_max",
    "prefix_length",
    "ipv6_prefix_length",
    "epg_template",
    "dhcp",
    "description",
)


class Command(ServiceCommand):
    help = "Make segments of a pool from free VLAN IDs and free networks of its containers, all of them or none"

    def add_arguments(self, parser):
        super().add_arguments(parser)
        parser.add_argument("pool", help="Slug of the pool")
        parser.add_argument("--count", type=int, help="How many; without it, one for each free VLAN ID of the range")
        parser.add_argument("--vid-min", type=int, help="First VLAN ID to take")
        parser.add_argument("--vid-max", type=int, help="Last VLAN ID to take")
        parser.add_argument("--prefix-length", type=int, help="Such as 24; without it, the one that the pool grows by")
        parser.add_argument("--ipv6-prefix-length", type=int, help="Length of an additional IPv6 prefix, such as 64")
        parser.add_argument(
            "--epg-template",
            default="",
            help="With {site}, {vrf}, {pool} and {vid}; without it, the pool's own, or " + EPG_TEMPLATE,
        )
        parser.add_argument("--dhcp", action="store_true", help="DHCP serves the segments")
        parser.add_argument("--description", default="", help="Of the segments")
        parser.add_argument("--dry-run", action="store_true", help="Change nothing, and list what would be made")

    def handle(self, *, pool, user, dry_run, **options):
        found = SegmentPool.objects.filter(slug=pool).first()
        if found is None:
            raise CommandError(f"There is no pool with the slug {pool!r}.")
        with self.service_errors():
            asked = {name: options[name] for name in ASKED}
            result = generate_segments(found, user=user, dry_run=dry_run, enforce=False, **asked)
        if dry_run:
            for segment in result.segments:
                prefixes = ", ".join(str(prefix) for prefix in (segment.prefix, segment.ipv6_prefix) if prefix)
                self.stdout.write(f"VLAN {segment.vid}, {prefixes}, EPG {segment.epg_name}")
        if result.skipped:
            self.stdout.write(f"Passed over VLAN IDs that are taken or out of range: {array_to_string(result.skipped)}")
        summary = f"{len(result.segments)} segments"
        self.stdout.write(f"{summary} would be made; nothing was changed" if dry_run else f"{summary} made")
