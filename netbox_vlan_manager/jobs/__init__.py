"""Background jobs: those of the system, which NetBox schedules, and those that a user starts."""

from .system import JOBS, DriftJob, LifeCycleJob, PoolSnapshotJob
from .user import REPAIRED_AT_ONCE, DriftRepairJob, GenerateSegmentsJob, MigrationJob, SegmentImportJob

__all__ = (
    "JOBS",
    "REPAIRED_AT_ONCE",
    "DriftJob",
    "DriftRepairJob",
    "GenerateSegmentsJob",
    "LifeCycleJob",
    "MigrationJob",
    "PoolSnapshotJob",
    "SegmentImportJob",
)
