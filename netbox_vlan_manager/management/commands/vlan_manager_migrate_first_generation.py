from django.contrib.auth import get_user_model
from django.core.management.base import CommandError

from ...logs import as_line
from ...services.onboarding.first_generation.actions import ACTIONS
from ._base import ServiceCommand


class Command(ServiceCommand):
    help = "Make pools, segments and allocations of what the first generation kept in NetBox, or undo that"

    def add_arguments(self, parser):
        parser.add_argument("--user", help="The user whom the change log names; without it, the first superuser")
        parser.add_argument("--dry-run", action="store_true", help="Change nothing, and say what would be done")
        ways = parser.add_mutually_exclusive_group()
        ways.add_argument(
            "--undo", action="store_true", help="Give everything back to the first generation, and delete the pools"
        )
        ways.add_argument(
            "--finish", action="store_true", help="End the trial: from then on only the plugin hands out segments"
        )

    def handle(self, *, user, dry_run, undo, finish, **options):
        name = "undo" if undo else "finish" if finish else "migrate"
        with self.service_errors():
            result = ACTIONS[name].work(user=user or self._first_superuser(), enforce=False, dry_run=dry_run)
        # One stream for a pool and its problems: redirected to another file, the problems would lose their pool.
        for pool in result.pools:
            (self._tell if name == "migrate" else self._tell_end)(pool)
        summary = result.summary()
        if dry_run:
            summary += "; nothing was changed"
        if result.failed:
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
        self._tell_problems(pool)

    def _tell_end(self, pool):
        self.stdout.write(
            f"{as_line(pool.name)}: {pool.segments} segments; {pool.allocated} allocated, {pool.available} available, "
            f"{pool.disabled} disabled; {pool.written} prefixes written"
        )
        if pool.containers:
            self.stdout.write(f"  Containers deleted: {', '.join(pool.containers)}")
        self._tell_problems(pool)

    def _tell_problems(self, pool):
        if pool.error:
            self.stdout.write(as_line(f"  {pool.error}"))
        for problem in pool.problems:
            word = "failed: " if problem.failed else ""
            self.stdout.write(as_line(f"  {problem.network} (id {problem.prefix}): {word}{problem.text}"))
