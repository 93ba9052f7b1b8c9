from django.contrib.auth import get_user_model
from django.core.management.base import CommandError

from ...logs import as_line
from ...services.first_generation import migrate
from ._base import ServiceCommand


class Command(ServiceCommand):
    help = "Make pools, segments and allocations of what the first generation kept in NetBox"

    def add_arguments(self, parser):
        parser.add_argument("--user", help="The user whom the change log names; without it, the first superuser")
        parser.add_argument("--dry-run", action="store_true", help="Change nothing, and say what would be made")

    def handle(self, *, user, dry_run, **options):
        with self.service_errors():
            migration = migrate(user=user or self._first_superuser(), enforce=False, dry_run=dry_run)
        for pool in migration.pools:
            self._tell(pool)
        summary = migration.summary()
        if dry_run:
            summary += "; nothing was changed"
        if migration.count("failed"):
            raise CommandError(summary)
        self.stdout.write(summary)

    def _first_superuser(self):
        user = get_user_model().objects.filter(is_superuser=True, is_active=True).order_by("pk").first()
        if user is None:
            raise CommandError("There is no superuser: say with --user whom the change log shall name.")
        return user

    def _tell(self, pool):
        made = " (new)" if pool.created else ""
        self.stdout.write(
            f"{as_line(pool.name)}{made}: {pool.migrated} migrated, {pool.unchanged} unchanged, {pool.failed} failed; "
            f"{pool.allocated} allocated, {pool.available} available, {pool.disabled} disabled"
        )
        if pool.containers:
            self.stdout.write(f"  Containers made: {', '.join(pool.containers)}")
        if pool.error:
            self.stderr.write(as_line(f"  {pool.name}: {pool.error}"))
        for problem in pool.problems:
            stream = self.stderr if problem.failed else self.stdout
            stream.write(as_line(f"  {problem.network} (id {problem.prefix}): {problem.text}"))
