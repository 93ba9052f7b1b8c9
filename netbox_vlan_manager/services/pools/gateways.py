"""
Gives the segments of a pool that exist already the gateways that the pool's rule gives.

A pool's rule holds for new segments. A change of the rule moves no live gateway by itself: that takes this call.
"""

from dataclasses import dataclass
from functools import partial
from itertools import batched

from ...gateways import GATEWAYS
from ...models import Segment
from ..base import audit, operations, transactions
from ..segments.gateways import IP_ADDRESSES, write_gateways_locked

__all__ = (
    "GatewayResult",
    "set_gateways",
)

# How many segments one transaction locks, so that allocations of the others go on.
BATCH_SIZE = 200


@dataclass
class GatewayResult:
    """
    What `set_gateways` changed, or would change.

    `segments` are (Segment, {field: its new gateway}) pairs of those that change. `created` is the number of IP
    addresses that were made; in a dry run it stays 0.
    """

    segments: list
    created: int = 0


def set_gateways(pool, *, user, overwrite=False, dry_run=False, changelog_message=""):
    """
    Give the segments of a pool the gateways of its rule, and make the IP addresses that are missing.

    Segments are changed in batches, in the order of their VLAN IDs. Each batch is a transaction that locks the pool's
    VRF and the rows of its segments. After an error, the batches before it stay changed; the same call goes on from
    there.

    Args:
        pool: The SegmentPool.
        user: The User, or the user name, for the change log.
        overwrite: Also change gateways that segments have already. Where the rule gives none, they stay.
        dry_run: Return what would change, and change nothing.
        changelog_message: Why, for the change log.

    Returns:
        GatewayResult

    Raises:
        Busy: Locks were not had in time.
    """
    user = audit.get_user(user)
    result = GatewayResult([])
    with operations.track("set gateways", dry_run=dry_run, pool=pool, user=user) as operation:
        pks = list(pool.segments.order_by("vid").values_list("pk", flat=True))
        for batch in batched(pks, BATCH_SIZE):
            if dry_run:
                result.segments += _changes(_read(batch), overwrite)
                continue
            with audit.change_tracking(user):
                changes, created = transactions.run(partial(_set_locked, pool, batch, overwrite, changelog_message))
            result.segments += changes
            result.created += created
        operation.outcome = f"{len(result.segments)} segments"
    return result


def _set_locked(pool, pks, overwrite, changelog_message):
    """Change a batch, and return its (Segment, {field: gateway}) pairs and the number of new IP addresses."""
    transactions.lock_spaces([pool.vrf_id])
    # The rows first, and what refers to them afterwards: another transaction may have changed it before.
    list(Segment.objects.select_for_update(no_key=True).filter(pk__in=pks).order_by("pool_id", "vid").values_list("pk"))
    segments = _read(pks)
    for segment in segments:
        segment._changelog_message = changelog_message
    changes = _changes(segments, overwrite)
    values = {segment.pk: new for segment, new in changes}
    before = _count_made(segments)
    write_gateways_locked([(segment, values.get(segment.pk, {})) for segment in segments])
    return changes, _count_made(segments) - before


def _read(pks):
    segments = Segment.objects.filter(pk__in=pks).order_by("pool_id", "vid")
    return list(segments.prefetch_related("pool__vrf", "pool__tenant", "vlan", *GATEWAYS, *IP_ADDRESSES.values()))


def _count_made(segments):
    return sum(getattr(segment, f"{name}_id") is not None for segment in segments for name in IP_ADDRESSES.values())


def _changes(segments, overwrite):
    """Return (Segment, {field: its new gateway}) pairs of those segments that the rule changes."""
    changes = []
    for segment in segments:
        new = {}
        for prefix, name in GATEWAYS.items():
            now = getattr(segment, name)
            if getattr(segment, prefix) and (overwrite or now is None):
                gateway = segment.pool.find_gateway(getattr(segment, prefix).prefix)
                if gateway and gateway != now:
                    new[name] = gateway
        if new:
            changes.append((segment, new))
    return changes
