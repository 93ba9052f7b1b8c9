"""Texts for the objects that block a deletion. Objects that the user may not view are neither named nor counted."""

from django.db.models import ProtectedError, RestrictedError
from django.utils.translation import gettext as _

from ...exceptions import Conflict
from ...models.deletion import get_viewed

__all__ = (
    "PROTECTED_ERRORS",
    "describe_protected",
    "protected_conflicts",
)

# The errors that Django raises if another object needs the deleted one.
PROTECTED_ERRORS = (ProtectedError, RestrictedError)

# The most objects that are named.
NAMED = 20


def describe_protected(error, user):
    """Return a text with the objects of one of PROTECTED_ERRORS that `user` may view; None may view all."""
    viewed, hidden = get_viewed(_objects(error), user)
    names = [f"{instance} ({instance.pk})" for instance in viewed[:NAMED]]
    if more := len(viewed) - len(names):
        names.append(_("{count} more").format(count=more))
    if hidden:
        names.append(_("something that you may not view"))
    return _("Unable to delete object. Other objects use it: {names}").format(names=", ".join(names))


def protected_conflicts(error, user):
    """Return the same as Conflicts, each with the way out."""
    viewed, hidden = get_viewed(_objects(error), user)
    text = _("{type} {name} uses it: detach or delete that first.")
    conflicts = [Conflict(text.format(type=instance._meta.verbose_name, name=instance)) for instance in viewed[:NAMED]]
    if more := len(viewed) - len(conflicts):
        conflicts.append(Conflict(_("{count} more objects use them.").format(count=more)))
    if hidden:
        conflicts.append(Conflict(_("Something that you may not view uses them: have it detached or deleted first.")))
    return conflicts


def _objects(error):
    """Return the objects that block the deletion, always in the same order."""
    objects = error.protected_objects if isinstance(error, ProtectedError) else error.restricted_objects
    return sorted(objects, key=lambda instance: (type(instance).__name__, instance.pk or 0))
