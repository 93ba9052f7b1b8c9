"""
The actions on the first generation's data, by their names in REST, pages, jobs and the command.
"""

from typing import NamedTuple

from django.core.exceptions import PermissionDenied

from .migrating import check_permission, migrate
from .undoing import check_finish_permission, check_undo_permission, finish, undo

__all__ = ("ACTIONS", "check_any_permission", "permitted_actions")


class Action(NamedTuple):
    """An action: `work` does it; `check_permission` raises PermissionDenied for a user without the permission."""

    work: object
    check_permission: object


ACTIONS = {
    "migrate": Action(migrate, check_permission),
    "undo": Action(undo, check_undo_permission),
    "finish": Action(finish, check_finish_permission),
}


def permitted_actions(user):
    """Return the names of the actions that `user` may take."""
    names = []
    for name, action in ACTIONS.items():
        try:
            action.check_permission(user)
        except PermissionDenied:
            continue
        names.append(name)
    return names


def check_any_permission(user):
    """
    Make sure that `user` may take at least one of the actions.

    Raises:
        PermissionDenied: The user may take none; the text is about migrating.
    """
    if not permitted_actions(user):
        check_permission(user)
