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

    def handle(self, *, file, user, atomic, **options):
        with self.service_errors():
            result = import_segments(parse_csv(self._read(file)), user=user, atomic=atomic, enforce=False)
        for row in result.results:
            for column, texts in row.errors.items():
                for text in texts:
                    self.stderr.write(f"Line {row.line}: {column}: {text}")
        summary = ", ".join(
            f"{result.count(status)} {status}" for status in ("created", "updated", "unchanged", "failed")
        )
        if result.count("failed"):
            raise CommandError(f"{summary}{'; nothing was changed' if atomic else ''}")
        self.stdout.write(summary)

    def _read(self, file):
        try:
            content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        except OSError as error:
            raise CommandError(f"{file}: {error.strerror}") from error
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise CommandError(f"{file} is not in UTF-8: save it as CSV (UTF-8).") from error
