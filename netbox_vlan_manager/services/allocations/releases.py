"""The objects that still use segments which are released, as far as the pool or the user asks."""

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
    Return the usage.Use of a segment, where its pool does not release segments that are in use; else None.

    Runs a handful of queries, none where the pool allows it. Callers ask before they take locks: an address that is
    added between the two could as well be added after the release.

    Args:
        pool: The SegmentPool.
        segment_id: The id of the Segment.
        user: The User whose permissions limit what the Use names; None for the system.
    """
    if pool.release_in_use == ReleaseInUseChoices.ALLOW:
        return None
    segments = Segment.objects.filter(pk=segment_id).select_related("vlan", "prefix", "ipv6_prefix").order_by()
    return usage.find_segment_use(segments, user).get(segment_id)


def release_warnings(allocations, user):
    """
    Return {id of the segment: text} of the allocations' segments that NetBox objects still use.

    Runs a handful of queries, however many allocations there are.

    Args:
        allocations: Allocations that are released, or may be, with their segments, VLANs and prefixes. Those with
            `others_hold` are left out, since their segments stay allocated.
        user: The User whose permissions limit what the texts name.
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
