import json

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from ...choices import DriftSeverityChoices
from ...logs import as_line
from ...services.drift.repair import repair_drift
from ...services.drift.reports import report_drift


class Command(BaseCommand):
    help = (
        "Report everything that no longer fits between segments, allocations, VLANs and prefixes, and repair it; exits "
        "1 if anything is left that is more than worth knowing"
    )

    def add_arguments(self, parser):
        parser.add_argument("--json", action="store_true", help="Print the report, or what was repaired, as JSON")
        parser.add_argument("--repair", action="store_true", help="Repair what can be repaired without a decision")
        parser.add_argument("--dry-run", action="store_true", help="With --repair: say what would be done, do nothing")
        parser.add_argument("--user", help="With --repair: who the change log names; the system when not given")

    def handle(self, *, json: bool, repair: bool, dry_run: bool, user: str | None, **options):
        if not repair and (dry_run or user):
            raise CommandError("--dry-run and --user go with --repair.")
        results = self._repair(user, dry_run) if repair else []
        drifts = report_drift().findings
        if json:
            answer = [vars(result) for result in results] if repair else [as_dict(drift) for drift in drifts]
            self.stdout.write(as_json(answer))
        else:
            for result in results:
                self.stdout.write(as_line(f"{result.status}: {result.item}: {result.message}"))
            if not repair:
                for drift in drifts:
                    self.stdout.write(as_line(f"{drift.kind}: {drift.message}"))
        if count := sum(drift.severity != DriftSeverityChoices.INFO for drift in drifts):
            raise CommandError(f"{count} left" if repair else f"{count} found")
        if not json and not drifts:
            self.stdout.write("Everything fits")

    def _repair(self, user, dry_run):
        try:
            return repair_drift(user=user, enforce=False, dry_run=dry_run)
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error


def as_dict(drift):
    """Return a finding in the format of the REST API, without the objects."""
    return {
        "item": drift.item,
        "kind": drift.kind,
        "severity": drift.severity,
        "pool": drift.pool.name,
        "object_type": drift.object._meta.label_lower,
        "object_id": drift.object.pk,
        "message": drift.message,
        "repair": drift.repair,
        "advice": drift.advice,
    }


def as_json(answer):
    """Return an answer as indented JSON."""
    return json.dumps(answer, indent=2)
