"""Jobs that a user starts, and that do their work with this user's permissions."""

from collections import Counter

from django.core.exceptions import PermissionDenied
from django.utils.translation import gettext as _

from ..logs import as_line
from ..models import SegmentPool
from ..services.drift.repair import FAILED, STATUSES, repair_drift
from ..services.onboarding.first_generation.actions import ACTIONS
from ..services.onboarding.import_files import parse_file
from ..services.onboarding.importing import import_segments
from ..services.segments.generation import generate_segments
from .runners import UserJobRunner

__all__ = (
    "REPAIRED_AT_ONCE",
    "DriftRepairJob",
    "GenerateSegmentsJob",
    "MigrationJob",
    "SegmentImportJob",
)

# The most repairs that a request does: a hundred take a second or two. A job does more.
REPAIRED_AT_ONCE = 200


class SegmentImportJob(UserJobRunner):
    """
    Imports segments as the job's user, as a dry run or for good. The import is one transaction: a job that is killed
    leaves nothing behind.

    The job adds to its data `phase`, the current step (see `import_segments`), and in the end `results`, a dictionary
    for each row.
    """

    asked = ("text", "atomic", "dry_run", "pool")

    class Meta:
        name = "VLAN Manager: import of segments"

    @classmethod
    def start(cls, text, *, user, atomic=False, dry_run=False, pool=None):
        """Return a new Job for a worker, which imports the rows of a text (see `import_files.parse_file`)."""
        return cls.enqueue_for(user, text=text, atomic=atomic, dry_run=dry_run, pool=pool)

    def work(self, user, text, atomic, dry_run, pool=None):
        # A job that an older version of the plugin queued has no pool.
        result = import_segments(
            parse_file(text, pool=pool),
            user=user,
            # A dry run shows what each row would do, even where another row fails.
            atomic=atomic and not dry_run,
            dry_run=dry_run,
            report=self._report,
        )
        self.job.data["results"] = [row.as_json() for row in result.results]
        self.logger.info(result.summary())

    def _report(self, phase):
        self.job.data["phase"] = phase
        self.job.save()


class MigrationJob(UserJobRunner):
    """
    Converts the first generation's data as the job's user, converts it back, or ends the trial; as a dry run or for
    good (see `services.onboarding.first_generation`).

    The job adds to its data `done` and `total`, numbers of pools, and in the end `report`, the result as JSON.
    """

    asked = ("dry_run", "action")

    class Meta:
        name = "VLAN Manager: migration from the first generation"

    @classmethod
    def start(cls, *, user, dry_run=False, action="migrate"):
        """Return a new Job for a worker."""
        return cls.enqueue_for(user, dry_run=dry_run, action=action)

    def work(self, user, dry_run, action="migrate"):
        # A job that an older version of the plugin queued has no action.
        result = ACTIONS[action].work(user=user, dry_run=dry_run, report=self._report)
        self.job.data["report"] = result.as_json()
        self.logger.info(result.summary())

    def _report(self, done, total):
        self.job.data |= {"done": done, "total": total}
        self.job.save()


class DriftRepairJob(UserJobRunner):
    """
    Repairs drift as the job's user, all findings or those of some names, as a dry run or for good. Each repair is a
    transaction of its own: a job that is killed leaves whole repairs only, and another job may repair the rest.

    The job adds to its data `done` and `total`, numbers of repairs, and in the end `results`, a dictionary for each
    item.
    """

    asked = ("items", "changelog_message", "dry_run")
    # The job stores its progress each time after this number of repairs.
    reported = 25

    class Meta:
        name = "VLAN Manager: repair of drift"

    @classmethod
    def start(cls, items=None, *, user, changelog_message="", dry_run=False):
        """Return a new Job for a worker, which repairs the findings of these names; None for all."""
        return cls.enqueue_for(user, items=items, changelog_message=changelog_message, dry_run=dry_run)

    def work(self, user, items, changelog_message, dry_run=False):
        results = repair_drift(
            items, user=user, changelog_message=changelog_message, dry_run=dry_run, report=self._report
        )
        self.job.data["results"] = [vars(result) for result in results]
        for result in results:
            if result.status == FAILED:
                self.logger.error(as_line(f"{result.item}: {result.message}"))
        counts = Counter(result.status for result in results)
        self.logger.info(", ".join(f"{counts[status]} {status}" for status in STATUSES if counts[status]))

    def _report(self, done, total):
        if done % self.reported == 0:
            self.job.data |= {"done": done, "total": total}
            self.job.save()


class GenerateSegmentsJob(UserJobRunner):
    """
    Makes segments of a pool as the job's user, as a dry run or for good. It is one transaction: a job that is killed
    leaves nothing behind.

    The job's data are `pool`, its id, and `asked`, the arguments of `generate_segments`. In the end the job adds
    `result`, the GenerateResult as JSON.
    """

    asked = ("pool", "asked", "dry_run")
    # The most segments that the job's data list.
    listed = 100

    class Meta:
        name = "VLAN Manager: generation of segments"

    @classmethod
    def start(cls, pool, asked, *, user, dry_run=False):
        """Return a new Job for a worker, which makes segments of a pool."""
        return cls.enqueue_for(user, pool=pool.pk, asked=asked, dry_run=dry_run)

    def work(self, user, pool, asked, dry_run):
        pool = SegmentPool.objects.restrict(user, "view").filter(pk=pool).first()
        if pool is None:
            raise PermissionDenied(_("The pool was deleted, or you may no longer view it."))
        result = generate_segments(pool, user=user, dry_run=dry_run, **asked)
        self.job.data["result"] = result.as_json(self.listed)
        self.logger.info(f"{len(result.segments)} segments, {len(result.skipped)} VLAN IDs skipped")
