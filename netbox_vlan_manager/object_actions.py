"""
Buttons of the plugin's own actions.

NetBox shows a button to a user who holds the permission on the model of the page. Allocating and releasing are
permissions on the segment pool instead, on every page; disabling and enabling depend on the segment.
"""

from django.http import QueryDict
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import gettext_lazy as _

from netbox.object_actions import AddObject, BulkExport, ObjectAction

from .choices import AllocationStatusChoices, SegmentPoolStatusChoices, SegmentStatusChoices
from .filtersets import SAVED_FILTER, PoolStatisticsFilterSet, SegmentFilterSet
from .models import Segment, SegmentPool
from .services.allocations.handing_over import can_undo_release
from .services.base.visibility import may_release, may_release_any

__all__ = (
    "AddSegment",
    "AllocateSegment",
    "BulkDisableSegments",
    "BulkEnableSegments",
    "BulkReleaseAllocations",
    "DisableSegment",
    "EnableSegment",
    "EndQuarantine",
    "ExportPoolSegments",
    "ExportSegments",
    "ExportStatistics",
    "GenerateSegments",
    "HandOverAllocation",
    "MovePool",
    "PoolActionsMixin",
    "ReleaseAllocation",
    "RenewAllocation",
    "ShareSegment",
    "UndoRelease",
)


class PoolActionsMixin:
    """Extends NetBox's ActionsMixin: an action with `is_permitted` is shown only if that returns True."""

    def get_permitted_actions(self, user, model=None):
        return [
            action
            for action in super().get_permitted_actions(user, model)
            if not hasattr(action, "is_permitted") or action.is_permitted(user, model)
        ]


class AllocateSegment(ObjectAction):
    """Leads to the form that allocates a segment; from a pool or an available segment, with that one chosen."""

    label = _("Allocate")
    template_name = "netbox_vlan_manager/buttons/allocate.html"

    @classmethod
    def is_permitted(cls, user, obj=None):
        if isinstance(obj, Segment):
            is_open = obj.pool.status == SegmentPoolStatusChoices.ACTIVE
            if not is_open or obj.status != SegmentStatusChoices.AVAILABLE:
                return False
            return user.has_perm("netbox_vlan_manager.allocate_segmentpool", obj.pool)
        pool = obj if isinstance(obj, SegmentPool) else None
        is_active = pool is None or pool.status == SegmentPoolStatusChoices.ACTIVE
        return is_active and user.has_perm("netbox_vlan_manager.allocate_segmentpool", pool)

    @classmethod
    def get_url(cls, obj):
        url = reverse("plugins:netbox_vlan_manager:allocation_allocate")
        # On a list, NetBox's template makes an empty instance of the model.
        if not obj.pk or not isinstance(obj, SegmentPool | Segment):
            return url
        chosen = {"pool": obj.pool_id, "vid": obj.vid} if isinstance(obj, Segment) else {"pool": obj.pk}
        return f"{url}?{urlencode(chosen)}"


class MovePool(ObjectAction):
    """A menu of the operations on a whole pool or many of its segments that the user may run."""

    label = _("More")
    template_name = "netbox_vlan_manager/buttons/pool_operations.html"
    moves = (
        ("generate", "mdi-playlist-plus", _("Generate segments"), ("add_segment",)),
        ("import", "mdi-upload", _("Import segments"), ("add_segment",)),
        ("adopt", "mdi-link-plus", _("Adopt segments"), ("add_segment",)),
        ("resize", "mdi-arrow-expand-horizontal", _("Resize"), ("change_segmentpool",)),
        ("merge", "mdi-call-merge", _("Merge into another pool"), ("change_segmentpool", "delete_segmentpool")),
        ("retire", "mdi-archive-arrow-down-outline", _("Retire"), ("delete_segmentpool",)),
    )

    @classmethod
    def permitted_moves(cls, user, pool):
        # A page of a pool's children asks for their model, too.
        pool = pool if isinstance(pool, SegmentPool) else None
        subjects = {"add_segment": None, "change_segmentpool": pool, "delete_segmentpool": pool}
        permitted = {
            permission
            for permission, subject in subjects.items()
            if user.has_perm(f"netbox_vlan_manager.{permission}", subject)
        }
        return [(name, icon, text) for name, icon, text, permissions in cls.moves if permitted.issuperset(permissions)]

    @classmethod
    def is_permitted(cls, user, obj=None):
        return bool(cls.permitted_moves(user, obj))

    @classmethod
    def get_context(cls, context, pool):
        pool_url = pool.get_absolute_url()
        urls = {name: f"{pool_url}{name}/" for name, *_rest in cls.moves}
        # One page imports into all pools.
        import_url = reverse("plugins:netbox_vlan_manager:segment_bulk_import")
        urls["import"] = f"{import_url}?{urlencode({'pool': pool.pk, 'return_url': pool_url})}"
        moves = cls.permitted_moves(context["request"].user, pool)
        return {"moves": [(name, icon, text, urls[name]) for name, icon, text in moves]}


class ReleaseAllocation(ObjectAction):
    """Asks whether to release an allocation, while it is active."""

    name = "release"
    label = _("Release")
    url_kwargs = ("pk",)
    template_name = "netbox_vlan_manager/buttons/release.html"

    @classmethod
    def is_permitted(cls, user, obj=None):
        if obj is None or obj.status != AllocationStatusChoices.ACTIVE:
            return False
        return may_release(user, obj)


class RenewAllocation(ObjectAction):
    """Leads to the form that asks when an allocation shall expire, while it is active."""

    name = "renew"
    label = _("Renew")
    url_kwargs = ("pk",)
    template_name = "netbox_vlan_manager/buttons/renew.html"

    @classmethod
    def is_permitted(cls, user, obj):
        is_active = obj.status == AllocationStatusChoices.ACTIVE
        return is_active and user.has_perm("netbox_vlan_manager.allocate_segmentpool", obj.pool)


class HandOverAllocation(ReleaseAllocation):
    """Asks which cluster shall get the segment of an active allocation."""

    name = "hand_over"
    label = _("Hand Over")
    template_name = "netbox_vlan_manager/buttons/hand_over.html"

    @classmethod
    def is_permitted(cls, user, obj=None):
        may_allocate = obj is not None and user.has_perm("netbox_vlan_manager.allocate_segmentpool", obj.pool)
        return may_allocate and super().is_permitted(user, obj)


class UndoRelease(ObjectAction):
    """Asks whether a cluster shall get the segment back that it released, while no other cluster got it."""

    name = "undo_release"
    label = _("Undo Release")
    url_kwargs = ("pk",)
    template_name = "netbox_vlan_manager/buttons/undo_release.html"

    @classmethod
    def is_permitted(cls, user, obj):
        return can_undo_release(obj) and user.has_perm("netbox_vlan_manager.allocate_segmentpool", obj.pool)


class BulkReleaseAllocations(ObjectAction):
    """Asks whether to release the allocations that are selected in a table, or those of the selected segments."""

    name = "bulk_release"
    label = _("Release Selected")
    multi = True
    template_name = "netbox_vlan_manager/buttons/bulk_release.html"

    @classmethod
    def is_permitted(cls, user, obj=None):
        return may_release_any(user) and user.has_perm("netbox_vlan_manager.view_allocation")


class AddSegment(AddObject):
    """Leads from a pool's page to the form for a new segment of that pool, and back."""

    label = _("Add Segment")
    permissions_required = set()

    @classmethod
    def is_permitted(cls, user, obj=None):
        return user.has_perm("netbox_vlan_manager.add_segment")

    @classmethod
    def get_url(cls, obj):
        return_url = reverse("plugins:netbox_vlan_manager:segmentpool_segments", kwargs={"pk": obj.pk})
        params = {"pool": obj.pk, "return_url": return_url}
        return f"{reverse('plugins:netbox_vlan_manager:segment_add')}?{urlencode(params)}"


class GenerateSegments(ObjectAction):
    """Leads to the form that makes segments of a pool."""

    name = "generate"
    label = _("Generate")
    url_kwargs = ("pk",)
    template_name = "netbox_vlan_manager/buttons/generate.html"

    @classmethod
    def is_permitted(cls, user, obj=None):
        return user.has_perm("netbox_vlan_manager.add_segment")


class DisableSegment(ObjectAction):
    """Asks whether to disable a segment, while it is neither disabled nor allocated."""

    name = "disable"
    label = _("Disable")
    url_kwargs = ("pk",)
    template_name = "netbox_vlan_manager/buttons/disable.html"
    statuses = (SegmentStatusChoices.AVAILABLE, SegmentStatusChoices.QUARANTINED)

    @classmethod
    def is_permitted(cls, user, obj):
        return obj.status in cls.statuses and user.has_perm("netbox_vlan_manager.change_segment", obj)


class EnableSegment(DisableSegment):
    """Asks whether to enable a segment, while it is disabled."""

    name = "enable"
    label = _("Enable")
    template_name = "netbox_vlan_manager/buttons/enable.html"
    statuses = (SegmentStatusChoices.DISABLED,)


class EndQuarantine(DisableSegment):
    """Asks whether to make a quarantined segment available now."""

    name = "end_quarantine"
    label = _("End Quarantine")
    template_name = "netbox_vlan_manager/buttons/end_quarantine.html"
    statuses = (SegmentStatusChoices.QUARANTINED,)


class ShareSegment(ObjectAction):
    """Asks which cluster shall hold a segment as well, while a cluster holds it."""

    name = "share"
    label = _("Share")
    url_kwargs = ("pk",)
    template_name = "netbox_vlan_manager/buttons/share.html"

    @classmethod
    def is_permitted(cls, user, obj):
        return obj.status == SegmentStatusChoices.ALLOCATED and user.has_perm(
            "netbox_vlan_manager.allocate_segmentpool", obj.pool
        )


class BulkDisableSegments(ObjectAction):
    """Asks whether to disable the segments that are selected in a table."""

    name = "bulk_disable"
    label = _("Disable Selected")
    multi = True
    permissions_required = {"change"}
    template_name = "netbox_vlan_manager/buttons/bulk_disable.html"


class BulkEnableSegments(ObjectAction):
    """Asks whether to enable the segments that are selected in a table."""

    name = "bulk_enable"
    label = _("Enable Selected")
    multi = True
    permissions_required = {"change"}
    template_name = "netbox_vlan_manager/buttons/bulk_enable.html"


class ExportSegments(BulkExport):
    """Extends NetBox's export menu by the segments with their allocations, as CSV and XLSX."""

    template_name = "netbox_vlan_manager/buttons/export.html"
    heading = _("Segments and allocations")
    endpoint = "export-segments"
    filterset = SegmentFilterSet

    @classmethod
    def get_context(cls, context, model):
        return {
            **super().get_context(context, model),
            "heading": cls.heading,
            "endpoint": reverse(f"plugins-api:netbox_vlan_manager-api:{cls.endpoint}"),
            "endpoint_params": cls.get_filters(context["request"].GET).urlencode(),
        }

    @classmethod
    def get_filters(cls, params):
        """Return the filters among a list's URL parameters. The export refuses other parameters, such as the page's."""
        filters = QueryDict(mutable=True)
        for name, values in params.lists():
            # `base_filters` has no custom fields: these are in the database, and read for each filter set.
            if name in cls.filterset.base_filters or name in SAVED_FILTER or name.startswith("cf_"):
                filters.setlist(name, values)
        return filters


class ExportStatistics(ExportSegments):
    """Extends NetBox's export menu by the statistics of the pools, as CSV and XLSX."""

    heading = _("Statistics")
    endpoint = "export-statistics"
    filterset = PoolStatisticsFilterSet


class ExportPoolSegments(ExportSegments):
    """Exports the segments of one pool on its page, without the exports of NetBox's lists."""

    permissions_required = set()
    template_name = "netbox_vlan_manager/buttons/export_pool_segments.html"

    @classmethod
    def is_permitted(cls, user, obj=None):
        return user.has_perm("netbox_vlan_manager.view_segment")

    @classmethod
    def get_context(cls, context, pool):
        params = cls.get_filters(context["request"].GET)
        params["pool_id"] = pool.pk
        return {**super().get_context(context, pool), "endpoint_params": params.urlencode()}
