"""
Findings of drift, the registry of their kinds, and the search for them.

Drift is data that no longer fits: segments and the VLANs and prefixes behind them disagree, or an invariant is broken.
The database or `guards` refuses most of it; a bare SQL statement, a queryset's update() or a restored dump can still
cause it. A finding carries the values of its repair, so that `drift.repair` writes what the report announces.

Each kind has a check, which is one or two statements over all pools. The modules `*_checks` register theirs, and an
optional part of the plugin may register its own.
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from ...choices import DriftSeverityChoices
from ...models import Segment, SegmentPool

__all__ = (
    "FAMILIES",
    "KINDS",
    "Drift",
    "Kind",
    "find_drift",
    "find_segments",
    "narrow",
    "register",
    "register_families",
    "repair_or_advice",
)

# The relations of a segment to its prefixes, each with the prefix of its kinds' names.
FAMILIES = {"prefix": "", "ipv6_prefix": "ipv6_"}


class Kind(NamedTuple):
    """The label and the severity of a kind of drift, and the function that finds it (see `register`)."""

    label: str
    severity: str
    check: object


# {name: Kind}, in the order of registration. Repairs are made in this order, since some build on others.
KINDS = {}


def register(kind, label, severity, check):
    """
    Add a kind of drift to those that are searched for, reported and repaired.

    Args:
        kind: The name in REST; it becomes part of the names of findings (see `Drift.item`).
        label: The name on pages, lazily translated.
        severity: One of DriftSeverityChoices.
        check: A function that takes the id of an object, or None for all objects, and yields Drifts. It may find
            several kinds, which are registered one by one with the same function.

    Raises:
        ValueError: Another kind has this name.
    """
    if kind in KINDS:
        raise ValueError(f"The kind of drift {kind!r} is registered already.")
    KINDS[kind] = Kind(label, severity, check)


def register_families(kind, labels, severity, check):
    """
    Register a kind of drift for the IPv4 prefixes of segments and one for their IPv6 prefixes.

    Args:
        kind: The name for IPv4.
        labels: The labels for IPv4 and for IPv6.
        severity: One of DriftSeverityChoices.
        check: As `register` takes it, with the argument `name`: a key of FAMILIES.
    """
    for (name, family), label in zip(FAMILIES.items(), labels, strict=True):
        register(f"{family}{kind}", label, severity, partial(check, name=name))


@dataclass(frozen=True)
class Drift:
    """
    One finding: its kind, the object that does not fit, and the description in words.

    `repair` says what a repair does, and `changes` are its (object, {field: value}) pairs; `write` is a function that
    writes what these cannot express, under the locks of the object. Where a person has to decide all are empty, and
    `advice` says why and what to do. `other` is a prefix that the object collides with, as (id,
    network): `message` does not name it, since not everybody may view it.
    """

    kind: str
    pool: SegmentPool
    object: object
    message: str
    repair: str = ""
    advice: str = ""
    changes: tuple = ()
    write: object = None
    other: tuple | None = None

    @property
    def item(self):
        """The name of the finding in REST, `kind:object type:id`; it stays the same until the drift is gone."""
        return f"{self.kind}:{self.object._meta.label_lower}:{self.object.pk}"

    @property
    def severity(self):
        return KINDS[self.kind].severity

    @property
    def label(self):
        return KINDS[self.kind].label

    def get_severity_display(self):
        return dict(DriftSeverityChoices)[self.severity]

    def get_severity_color(self):
        return DriftSeverityChoices.colors[self.severity]

    def __str__(self):
        return self.message


def find_drift(kind=None, pk=None):
    """
    Return a list of Drift, empty when everything fits. Locks nothing.

    Args:
        kind: Run only the check of this kind; the check may find other kinds too.
        pk: Check only the object with this id.
    """
    checks = dict.fromkeys(known.check for name, known in KINDS.items() if kind in (None, name))
    return [drift for check in checks for drift in check(pk)]


def find_segments(pk):
    """Return the segments, or the one with the id `pk`, with what the texts of findings name."""
    # Not by joins: most checks find no segment, and a SELECT of the columns of ten tables is slow to build and plan.
    segments = Segment.objects.prefetch_related(
        "vlan__group", "prefix__vrf", "ipv6_prefix__vrf", "pool__vrf", "pool__vlan_group"
    )
    return narrow(segments, pk).order_by("pool_id", "vid")


def narrow(queryset, pk):
    """Return the objects of a queryset, or only the one with the id `pk`."""
    return queryset if pk is None else queryset.filter(pk=pk)


def repair_or_advice(advice, repair, *changes):
    """Return the arguments of a Drift: the advice, or if it is empty the repair and its changes."""
    return {"advice": advice} if advice else {"repair": repair, "changes": changes}
