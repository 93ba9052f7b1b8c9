"""Connects NetBox's signals to the rules in `services.guards`, one line each."""

from django.core.exceptions import ValidationError
from django.db.models import ProtectedError
from django.db.models.signals import post_delete, post_save, pre_delete, pre_save
from django.dispatch import receiver
from django.utils.translation import gettext as _

from dcim.models import Location, Region, Site, SiteGroup
from ipam.models import VLAN, Prefix, VLANGroup
from netbox.signals import post_clean
from utilities.exceptions import AbortRequest

from .models import Allocation, Segment
from .services import guards

CHECKS = {
    VLAN: (guards.check_vlan, {"vid", "name", "group"}),
    Prefix: (guards.check_prefix, {"prefix", "vrf", "vlan"}),
    VLANGroup: (guards.check_vlan_group, {"vid_ranges"}),
}


@receiver(post_clean, sender=VLAN)
@receiver(post_clean, sender=Prefix)
@receiver(post_clean, sender=VLANGroup)
def refuse_in_form(sender, instance, **kwargs):
    if not instance._state.adding:
        CHECKS[sender][0](instance)


@receiver(post_clean, sender=Prefix)
def refuse_status_in_form(instance, **kwargs):
    if not instance._state.adding:
        guards.check_prefix_status(instance)


@receiver(pre_save, sender=VLAN)
@receiver(pre_save, sender=Prefix)
@receiver(pre_save, sender=VLANGroup)
def refuse_save(sender, instance, raw=False, update_fields=None, **kwargs):
    check, watched = CHECKS[sender]
    if raw or instance._state.adding or not _touches(update_fields, watched):
        return
    try:
        check(instance)
    except ValidationError as error:
        raise AbortRequest(" ".join(error.messages)) from error


@receiver(post_save, sender=VLAN)
def follow_vlan(instance, created, raw=False, update_fields=None, **kwargs):
    if not created and not raw and _touches(update_fields, {"vid", "name"}):
        guards.follow_vlan(instance)


@receiver(post_save, sender=Prefix)
def follow_prefix(instance, created, raw=False, update_fields=None, **kwargs):
    if not created and not raw and _touches(update_fields, {"prefix"}):
        guards.follow_prefix(instance)


@receiver(pre_delete, sender=Prefix)
def keep_containers(instance, **kwargs):
    guards.check_container_deletion(instance)


@receiver(pre_delete, sender=Region)
@receiver(pre_delete, sender=SiteGroup)
@receiver(pre_delete, sender=Site)
@receiver(pre_delete, sender=Location)
def keep_scopes(instance, **kwargs):
    guards.check_scope_deletion(instance)


@receiver(pre_delete, sender=Segment)
def keep_held_segments(instance, **kwargs):
    guards.check_segment_deletion(instance)


@receiver(post_delete, sender=Segment)
def delete_owned_objects(instance, **kwargs):
    guards.delete_owned_objects(instance)


@receiver(pre_delete, sender=Allocation)
def keep_allocations(instance, **kwargs):
    raise ProtectedError(_("Allocations are history: release them instead of deleting them."), [instance])


def _touches(update_fields, watched):
    """Whether a save() with these `update_fields` writes any of the `watched` ones; None writes all."""
    return update_fields is None or not watched.isdisjoint(update_fields)
