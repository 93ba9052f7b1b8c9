"""
What netbox-branching makes necessary, where it is installed.

A segment that a branch handed out would be handed out in main as well, and be given twice once the branch is merged. So
the plugin's own objects have no branches: there is main's one truth, which nobody changes while a branch is active.
What a branch does with VLANs, prefixes and places is a draft, and meets the plugin's rules when it is merged.
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
    """Return whether a branch is active: whether VLANs, prefixes and places are read from it and written to it."""
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
    Make sure that what follows is done in main.

    Raises:
        BranchActive: A branch is active.
    """
    if is_active():
        raise BranchActive


def notice_changes(changes):
    """Tell netbox-branching of change log entries that no save() wrote: it looks for conflicts with its branches."""
    if is_installed():
        for change in changes:
            post_save.send(sender=ObjectChange, instance=change, created=True, raw=False, using=change._state.db)


def connect():
    """Keep the plugin's objects out of branches. Called once, when all models are there."""
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
    # Ahead of NetBox's own, which takes what is deleted out of the objects that refer to it.
    pre_delete.receivers.insert(0, pre_delete.receivers.pop())


def _resolve(model):
    """Tell netbox-branching that a model of ours is not for branches. Of others we say nothing."""
    return False if model._meta.app_label == PLUGIN else None


def _drop_triggers(branch, **kwargs):
    """Keep the places of a new branch from moving main's pools, by the triggers that it has got from main's places."""
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
    Refuse that a branch deletes what one of our objects refers to.

    A branch's connection finds in main the tables that the branch has not got, and would unset the reference there.
    """
    if not is_active():
        return
    for relation in instance._meta.get_fields(include_hidden=True):
        if not relation.auto_created or relation.concrete or relation.related_model._meta.app_label != PLUGIN:
            continue
        with on_main():
            if users := list(relation.related_model._base_manager.filter(**{relation.field.name: instance.pk})[:1]):
                raise protected_error(_("VLAN Manager uses it in main: delete it there."), users)
