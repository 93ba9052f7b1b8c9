"""
Support for netbox-branching: keeps the plugin's own objects out of branches.

A segment that a branch allocates could be allocated in main as well, and two clusters would hold it once the branch is
merged. So the plugin's own objects exist in main only, and cannot be changed while a branch is active. A branch's
changes to VLANs, prefixes and places are drafts; the plugin's rules are checked when the branch is merged.
"""

from contextlib import nullcontext
from functools import cache

from django.apps import apps
from django.db import connection
from django.db.models.signals import m2m_changed, post_save, pre_delete, pre_save
from django.utils.translation import gettext as _

from core.models import ObjectChange
from utilities.exceptions import AbortRequest

from .exceptions import BranchActive
from .models.deletion import protected_error

__all__ = (
    "connect",
    "is_active",
    "is_installed",
    "notice_changes",
    "on_main",
    "refuse",
)

PLUGIN = "netbox_vlan_manager"


@cache
def is_installed():
    """Return whether NetBox has netbox-branching."""
    return apps.is_installed("netbox_branching")


def is_active():
    """Return whether a branch is active: VLANs, prefixes and places are then read from it and written to it."""
    if not is_installed():
        return False
    from netbox_branching.contextvars import active_branch

    return active_branch.get() is not None


def on_main():
    """Return a context in which no branch is active."""
    if not is_installed():
        return nullcontext()
    from netbox_branching.utilities import deactivate_branch

    return deactivate_branch()


def refuse():
    """
    Make sure that no branch is active.

    Raises:
        BranchActive: A branch is active.
    """
    if is_active():
        raise BranchActive


def notice_changes(changes):
    """Pass change log entries that no save() wrote to netbox-branching, which looks for conflicts with its branches."""
    if is_installed():
        for change in changes:
            post_save.send(sender=ObjectChange, instance=change, created=True, raw=False, using=change._state.db)


def connect():
    """Keep the plugin's objects out of branches. Called once, when all models are loaded."""
    if not is_installed():
        return
    from netbox_branching.signals import post_provision
    from netbox_branching.utilities import register_branching_resolver

    register_branching_resolver(_resolve)
    post_provision.connect(_drop_triggers)
    for model in apps.get_app_config(PLUGIN).get_models(include_auto_created=True):
        for signal in (pre_save, pre_delete, m2m_changed):
            signal.connect(_refuse_write, sender=model)
    pre_delete.connect(_keep_what_main_needs)
    # Ahead of NetBox's own receiver, which removes the deleted object from the objects that refer to it.
    pre_delete.receivers.insert(0, pre_delete.receivers.pop())


def _resolve(model):
    """Return False for the plugin's models, which have no branches; None leaves other models to netbox-branching."""
    return False if model._meta.app_label == PLUGIN else None


def _drop_triggers(branch, **kwargs):
    """Drop the triggers that a new branch has copied from main's places: changes in it would move main's pools."""
    with connection.cursor() as cursor:
        for table in ("dcim_site", "dcim_location"):
            trigger = f"{PLUGIN}_segmentpool_denorm_from_{table}"
            names = map(connection.ops.quote_name, (trigger, branch.schema_name, table))
            cursor.execute("DROP TRIGGER IF EXISTS {} ON {}.{}".format(*names))


def _refuse_write(**kwargs):
    if is_active():
        raise AbortRequest(str(BranchActive()))


def _keep_what_main_needs(sender, instance, **kwargs):
    """
    Refuse that a branch deletes an object to which an object of the plugin refers.

    A branch's connection uses main's tables where the branch has none, and would unset the reference in main.
    """
    if not is_active():
        return
    for relation in instance._meta.get_fields(include_hidden=True):
        if not relation.auto_created or relation.concrete or relation.related_model._meta.app_label != PLUGIN:
            continue
        with on_main():
            if users := list(relation.related_model._base_manager.filter(**{relation.field.name: instance.pk})[:1]):
                raise protected_error(_("VLAN Manager uses it in main: delete it there."), users)
