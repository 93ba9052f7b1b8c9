import sys
from pathlib import Path

from django.core.management.base import CommandError

from ...logs import as_line
from ...services.base.import_values import as_text
from ...services.onboarding.import_files import parse_file
from ...services.onboarding.importing import import_segments
from ...services.segments.segment_columns import COLUMNS
from ._base import ServiceCommand


class Command(ServiceCommand):
    help = f"Create or update segments from a CSV, XLSX, JSON or YAML file with the columns {', '.join(COLUMNS)}"

    def add_arguments(self, parser):
        super().add_arguments(parser)
        parser.add_argument("file", help="The file, text in UTF-8; - reads standard input")
        parser.add_argument("--atomic", action="store_true", help="Change nothing if any row fails")
        parser.add_argument("--dry-run", action="store_true", help="Change nothing, and say what each row would do")

    def handle(self, *, file, user, atomic, dry_run, **options):
        with self.service_errors():
            rows = parse_file(self._read(file), file)
            result = import_segments(rows, user=user, atomic=atomic, enforce=False, dry_run=dry_run)
        for row, (line, values) in zip(result.results, rows, strict=True):
            place = f"Line {line}" if line else f"Row {row.index}"
            for column, texts in row.errors.items():
                for text in texts:
                    self.stderr.write(as_line(f"{place}: {column}: {text}"))
            for text in row.warnings:
                self.stderr.write(as_line(f"{place}: {text}"))
            if dry_run and row.status in ("created", "updated"):
                self.stdout.write(f"{place}: {self._describe(row, values)}")
        summary = result.summary()
        if dry_run or (atomic and result.count("failed")):
            summary += "; nothing was changed"
        if result.count("failed"):
            raise CommandError(summary)
        self.stdout.write(summary)

    def _describe(self, row, values):
        """Return what an import would do with a row, for a dry run."""
        if row.status == "created":
            return f"create {as_text(values['epg_name'])} ({as_text(values['vlan_id'])})"
        changes = (f"{column} {change['old']!r} to {change['new']!r}" for column, change in row.changes.items())
        return f"update {', '.join(changes)}"

    def _read(self, file):
        try:
            return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        except OSError as error:
            raise CommandError(f"{file}: {error.strerror}") from error
