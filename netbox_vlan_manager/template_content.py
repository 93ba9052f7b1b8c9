"""Panels on the pages of NetBox's own objects. They show what the user may view, and are left out if empty."""

from functools import reduce
from operator import or_

from django.contrib.contenttypes.models import ContentType
from django.db.models import Case, Prefetch, Q, When
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import gettext as _

from ipam.models import VLAN
from netbox.plugins import PluginTemplateExtension

from . import branching, wings
from .choices import AllocationStatusChoices
from .filtersets import SegmentPoolFilterSet
from .models import Allocation, Segment, SegmentPool
from .services.base.resolution import serving_pools

__all__ = ("template_extensions",)

# The most rows of a panel; it links to a list with all.
LISTED = 10
# The most pool ids in a link: servers take no URL of more than about 4,000 characters.
IDS_LISTED = 300


class Panel(PluginTemplateExtension):
    @property
    def object(self):
        return self.context["object"]

    @property
    def user(self):
        return self.context["request"].user

    def viewable(self, model):
        return model.objects.restrict(self.user, "view")

    def right_page(self):
        # While a branch is active, the page shows the branch, and the panel shows main.
        with branching.on_main():
            return self.panel()

    def panel(self):
        """Return the panel's HTML, or "" if the user may view nothing of it."""
        raise NotImplementedError


class SegmentPanel(Panel):
    """The segment that a VLAN or prefix belongs to, and the clusters that hold it."""

    models = ["ipam.vlan", "ipam.prefix"]

    def panel(self):
        allocations = self.viewable(Allocation).active().select_related("allocated_by")
        names = ("vlan",) if isinstance(self.object, VLAN) else ("prefix", "ipv6_prefix")
        uses = reduce(or_, (Q(**{name: self.object}) for name in names))
        segments = self.viewable(Segment).filter(uses).select_related("vlan")
        segment = segments.prefetch_related(
            Prefetch("pool", self.viewable(SegmentPool)), Prefetch("allocations", allocations)
        ).first()
        if segment is None:
            return ""
        filters = {"vid": segment.vid}
        if not isinstance(self.object, VLAN):
            filters = {"contains": self.object.prefix, "vrf_name": self.object.vrf.name}
        context = {"segment": segment, "timeline": urlencode(filters)}
        return self.render("netbox_vlan_manager/inc/segment_panel.html", context)


class PoolsPanel(Panel):
    """Lists pools, with how many segments they have."""

    # Whether pools of enclosing places are listed too, because they serve this place.
    enclosing = False

    def render_pools(self, pools, lists):
        """
        Return the panel's HTML, or "" if there is nothing to show.

        Args:
            pools: The pools to show in it, a queryset.
            lists: (label, URL, number of pools) of each list of pools that the panel links to.
        """
        rows = list(pools.with_usage().select_related("vrf").prefetch_related("scope")[:LISTED])
        if not rows and not lists:
            return ""
        context = {"pools": rows, "lists": lists, "enclosing": self.enclosing}
        return self.render("netbox_vlan_manager/inc/pools_panel.html", context)


class RelatedPools(PoolsPanel):
    """The pools that an object is part of."""

    # The field of SegmentPool, and the filter of its list.
    field = ""
    filter = ""

    def panel(self):
        pools = self.viewable(SegmentPool).filter(**{self.field: self.object})
        count = pools.count()
        url = _list_url("segmentpool", {self.filter: self.object.pk})
        return self.render_pools(pools, [(_("All pools"), url, count)] if count > LISTED else [])


class VRFPools(RelatedPools):
    models = ["ipam.vrf"]
    field = "vrf"
    filter = "vrf_id"


class VLANGroupPools(RelatedPools):
    models = ["ipam.vlangroup"]
    field = "vlan_group"
    filter = "vlan_group_id"


class ContainerPools(RelatedPools):
    models = ["ipam.prefix"]
    field = "prefixes"
    filter = "prefix_id"


class PlacePools(PoolsPanel):
    """The pools that serve a place, its own first, then those of enclosing places; with a link to those inside it."""

    models = ["dcim.region", "dcim.sitegroup", "dcim.site", "dcim.location"]
    enclosing = True
    filters = {"region": "region_id", "sitegroup": "site_group_id", "site": "site_id", "location": "location_id"}

    def panel(self):
        if not self.user.has_perm("netbox_vlan_manager.view_segmentpool"):
            return ""
        serving = {pool.pk: (pool.scope_type_id, pool.scope_id) for pool in serving_pools(self.object, self.user)}
        here = (ContentType.objects.get_for_model(self.object).pk, self.object.pk)
        own = [pk for pk, scope in serving.items() if scope == here]
        lists = []
        if len(serving) > LISTED:
            ids = [*serving][:IDS_LISTED]
            lists.append((_("Pools that serve this place"), _list_url("segmentpool", {"id": ids}), len(ids)))
        inside = {self.filters[self.object._meta.model_name]: [self.object.pk]}
        count = SegmentPoolFilterSet(inside, self.viewable(SegmentPool)).qs.count()
        if count > len(own):
            lists.append((_("Pools of this place and of those inside it"), _list_url("segmentpool", inside), count))
        pools = SegmentPool.objects.filter(pk__in=serving)
        return self.render_pools(pools.order_by(Case(When(pk__in=own, then=0), default=1), "name"), lists)


class ClusterAllocations(Panel):
    """The segments that a cluster holds."""

    models = ["virtualization.cluster"]

    def panel(self):
        allocations = self.viewable(Allocation).active().filter(cluster=self.object)
        count = allocations.count()
        may_allocate = self.user.has_perm("netbox_vlan_manager.allocate_segmentpool")
        if not count and not (may_allocate and self.user.has_perm("netbox_vlan_manager.view_allocation")):
            return ""
        filters = {"cluster_id": self.object.pk, "status": AllocationStatusChoices.ACTIVE}
        prefilled = {"cluster_name": self.object.name, "return_url": self.object.get_absolute_url()}
        rows = allocations.prefetch_related(
            Prefetch("segment", self.viewable(Segment)), Prefetch("pool", self.viewable(SegmentPool))
        )
        return self.render(
            "netbox_vlan_manager/inc/allocations_panel.html",
            {
                "allocations": rows[:LISTED],
                "lists": [(_("Active allocations"), _list_url("allocation", filters), count)] if count else [],
                "timeline_url": f"{reverse('plugins:netbox_vlan_manager:timeline')}?"
                + urlencode({"cluster_name": self.object.name}),
                "allocate_url": may_allocate
                and f"{reverse('plugins:netbox_vlan_manager:allocation_allocate')}?{urlencode(prefilled)}",
            },
        )


def _list_url(model_name, filters):
    return f"{reverse(f'plugins:netbox_vlan_manager:{model_name}_list')}?{urlencode(filters, doseq=True)}"


template_extensions = (
    SegmentPanel,
    ContainerPools,
    VRFPools,
    VLANGroupPools,
    PlacePools,
    ClusterAllocations,
    *wings.collect("template_content.template_extensions"),
)
