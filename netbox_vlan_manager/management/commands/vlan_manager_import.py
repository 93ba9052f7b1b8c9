import sys
from pathlib import Path

from django.core.management.base import CommandError

from ...services.importing import COLUMNS, import_segments, parse_csv
from ._base import ServiceCommand


class Command(ServiceCommand):
    help = f"Create or update segments from a CSV file with the columns {', '.join(COLUMNS)}"

    def add_arguments(self, parser):
        super().add_arguments(parser)
        parser.add_argument("file", help="The CSV file, in UTF-8; - reads standard input")
        parser.add_argument("--atomic", action="store_true", help="Change nothing if any row fails")
        parser.add_argument("--dry-run", action="store_true", help="Change nothing, and say what each row would do")

    def handle(self, *, file, user, atomic, dry_run, **options):
        with self.service_errors():
            rows = parse_csv(self._read(file))
            result = import_segments(rows, user=user, atomic=atomic, enforce=False, dry_run=dry_run)
        for row, (_line, values) in zip(result.results, rows, strict=True):
            for column, texts in row.errors.items():
                for text in texts:
                    self.stderr.write(f"Line {row.line}: {column}: {text}")
            if dry_run and row.status in ("created", "updated"):
                self.stdout.write(f"Line {row.line}: {self._describe(row, values)}")
        summary = result.summary()
        if dry_run or (atomic and result.count("failed")):
            summary += "; nothing was changed"
        if result.count("failed"):
            raise CommandError(summary)
        self.stdout.write(summary)

    def _describe(self, row, values):
        """Return what a dry run says of a row that an import would write."""
        if row.status == "created":
            return f"create {values['epg_name'].strip()} ({values['vlan_id'].strip()})"
        changes = (f"{column} {change['old']!r} to {change['new']!r}" for column, change in row.changes.items())
        return f"update {', '.join(changes)}"

    def _read(self, file):
        try:
            content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        except OSError as error:
            raise CommandError(f"{file}: {error.strerror}") from error
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise CommandError(f"{file} is not in UTF-8: save it as CSV (UTF-8).") from error
