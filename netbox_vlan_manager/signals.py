"""
Connects NetBox's signals to the rules in `services.segments.guards`, one line each.

A branch's changes to VLANs and prefixes (netbox-branching) are drafts: the rules are checked when it is merged.
"""

from contextlib import contextmanager

from django.core.exceptions import ValidationError
from django.db import OperationalError
from django.db.models import ProtectedError
from django.db.models.signals import m2m_changed, post_delete, post_save, pre_delete, pre_save
from django.dispatch import receiver
from django.utils.translation import gettext as _

from dcim.models import Location, Region, Site, SiteGroup
from ipam.models import VLAN, Prefix, VLANGroup
from netbox.context import current_request
from netbox.signals import post_clean
from utilities.exceptions import AbortRequest
from virtualization.models import Cluster

from . import branching
from .exceptions import Busy, VLANManagerError
from .models import Allocation, Segment, SegmentPool
from .services.allocations.clusters import link_clusters
from .services.base import hooks
from .services.base.audit import skipped_by_delete
from .services.base.transactions import DEADLOCK_DETECTED, LOCK_NOT_AVAILABLE, sqlstate
from .services.onboarding.first_generation import following
from .services.pools import provisioning
from .services.segments import deletion, followers, guards

CHECKS = {
    VLAN: (guards.check_vlan, {"vid", "name", "group", "group_id"}),
    Prefix: (guards.check_prefix, {"prefix", "vrf", "vrf_id", "vlan", "vlan_id"}),
    VLANGroup: (guards.check_vlan_group, {"vid_ranges"}),
}


def refuses_deletion_of(*senders):
    """
    Return a decorator that connects a receiver of pre_delete ahead of NetBox's own.

    NetBox's receiver removes a prefix from the pools whose container it is, and logs the deletion as done; neither may
    happen before a refusal. Services that delete check the rule themselves.
    """

    def connect(function):
        for sender in senders:
            pre_delete.connect(function, sender=sender)
            pre_delete.receivers.insert(0, pre_delete.receivers.pop())
        return skipped_by_delete(function)

    return connect


@contextmanager
def busy_aborts_request():
    """Turn a lock timeout or deadlock in a guard into AbortRequest, with which NetBox abandons a request."""
    try:
        yield
    except OperationalError as error:
        if sqlstate(error) not in (LOCK_NOT_AVAILABLE, DEADLOCK_DETECTED):
            raise
        raise AbortRequest(str(Busy())) from error


@receiver(post_clean, sender=VLAN)
@receiver(post_clean, sender=Prefix)
@receiver(post_clean, sender=VLANGroup)
def refuse_in_form(sender, instance, **kwargs):
    if not instance._state.adding and not branching.is_active():
        with busy_aborts_request():
            CHECKS[sender][0](instance)


@receiver(post_clean, sender=Prefix)
def refuse_new_in_form(instance, **kwargs):
    if _is_new(instance) and (errors := guards.check_network(instance)):
        raise ValidationError(errors)


@receiver(pre_save, sender=Prefix)
def refuse_new(instance, raw=False, **kwargs):
    if not raw and _is_new(instance) and (errors := guards.check_network(instance)):
        raise AbortRequest(" ".join(errors.values()))


def _is_new(prefix):
    """Return whether this is a new prefix for which `provisioning` has found no place."""
    return prefix._state.adding and not branching.is_active() and not getattr(prefix, "has_place", False)


@receiver(pre_save, sender=VLAN)
@receiver(pre_save, sender=Prefix)
@receiver(pre_save, sender=VLANGroup)
def refuse_save(sender, instance, raw=False, update_fields=None, **kwargs):
    check, watched = CHECKS[sender]
    if raw or instance._state.adding or branching.is_active() or not _touches(update_fields, watched):
        return
    try:
        with busy_aborts_request():
            check(instance)
    except ValidationError as error:
        raise AbortRequest(" ".join(error.messages)) from error


@receiver(pre_save, sender=SegmentPool)
def refuse_save_of_pool(instance, raw=False, update_fields=None, **kwargs):
    watched = {*provisioning.CHECKED_FIELDS, "vrf_id", "vlan_group_id"}
    if raw or instance._state.adding or instance.checks_containers or not _touches(update_fields, watched):
        return
    try:
        with busy_aborts_request():
            provisioning.check_saved_pool(instance)
    except ValidationError as error:
        raise AbortRequest(" ".join(error.messages)) from error


@receiver(post_save, sender=VLAN)
def follow_vlan(instance, created, raw=False, update_fields=None, **kwargs):
    if (
        not created
        and not raw
        and not branching.is_active()
        and _touches(update_fields, {"vid", "name", "status", "description"})
    ):
        followers.follow_vlan(instance)


@receiver(post_save, sender=Prefix)
def follow_prefix(instance, created, raw=False, update_fields=None, **kwargs):
    if not created and not raw and not branching.is_active() and _touches(update_fields, {"prefix", "description"}):
        segment = followers.follow_prefix(instance)
        # The plugin's own writes pass `update_fields`.
        if segment and segment.pool.is_on_trial and update_fields is None:
            request = current_request.get()
            try:
                with busy_aborts_request():
                    following.follow_prefix(segment, instance, request and request.user)
            except ValidationError as error:
                raise AbortRequest(" ".join(error.messages)) from error
            except VLANManagerError as error:
                raise AbortRequest(str(error)) from error


@receiver(post_save, sender=Segment)
def write_back_segment(instance, created, raw=False, update_fields=None, **kwargs):
    if not created and not raw and update_fields is not None and "status" in update_fields:
        following.write_back(instance.pool, instance.pk)


@receiver(post_save, sender=Allocation)
def write_back_allocation(instance, raw=False, update_fields=None, **kwargs):
    if instance.segment_id and not raw and _touches(update_fields, {"released_at", "segment"}):
        following.write_back(instance.pool, instance.segment_id)


@receiver(pre_save, sender=Cluster)
def remember_cluster_name(instance, raw=False, update_fields=None, **kwargs):
    if raw or instance._state.adding or branching.is_active() or not _touches(update_fields, {"name"}):
        return
    instance._name_before = Cluster.objects.filter(pk=instance.pk).values_list("name", flat=True).first()


@receiver(post_save, sender=Cluster)
def link_saved_cluster(instance, raw=False, update_fields=None, **kwargs):
    if raw or branching.is_active() or not _touches(update_fields, {"name"}):
        return
    before = instance.__dict__.pop("_name_before", None)
    if before != instance.name:
        link_clusters([name for name in (before, instance.name) if name])


@receiver(post_delete, sender=Cluster)
@skipped_by_delete
def link_namesakes_of_cluster(instance, **kwargs):
    # If another cluster has this name, the name may be unique now.
    if not branching.is_active():
        link_clusters([instance.name])


@refuses_deletion_of(Prefix)
def keep_containers(instance, **kwargs):
    guards.check_container_deletion(instance)


@receiver(m2m_changed, sender=SegmentPool.prefixes.through)
def keep_containers_in_pool(instance, action, reverse, pk_set, **kwargs):
    if action not in ("pre_remove", "pre_clear") or branching.is_active():
        return
    if reverse:
        pools = instance.segment_pools.all() if pk_set is None else SegmentPool.objects.filter(pk__in=pk_set)
        removed = [(pool, {instance.pk}) for pool in pools]
    else:
        removed = [(instance, pk_set)]
    for pool, prefixes in removed:
        guards.check_container_removal(pool, prefixes)


@refuses_deletion_of(Region, SiteGroup, Site, Location)
def keep_scopes(instance, **kwargs):
    guards.check_scope_deletion(instance)


@refuses_deletion_of(Segment)
def keep_held_segments(instance, **kwargs):
    guards.check_segment_deletion(instance)


@receiver(post_delete, sender=Segment)
@skipped_by_delete
def tell_of_deletion(instance, **kwargs):
    hooks.send(hooks.segments_deleted, [instance.pk])


@receiver(post_delete, sender=Segment)
@skipped_by_delete
def delete_owned_objects(instance, **kwargs):
    deletion.delete_owned_objects(instance)


@refuses_deletion_of(Allocation)
def keep_allocations(instance, **kwargs):
    raise ProtectedError(_("Allocations are history: release them instead of deleting them."), [instance])


def _touches(update_fields, watched):
    """Return whether a save() with these `update_fields` writes any of the `watched` fields; None writes all."""
    return update_fields is None or not watched.isdisjoint(update_fields)
