from django.core.management.base import CommandError

from ...models import SegmentPool
from ...services.onboarding.adoption import Decision, adopt
from ...services.segments.specs import NEW_STATUSES
from ._base import ServiceCommand


class Command(ServiceCommand):
    help = "Make segments of the VLANs and prefixes that NetBox has in a pool's containers; what is in use is disabled"

    def add_arguments(self, parser):
        super().add_arguments(parser)
        parser.add_argument("pool", help="Slug of the pool")
        parser.add_argument(
            "--as",
            dest="status",
            choices=NEW_STATUSES,
            default="",
            help="What all become; without it, those are disabled that are in use, or may be",
        )
        parser.add_argument("--dry-run", action="store_true", help="Change nothing, and list what would be made")

    def handle(self, *, pool, user, status, dry_run, **options):
        found = SegmentPool.objects.select_related("vrf", "vlan_group").filter(slug=pool).first()
        if found is None:
            raise CommandError(f"There is no pool with the slug {pool!r}.")
        with self.service_errors():
            result = adopt(found, user=user, decisions={None: Decision(status)}, dry_run=dry_run, enforce=False)
        for row in result.results:
            prefixes = ", ".join(str(prefix) for prefix in row.candidate.prefixes)
            texts = [
                row.segment_status,
                row.disabled_reason,
                *(text for texts in row.errors.values() for text in texts),
            ]
            what = ", ".join(filter(None, texts))
            self.stdout.write(f"VLAN {row.candidate.vlan.vid}, {prefixes}, EPG {row.candidate.vlan.name}: {what}")
        summary = f"{result.adopted} segments"
        self.stdout.write(f"{summary} would be made; nothing was changed" if dry_run else f"{summary} made")
        if result.failed:
            raise CommandError(f"{result.failed} prefixes cannot be adopted.")
