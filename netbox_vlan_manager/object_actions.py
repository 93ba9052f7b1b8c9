"""
Buttons for the two verbs.

NetBox shows a button to whoever holds the permission on the model of the page. Allocating and releasing are permissions
on the segment pool instead, whatever page the button stands on.
"""

from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import gettext_lazy as _

from netbox.object_actions import ObjectAction

from .models import SegmentPool

__all__ = (
    "AllocateSegment",
    "BulkReleaseAllocations",
    "PoolActionsMixin",
    "ReleaseAllocation",
)


class PoolActionsMixin:
    """Extends NetBox's ActionsMixin: asks an action that knows its own permission whether to show itself."""

    def get_permitted_actions(self, user, model=None):
        return [
            action
            for action in super().get_permitted_actions(user, model)
            if not hasattr(action, "is_permitted") or action.is_permitted(user, model)
        ]


class AllocateSegment(ObjectAction):
    """Leads to the form that allocates a segment; on a pool's page, with that pool chosen."""

    label = _("Allocate")
    template_name = "netbox_vlan_manager/buttons/allocate.html"

    @classmethod
    def is_permitted(cls, user, obj=None):
        pool = obj if isinstance(obj, SegmentPool) else None
        return user.has_perm("netbox_vlan_manager.allocate_segmentpool", pool)

    @classmethod
    def get_url(cls, obj):
        url = reverse("plugins:netbox_vlan_manager:allocation_allocate")
        # On a list, NetBox's template makes an empty instance of the model.
        return f"{url}?{urlencode({'pool': obj.pk})}" if isinstance(obj, SegmentPool) and obj.pk else url


class ReleaseAllocation(ObjectAction):
    """Asks whether to release an allocation, while it is active."""

    name = "release"
    label = _("Release")
    url_kwargs = ("pk",)
    template_name = "netbox_vlan_manager/buttons/release.html"

    @classmethod
    def is_permitted(cls, user, obj=None):
        if obj is None or obj.released_at is not None:
            return False
        return user.has_perm("netbox_vlan_manager.release_segmentpool", obj.pool)


class BulkReleaseAllocations(ObjectAction):
    """Asks whether to release the allocations that are ticked in a table."""

    name = "bulk_release"
    label = _("Release Selected")
    multi = True
    template_name = "netbox_vlan_manager/buttons/bulk_release.html"

    @classmethod
    def is_permitted(cls, user, obj=None):
        return user.has_perm("netbox_vlan_manager.release_segmentpool")
