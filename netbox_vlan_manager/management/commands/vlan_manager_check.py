import json

from django.core.management.base import BaseCommand, CommandError

from ...services.consistency import find_drift


class Command(BaseCommand):
    help = (
        "Report everything that no longer fits between segments, allocations, VLANs and prefixes; exits 1 if any does"
    )

    def add_arguments(self, parser):
        parser.add_argument("--json", action="store_true", help="Print the report as JSON")

    def handle(self, *, json: bool, **options):
        drifts = find_drift()
        if json:
            self.stdout.write(as_json(drifts))
        else:
            for drift in drifts:
                self.stdout.write(f"{drift.kind}: {drift.message}")
        if drifts:
            raise CommandError(f"{len(drifts)} found")
        if not json:
            self.stdout.write("Everything fits")


def as_json(drifts):
    """Return the report as a JSON list of kind, object type, object id and message."""
    return json.dumps(
        [
            {
                "kind": drift.kind,
                "object_type": drift.object._meta.label_lower,
                "object_id": drift.object.pk,
                "message": drift.message,
            }
            for drift in drifts
        ],
        indent=2,
    )
