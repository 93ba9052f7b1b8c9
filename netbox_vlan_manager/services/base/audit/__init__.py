"""
The change log of the services: every write is logged with its user and request id, for all callers.

REST and the web pages bring a request, and with it NetBox's change tracking. Commands, jobs and nbshell do not; for
them `change_tracking` makes one. Objects are written through `write`, which does in a few statements what save() does
one by one, and logs the same. `delete` does so for delete().
"""

from .deleting import delete, skipped_by_delete
from .events import announce
from .tracking import change_tracking, get_user, get_viewer, is_system, prepare
from .writing import SYSTEM, create, update, write

__all__ = (
    "SYSTEM",
    "announce",
    "change_tracking",
    "create",
    "delete",
    "get_user",
    "get_viewer",
    "is_system",
    "prepare",
    "skipped_by_delete",
    "update",
    "write",
)
