"""
Segments of migrated prefixes: matches rows with the candidates of adoption, and makes their segments.
"""

from django.utils.translation import gettext as _

from ....choices import SegmentStatusChoices
from ....models import Segment
from ....validators import EPG_NAME_MAX_LENGTH, make_epg_name
from ...base.cluster_keys import cluster_key
from ...segments import provisioning
from ...segments.first_generation_fields import DISABLED_REASON
from ..candidates import find_candidates
from .holders import plan_allocations
from .reading import MESSAGE

__all__ = ("build_segments_locked",)


def build_segments_locked(pool, all_rows, viewer):
    """
    Make segments of rows, and plan their allocations.

    Args:
        pool: The SegmentPool.
        all_rows: All Rows of its group that are in no segment yet. Rows that become no segment have errors afterwards.
        viewer: The User whose permissions decide; None may view all.

    Returns:
        (Row, Segment) pairs. Of the two rows of an IPv4 and an IPv6 prefix, the first stands for both.
    """
    leading = _match(pool, [row for row in all_rows if not row.errors], viewer)
    plan_allocations(pool, [row for row, _both in leading], all_rows)
    leading = [(row, both) for row, both in leading if not _share_errors(row, both)]
    segments, errors = provisioning.build_segments_locked(
        [_make_spec(pool, row) for row, _both in leading], may_hold=True
    )
    made = []
    for (row, both), segment, error in zip(leading, segments, errors, strict=True):
        if segment:
            made.append((row, segment))
        for texts in error.values():
            row.errors += [texts] if isinstance(texts, str) else texts
        _share_errors(row, both)
    return made


def _match(pool, rows, viewer):
    """Return (Row, all Rows of its VLAN) for each candidate without conflicts; the other rows get errors."""
    by_prefix = {prefix.pk: candidate for candidate in find_candidates(pool, viewer) for prefix in candidate.prefixes}
    by_candidate = {}
    for row in rows:
        row.candidate = by_prefix.get(row.prefix.pk)
        if row.candidate is None:
            row.errors.append(_("You may not view its VLAN."))
            continue
        by_candidate.setdefault(id(row.candidate), []).append(row)
    leading = []
    for both in by_candidate.values():
        candidate = both[0].candidate
        texts = [*candidate.conflict_texts, *_propose_name(candidate)]
        if len(both) < len(candidate.prefixes):
            texts.append(_("The other prefix of its VLAN cannot be migrated."))
        for row in both:
            row.errors += texts
        if not texts:
            (row,) = (row for row in both if row.prefix.pk == candidate.prefix.pk)
            _merge(row, both)
            leading.append((row, both))
    return leading


def _make_spec(pool, row):
    return row.candidate.make_spec(
        pool,
        dhcp=row.dhcp,
        **_describe(row.prefix),
        changelog_message=str(MESSAGE),
        status=row.status,
        disabled_reason=DISABLED_REASON if row.status == SegmentStatusChoices.DISABLED else "",
    )


def _propose_name(candidate):
    """Yield a text that proposes an EPG name, if the VLAN's name is invalid but similar to a valid one."""
    if "epg_name" in candidate.conflicts:
        name = make_epg_name(candidate.vlan.name.strip())[:EPG_NAME_MAX_LENGTH]
        if name.strip("_.:/-"):
            yield _("{name} is one.").format(name=name)


def _describe(prefix):
    """
    Return description and comments of a prefix's segment.

    The first generation writes its description, of up to 500 characters, into the comments of the prefix.
    """
    text = prefix.description or " ".join(prefix.comments.split())
    length = Segment._meta.get_field("description").max_length
    if len(text) > length:
        text = f"{text[: length - 1]}…"
    return {"description": text, "comments": "" if prefix.comments == text else prefix.comments}


def _merge(row, both):
    """Add to a row the clusters of the row of the other prefix of its VLAN: they hold the same segment."""
    for other in both:
        if other is not row:
            known = {cluster_key(name) for name in row.clusters}
            row.clusters += [name for name in other.clusters if cluster_key(name) not in known]
            other.notes.clear()


def _share_errors(row, both):
    """Add the errors of a row to the row of the other prefix of its VLAN, and return them."""
    for other in both:
        if other is not row:
            other.errors += row.errors
    return row.errors
