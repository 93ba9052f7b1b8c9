"""What still uses the segments that are released, and what their pools do about it."""

from django.utils.translation import gettext as _

from ...choices import ReleaseInUseChoices
from ...models import Segment
from ..segments import usage

__all__ = (
    "find_use_that_matters",
    "release_warnings",
)


def find_use_that_matters(pool, segment_id, user):
    """
    Return what still uses a segment, a usage.Use, where its pool does not release what is in use; else None.

    It takes a handful of statements, none where the pool allows it. Callers ask before the locks: an address
    that is added after that could as well be added after the release.

    Args:
        pool: The SegmentPool.
        segment_id: The id of the Segment.
        user: The User who is told no more than they may view; None for the system.
    """
    if pool.release_in_use == ReleaseInUseChoices.ALLOW:
        return None
    segments = Segment.objects.filter(pk=segment_id).select_related("vlan", "prefix", "ipv6_prefix").order_by()
    return usage.find_segment_use(segments, user).get(segment_id)


def release_warnings(allocations, user):
    """
    Return {id of the segment: text} of the segments of released allocations, or of such as may be released, that
    NetBox's objects still use.

    It takes a handful of statements, however many allocations there are.

    Args:
        allocations: Allocations, with their segments, VLANs and prefixes; those with `others_hold`, whose segments stay
            allocated, are left out.
        user: The User who is told no more than they may view.
    """
    leaving = {
        allocation.segment_id: allocation
        for allocation in allocations
        if allocation.segment_id and not getattr(allocation, "others_hold", False)
    }
    found = usage.find_segment_use([allocation.segment for allocation in leaving.values()], user)
    text = _("VLAN {vid} ({epg}, {prefix}) is still used by {use}.")
    return {
        pk: text.format(vid=leaving[pk].vid, epg=leaving[pk].epg_name, prefix=leaving[pk].prefixes, use=use)
        for pk, use in found.items()
        if use
    }
