"""Deletes segments, with the VLANs, prefixes and IP addresses that were created with them."""

from functools import partial
from itertools import batched

from django.utils.translation import gettext as _

from ipam.models import VLAN

from ...choices import SegmentStatusChoices
from ...exceptions import SegmentInUse
from ...models import Allocation, Segment
from ...models.deletion import name_viewed_only
from ..base import audit, hooks, operations, transactions
from ..base.visibility import nameable
from .gateways import IP_ADDRESSES, made_addresses
from .hierarchy import delete_prefixes

__all__ = (
    "delete_owned_objects",
    "delete_segment",
    "delete_segments_locked",
    "detach_prefix",
    "unlink_allocations",
)

# How many objects one call of `audit` gets.
BATCH_SIZE = 500


def delete_segment(segment, *, user, changelog_message=""):
    """
    Delete a segment, and its VLAN and prefixes if they were created with it. Locks the segment's row.

    Args:
        segment: The Segment.
        user: The User, or the user name, for the change log.
        changelog_message: Why, for the change log of the segment.

    Raises:
        SegmentInUse: A cluster holds the segment.
        Vetoed: An optional part of the plugin refuses it.
        ProtectedError: Another object in NetBox uses its VLAN or a prefix; nothing was deleted.
        Busy: Locks were not had in time; nothing was deleted.
    """
    user = audit.get_user(user)
    about = {"segment": segment.pk, "vid": segment.vid, "user": user}
    with operations.track("delete segment", **about), audit.change_tracking(user):
        transactions.run(partial(_delete_segment_locked, segment.pk, changelog_message))


def _delete_segment_locked(pk, changelog_message):
    segment = Segment.objects.select_for_update(of=("self",)).get(pk=pk)
    if segment.status == SegmentStatusChoices.ALLOCATED:
        text = _("The segment is allocated: release it before you delete it.")
        if nameable(Segment.objects).filter(pk=pk).exists():
            text = _("Segment {segment} is allocated: release it before you delete it.")
        raise SegmentInUse(text.format(segment=segment))
    hooks.check_vetoes(hooks.DELETE, [pk])
    segment._changelog_message = changelog_message
    segment.delete()


def delete_segments_locked(segments):
    """
    Delete segments that no cluster holds, with all that was created with them. The caller has locked their rows.

    Args:
        segments: A queryset.

    Raises:
        ProtectedError: Another object in NetBox uses a VLAN or prefix.
        Vetoed: An optional part of the plugin refuses one of the deletions.
    """
    for batch in batched(
        list(segments.select_related("vlan", "prefix", "ipv6_prefix", *IP_ADDRESSES.values())), BATCH_SIZE
    ):
        pks = [segment.pk for segment in batch]
        hooks.check_vetoes(hooks.DELETE, pks)
        unlink_allocations(Allocation.objects.filter(segment__in=pks), "segment")
        audit.delete(batch)
        hooks.send(hooks.segments_deleted, pks)
        if addresses := made_addresses(batch):
            audit.delete(addresses)
        delete_prefixes([prefix for segment in batch for prefix in segment.get_prefixes(owned=True)])
        left = [prefix for segment in batch if segment.owns_vlan for prefix in segment.get_prefixes(owned=False)]
        audit.write(updates=[(prefix, {"vlan": None}) for prefix in left])
        if vlans := [segment.vlan for segment in batch if segment.owns_vlan]:
            audit.delete(vlans)


def unlink_allocations(allocations, field):
    """Clear a foreign key of released allocations, which keep the name of the deleted object."""
    for batch in batched(list(allocations.order_by("pk")), BATCH_SIZE):
        audit.write(updates=[(allocation, {field: None}) for allocation in batch])


def detach_prefix(prefix):
    """Clear the VLAN of a prefix that is older than its segment, since the VLAN is deleted with the segment."""
    prefix.snapshot()
    prefix.vlan = None
    prefix.save()


def delete_owned_objects(segment):
    """
    Delete the IP addresses, the prefixes and the VLAN that were created with `segment`, which is deleted already.

    Raises:
        ProtectedError: Another object in NetBox uses one of them. It lists the objects that the user may view.
    """
    with name_viewed_only():
        for address in made_addresses([segment]):
            address.delete()
        for prefix in segment.get_prefixes(owned=True):
            prefix.delete()
        if segment.owns_vlan:
            for prefix in segment.get_prefixes(owned=False):
                detach_prefix(prefix)
            for vlan in VLAN.objects.filter(pk=segment.vlan_id):
                vlan.delete()
