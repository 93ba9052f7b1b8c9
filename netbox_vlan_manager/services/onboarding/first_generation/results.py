"""
Results of a migration, of undoing it, and of ending trials: what was done to each pool, or what would be done.
"""

from dataclasses import asdict, dataclass, field

__all__ = (
    "EndedPool",
    "Ending",
    "MigratedPool",
    "Migration",
    "Problem",
    "make_problems",
)


@dataclass
class Problem:
    """A problem with one prefix, which `failed` and stays as it is, or was migrated in spite of the problem."""

    prefix: int
    network: str
    text: str
    failed: bool = True


def make_problems(rows):
    """Return Problems with the errors of rows, or with their notes if they have no errors."""
    return [
        Problem(row.prefix.pk, str(row.prefix.prefix), " ".join(texts), failed=bool(row.errors))
        for row in rows
        if (texts := row.errors or row.notes)
    ]


@dataclass
class MigratedPool:
    """The result for one VLAN group of the first generation: numbers of prefixes, and what was made of them."""

    name: str
    vrf: str = ""
    site: str = ""
    pool: int | None = None
    created: bool = False
    migrated: int = 0
    unchanged: int = 0
    failed: int = 0
    allocated: int = 0
    available: int = 0
    disabled: int = 0
    allocations: int = 0
    containers: list = field(default_factory=list)
    problems: list = field(default_factory=list)
    error: str = ""


@dataclass
class EndedPool:
    """The result for a pool whose trial or migration ended: numbers of segments by status, and of written prefixes."""

    name: str
    pool: int | None = None
    segments: int = 0
    allocated: int = 0
    available: int = 0
    disabled: int = 0
    written: int = 0
    containers: list = field(default_factory=list)
    problems: list = field(default_factory=list)
    error: str = ""


@dataclass
class _Results:
    """The results of all pools."""

    dry_run: bool
    pools: list

    def count(self, name):
        """Return the sum of a number over all pools, such as `allocated`."""
        return sum(getattr(pool, name) for pool in self.pools)

    def as_json(self):
        """Return it as a dictionary that JSON can hold."""
        return {"dry_run": self.dry_run, **self.counts, "pools": [asdict(pool) for pool in self.pools]}


@dataclass
class Migration(_Results):
    """The results of `migrate`. The last of the pools is for prefixes that belong to none of the groups."""

    @property
    def failed(self):
        """The number of prefixes that stay as they are."""
        return self.count("failed")

    @property
    def pools_created(self):
        return self.count("created")

    @property
    def counts(self):
        names = ("migrated", "unchanged", "failed", "allocated", "available", "disabled", "allocations")
        return {"pools_created": self.pools_created, **{name: self.count(name) for name in names}}

    def summary(self):
        """Return the counts in words for a log."""
        counts = self.counts
        created = counts.pop("pools_created")
        text = ", ".join(f"{count} {name}" for name, count in counts.items())
        return f"{created} pools created; prefixes and segments: {text}"


@dataclass
class Ending(_Results):
    """The results of `undo` or `finish`."""

    @property
    def failed(self):
        """The number of pools that stay as they are."""
        return sum(bool(pool.error) for pool in self.pools)

    @property
    def counts(self):
        names = ("segments", "allocated", "available", "disabled", "written")
        return {"done": len(self.pools) - self.failed, "failed": self.failed} | {
            name: self.count(name) for name in names
        }

    def summary(self):
        """Return the counts in words for a log."""
        counts = self.counts
        return (
            f"{counts['done']} pools, {counts['failed']} failed; {counts['segments']} segments: "
            f"{counts['allocated']} allocated, {counts['available']} available, {counts['disabled']} disabled; "
            f"{counts['written']} prefixes written"
        )
