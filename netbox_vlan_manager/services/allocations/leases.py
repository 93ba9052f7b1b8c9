"""
Leases: allocations that end by themselves.

The job of every minute warns of those that end soon, once each, and releases those that are over, exactly as a release
does. It may die anywhere and run again, and two may run at once: every step is decided under the lock of its row.
"""

import logging
from datetime import timedelta

from django.db import transaction
from django.utils import timezone
from rq.timeouts import BaseTimeoutException

from ...choices import ReleaseReasonChoices
from ...events import EXPIRING
from ...exceptions import Busy
from ...models import Allocation
from ...settings import get_setting
from ..base import audit
from .allocation import release_allocation

__all__ = (
    "NotExpiredError",
    "expire_due",
    "warn_expiring",
)

logger = logging.getLogger("netbox_vlan_manager.leases")


class NotExpiredError(Exception):
    """An allocation whose time is over could not be released; its cause says why."""


def expire_due():
    """
    Release the active allocations whose time is over, each in a transaction of its own; return how many.

    One whose locks are not had in time is left to the next run. One that somebody's receiver or validator refuses is
    tried again by the next run too; neither keeps any of the others.

    Raises:
        ExceptionGroup: Of NotExpiredErrors, once all that could be released are.
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
            # It is the job's time that is over, for all of them.
            raise
        except Exception as error:
            logger.exception("Allocation %s was not released, though its time is over", allocation.pk)
            errors.append(_not_expired(allocation, error))
    if errors:
        raise ExceptionGroup(f"Released {total} expired allocations; {len(errors)} could not be released", errors)
    return total


def _not_expired(allocation, error):
    # An error that says nothing has at least a name.
    reason = str(error) or repr(error)
    failure = NotExpiredError(f"Allocation {allocation.pk} ({allocation}) was not released: {reason}")
    failure.__cause__ = error
    return failure


def warn_expiring():
    """
    Send the event of each active allocation that expires within `lease_warning`, once; return how many.

    Locks their rows, passing over those that other transactions hold, until they are marked.
    """
    soon = timezone.now() + timedelta(seconds=get_setting("lease_warning"))
    with audit.change_tracking(None), transaction.atomic():
        expiring = Allocation.objects.active().filter(expires_at__lte=soon, expiry_warned=False)
        locked = list(expiring.select_for_update(no_key=True, skip_locked=True, of=("self",)).order_by("pk"))
        Allocation.objects.filter(pk__in=[allocation.pk for allocation in locked]).update(expiry_warned=True)
        if locked:
            audit.announce([(allocation, EXPIRING) for allocation in locked])
    return len(locked)
