"""
Leases: allocations that end by themselves, and their renewal.

A job runs every minute. It warns of the allocations that end soon, once each, and releases those whose time is over,
exactly as a release does. It may die anywhere and run again, and two may run at once: every step is decided under the
lock of its row.
"""

import logging
from datetime import timedelta
from functools import partial

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _
from rq.timeouts import BaseTimeoutException

from ...choices import ReleaseReasonChoices
from ...events import EXPIRING
from ...exceptions import Busy
from ...models import Allocation, Segment
from ...settings import get_setting
from ..base import audit, operations, transactions
from .releasing import release_allocation
from .requests import HAS_ENDED, clean_expiry, lock_key

__all__ = (
    "NotExpiredError",
    "expire_due",
    "renew",
    "warn_expiring",
)

logger = logging.getLogger("netbox_vlan_manager.leases")


class NotExpiredError(Exception):
    """An allocation whose time is over could not be released; its cause says why."""


def renew(allocation, *, user, expires_at, changelog_message=""):
    """
    Give an active allocation another time to expire, or none.

    Locks the cluster's key in the VRF and the segment's row until the transaction ends.

    Args:
        allocation: The Allocation.
        user: The User, or the user name, that the change log names.
        expires_at: A datetime in the future, or None to keep it until it is released.
        changelog_message: The reason, for the change log.

    Returns:
        The Allocation, as it is now.

    Raises:
        ValidationError: The time is not valid, or the allocation was released or is over.
        Busy: Locks were not had in time; nothing was changed.
    """
    expires_at = clean_expiry(expires_at)
    user = audit.get_user(user)
    about = {"cluster": allocation.cluster_name, "pool": allocation.pool_name, "user": user, "expires_at": expires_at}
    with operations.track("renew", **about), audit.change_tracking(user):
        return transactions.run(partial(_renew_locked, allocation, expires_at, changelog_message))


def _renew_locked(allocation, expires_at, changelog_message):
    allocations = Allocation.objects.select_related("pool", "segment__vlan", "segment__prefix")
    if allocation.released_at is None:
        transactions.lock_clusters([lock_key(allocation)])
        # Without the lock of the row, another cluster's call could take the segment back while its time is written.
        list(Segment.objects.select_for_update(no_key=True).filter(pk=allocation.segment_id).order_by().values("pk"))
        allocation = allocations.annotate(has_ended=HAS_ENDED).get(pk=allocation.pk)
    if allocation.released_at is not None:
        raise ValidationError({"expires_at": _("The allocation was released: allocate again instead.")})
    if allocation.has_ended:
        raise ValidationError(
            {
                "expires_at": _("The allocation ended at {time}: allocate again instead.").format(
                    time=timezone.localtime(allocation.expires_at).isoformat(timespec="seconds")
                )
            }
        )
    if allocation.expires_at != expires_at:
        allocation._changelog_message = changelog_message
        audit.update(allocation, expires_at=expires_at, expiry_warned=False)
    return allocation


def expire_due():
    """
    Release the active allocations whose time is over, each in a transaction of its own; return how many.

    The next run tries again to release an allocation whose locks are not had in time, or that a signal receiver or
    validator refuses; neither stops the others from being released.

    Raises:
        ExceptionGroup: Of NotExpiredErrors, once all the others are released.
    """
    due = Allocation.objects.overdue().select_related("pool").order_by("expires_at", "pk")
    total, errors = 0, []
    for allocation in list(due):
        try:
            total += release_allocation(
                allocation, user=None, reason=ReleaseReasonChoices.EXPIRED, if_due=True
            ).released
        except Busy:
            continue
        except BaseTimeoutException:
            # The time limit of the whole job, not a failure of this allocation.
            raise
        except Exception as error:
            logger.exception("Allocation %s was not released, though its time is over", allocation.pk)
            errors.append(_not_expired(allocation, error))
    if errors:
        raise ExceptionGroup(f"Released {total} expired allocations; {len(errors)} could not be released", errors)
    return total


def _not_expired(allocation, error):
    # An error without a text still has the name of its class.
    reason = str(error) or repr(error)
    failure = NotExpiredError(f"Allocation {allocation.pk} ({allocation}) was not released: {reason}")
    failure.__cause__ = error
    return failure


def warn_expiring():
    """
    Send the event of each active allocation that expires within `lease_warning`, once; return how many.

    Locks their rows until they are marked, passing over rows that other transactions hold.
    """
    soon = timezone.now() + timedelta(seconds=get_setting("lease_warning"))
    with audit.change_tracking(None), transaction.atomic():
        expiring = Allocation.objects.active().filter(expires_at__lte=soon, expiry_warned=False)
        locked = list(expiring.select_for_update(no_key=True, skip_locked=True, of=("self",)).order_by("pk"))
        Allocation.objects.filter(pk__in=[allocation.pk for allocation in locked]).update(expiry_warned=True)
        if locked:
            audit.announce([(allocation, EXPIRING) for allocation in locked])
    return len(locked)
