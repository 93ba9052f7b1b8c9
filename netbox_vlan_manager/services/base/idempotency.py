"""The stored answers to calls with an Idempotency-Key (see `api/idempotency.py`), which are kept for 24 hours."""

from datetime import timedelta

from django.utils import timezone

from ...models import IdempotencyKey

__all__ = (
    "find_stored",
    "forget_old_keys",
)

KEPT = timedelta(hours=24)


def find_stored(user, key):
    """
    Return the IdempotencyKey of a user with the answer to an earlier call, or None.

    One that is older than 24 hours is deleted. The caller holds `transactions.lock_idempotency_key`.
    """
    stored = IdempotencyKey.objects.filter(user=user, key=key).first()
    if stored and stored.created < timezone.now() - KEPT:
        stored.delete()
        return None
    return stored


def forget_old_keys():
    """Delete the answers that are older than 24 hours; return how many."""
    count, _by_model = IdempotencyKey.objects.filter(created__lt=timezone.now() - KEPT).delete()
    return count
