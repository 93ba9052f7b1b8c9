from django.core.management.base import CommandError

from ...models import SegmentPool
from ...services.pools.gateways import set_gateways
from ._base import ServiceCommand


class Command(ServiceCommand):
    help = (
        "Give the segments of pools that exist already the gateways of the pools' rules, and make missing IP addresses"
    )

    def add_arguments(self, parser):
        super().add_arguments(parser)
        parser.add_argument("pools", nargs="+", metavar="pool", help="Slugs of the pools")
        parser.add_argument("--overwrite", action="store_true", help="Also change gateways that segments have already")
        parser.add_argument("--dry-run", action="store_true", help="Change nothing, and list what would change")

    def handle(self, *, pools, user, overwrite, dry_run, **options):
        found = SegmentPool.objects.in_bulk(pools, field_name="slug")
        if unknown := [slug for slug in pools if slug not in found]:
            raise CommandError(f"There is no pool with the slug {unknown[0]!r}.")
        for slug in dict.fromkeys(pools):
            with self.service_errors():
                result = set_gateways(found[slug], user=user, overwrite=overwrite, dry_run=dry_run)
            if dry_run:
                for segment, gateways in result.segments:
                    self.stdout.write(f"VLAN {segment.vid}, {segment.prefix}: {', '.join(gateways.values())}")
                self.stdout.write(f"{slug}: {len(result.segments)} segments would change; nothing was changed")
            else:
                text = f"{slug}: {len(result.segments)} segments changed, {result.created} IP addresses made"
                self.stdout.write(text)
