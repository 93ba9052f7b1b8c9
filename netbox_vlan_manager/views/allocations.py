from django.contrib import messages
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.generic import View

from extras.ui.panels import CustomFieldsPanel, TagsPanel
from netbox.object_actions import BulkEdit, BulkExport, DeleteObject, EditObject
from netbox.registry import registry
from netbox.ui import layout
from netbox.ui.breadcrumbs import Breadcrumb, filtered_list_url
from netbox.ui.panels import CommentsPanel
from netbox.views import generic
from netbox.views.generic.base import BaseMultiObjectView
from utilities.htmx import htmx_partial
from utilities.querydict import normalize_querydict
from utilities.views import ContentTypePermissionRequiredMixin, register_model_view

from .. import filtersets, forms, tables
from ..choices import AllocationStatusChoices, ReleaseInUseChoices
from ..forms.errors import add_service_error
from ..models import Allocation, Segment, SegmentPool
from ..object_actions import (
    AllocateSegment,
    BulkReleaseAllocations,
    HandOverAllocation,
    PoolActionsMixin,
    ReleaseAllocation,
    RenewAllocation,
    UndoRelease,
)
from ..services import allocate, allocate_stretched, hand_over, release_allocation, renew, undo_release
from ..services.allocations.releases import release_warnings
from ..services.base.refusals import SERVICE_ERRORS, get_error_texts
from ..services.base.resolution import check_pool_permission
from ..services.base.visibility import check_release, check_renewal, may_release_any, releasable
from ..services.reporting.places import places_of
from ..ui import panels
from .filtering import CheckedFiltersMixin, CheckedSelectionMixin
from .mixins import (
    ConfirmView,
    KeepTypedMixin,
    ResendMixin,
    ReturnURLMixin,
    ViewableMixin,
    annotate_may_release,
    get_selected,
    is_pk,
)

__all__ = (
    "AllocateStretchedView",
    "AllocateView",
    "AllocationBulkEditView",
    "AllocationBulkReleaseView",
    "AllocationContactsView",
    "AllocationEditView",
    "AllocationHandOverView",
    "AllocationListView",
    "AllocationReleaseView",
    "AllocationRenewView",
    "AllocationUndoReleaseView",
    "AllocationView",
)


# The fields that the form for the next cluster keeps.
KEPT = frozenset({"pool", "vrf", "pools"})


@register_model_view(Allocation, "list", path="", detail=False)
class AllocationListView(CheckedFiltersMixin, PoolActionsMixin, generic.ObjectListView):
    queryset = Allocation.objects.select_related("pool", "segment__vlan", "allocated_by", "released_by")
    filterset = filtersets.AllocationFilterSet
    filterset_form = forms.AllocationFilterForm
    table = tables.AllocationTable
    actions = (AllocateSegment, BulkExport, BulkEdit, BulkReleaseAllocations)

    def get_queryset(self, request):
        return annotate_may_release(super().get_queryset(request), request.user)


@register_model_view(Allocation)
class AllocationView(PoolActionsMixin, generic.ObjectView):
    queryset = Allocation.objects.select_related("pool", "segment__vlan", "cluster", "allocated_by", "released_by")
    actions = (UndoRelease, RenewAllocation, HandOverAllocation, ReleaseAllocation, EditObject)
    layout = layout.SimpleLayout(
        breadcrumbs=[
            Breadcrumb("pool", url=filtered_list_url("plugins:netbox_vlan_manager:allocation_list", "pool_id")),
        ],
        left_panels=[
            panels.AllocationPanel(),
            CustomFieldsPanel(),
            TagsPanel(),
        ],
        right_panels=[
            panels.AllocatedSegmentPanel(),
            CommentsPanel(),
        ],
    )

    def get_extra_context(self, request, instance):
        instance.asked_places = places_of(instance, request.user)
        return {}


@register_model_view(Allocation, "edit")
class AllocationEditView(KeepTypedMixin, generic.ObjectEditView):
    queryset = Allocation.objects.all()
    form = forms.AllocationForm


class AllocationContactsView(generic.ObjectContactsView):
    """NetBox's contacts view, without the delete button: an allocation is history."""

    actions = tuple(action for action in generic.ObjectContactsView.actions if action is not DeleteObject)


# NetBox registers its own view for every model with contacts; a second registration would add a second tab.
for view in registry["views"]["netbox_vlan_manager"]["allocation"]:
    if view["name"] == "contacts":
        view["view"] = AllocationContactsView


@register_model_view(Allocation, "bulk_edit", path="edit", detail=False)
class AllocationBulkEditView(ResendMixin, CheckedSelectionMixin, ViewableMixin, generic.BulkEditView):
    # The view shows every column of the table, but prefetches nothing: the queryset reads the related objects.
    queryset = Allocation.objects.select_related(
        "pool", "segment__vlan", "cluster", "allocated_by", "released_by"
    ).prefetch_related("owner__group", "contacts__contact", "tags")
    filterset = filtersets.AllocationFilterSet
    table = tables.AllocationTable
    form = forms.AllocationBulkEditForm


@register_model_view(Allocation, "allocate", detail=False)
class AllocateView(KeepTypedMixin, ReturnURLMixin, ContentTypePermissionRequiredMixin, View):
    """
    Allocates a segment to a cluster.

    The user needs the permission `allocate` on segment pools. The form offers the pools that the permission's
    constraints match; any other pool is a 403.
    """

    template_name = "netbox_vlan_manager/allocate.html"
    form_class = forms.AllocateForm
    default_return_url = "plugins:netbox_vlan_manager:allocation_list"

    def get_required_permission(self):
        return "netbox_vlan_manager.allocate_segmentpool"

    def get(self, request):
        self.check_pool(request.GET.get("pool"))
        form = self.get_form(initial=normalize_querydict(request.GET))
        if htmx_partial(request):
            return render(request, "htmx/form.html", {"form": form})
        return self.render(form)

    def post(self, request):
        self.check_pool(request.POST.get("pool"))
        form = self.get_form(request.POST)
        if not form.is_valid():
            return self.render(form)
        dry_run = "_preview" in request.POST
        try:
            results = self.allocate(user=request.user, dry_run=dry_run, **form.cleaned_data)
        except SERVICE_ERRORS as error:
            add_service_error(form, error)
            return self.render(form)
        if dry_run:
            return self.render(form, preview=results)
        ids = [result.allocation.pk for result in results]
        if Allocation.objects.restrict(request.user, "view").filter(pk__in=ids).count() < len(results):
            # There is no page of the allocation for this user: the result stays above a form for the next cluster.
            kept = {name: value for name, value in normalize_querydict(request.POST).items() if name in KEPT}
            return self.render(self.get_form(initial=kept), results=results)
        self.report(results)
        return redirect(self.get_result_url(results))

    def allocate(self, **asked):
        """Return a list of AllocationResults."""
        return [allocate(**asked)]

    def get_result_url(self, results):
        return results[0].allocation.get_absolute_url()

    def check_pool(self, value):
        """Refuse a pool in which the user may not allocate. The form reports an invalid id."""
        pool = SegmentPool.objects.filter(pk=value).first() if value and is_pk(value) else None
        if pool:
            check_pool_permission(self.request.user, pool, "allocate")

    def get_form(self, data=None, **kwargs):
        return self.form_class(data, pools=SegmentPool.objects.restrict(self.request.user, "allocate"), **kwargs)

    def render(self, form, **context):
        """Return the page; `context` may have `preview` or `results`, both AllocationResults."""
        return render(
            self.request,
            self.template_name,
            # Not named "form": NetBox would repeat the form's errors in a toast.
            {
                "allocate_form": form,
                "chosen": self.get_chosen(),
                "return_url": self.get_return_url(self.request),
                **context,
            },
        )

    def get_chosen(self):
        """Return the segment of the VLAN ID that the page's URL chooses, if there is one that the user may view."""
        pool, vid = self.request.GET.get("pool", ""), self.request.GET.get("vid", "")
        if not (is_pk(pool) and is_pk(vid)):
            return None
        segments = Segment.objects.restrict(self.request.user, "view").select_related("vlan")
        return segments.filter(pool=pool, vid=vid).first()

    def report(self, results):
        """Tell the user what the cluster holds, and whether it held it before."""
        ((allocation, created),) = results
        if created:
            level, text = messages.SUCCESS, _("Allocated VLAN {vid}, prefix {prefix}, EPG {epg} to cluster {cluster}.")
        else:
            level, text = (
                messages.INFO,
                _("Cluster {cluster} already holds VLAN {vid}, prefix {prefix}, EPG {epg}; nothing new was allocated."),
            )
        messages.add_message(
            self.request,
            level,
            format_html(
                text,
                cluster=allocation.cluster_name,
                vid=allocation.vid,
                prefix=allocation.prefixes,
                epg=allocation.epg_name,
            )
            + _expiry_sentence(allocation),
        )


def _expiry_sentence(allocation):
    """Return the sentence on when an allocation expires, or "": it shows how the user's input was read."""
    if not (expiry := allocation.describe_expiry()):
        return ""
    return format_html(" {}", _("The cluster holds it {expiry}.").format(expiry=expiry))


@register_model_view(Allocation, "allocate_stretched", path="stretched", detail=False)
class AllocateStretchedView(AllocateView):
    """Allocates segments with one VLAN ID in several pools to a cluster, all of them or none."""

    template_name = "netbox_vlan_manager/allocate_stretched.html"
    form_class = forms.StretchedForm

    def allocate(self, *, vrf, **asked):
        return allocate_stretched(**asked)

    def report(self, results):
        if any(result.created for result in results):
            level, text = messages.SUCCESS, _("Cluster {cluster} now holds VLAN {vid} in each of {count} pools.")
        else:
            level, text = (
                messages.INFO,
                _("Cluster {cluster} already holds VLAN {vid} in each of {count} pools; nothing new was allocated."),
            )
        held = results[0].allocation
        text = format_html(text, cluster=held.cluster_name, vid=held.vid, count=len(results))
        messages.add_message(self.request, level, text + _expiry_sentence(held))

    def get_result_url(self, results):
        url = reverse("plugins:netbox_vlan_manager:allocation_list")
        return f"{url}?{urlencode({'id': [result.allocation.pk for result in results]}, doseq=True)}"


class AllocationActionView(ConfirmView):
    """Changes one allocation, after a confirmation."""

    queryset = Allocation.objects.select_related("pool", "segment__vlan", "segment__prefix", "segment__ipv6_prefix")

    def get_required_permission(self):
        return "netbox_vlan_manager.view_allocation"

    def refuse(self, allocation, form, error):
        messages.error(self.request, " ".join(get_error_texts(error, self.request.user)))
        return redirect(allocation.get_absolute_url())


@register_model_view(Allocation, "release")
class AllocationReleaseView(AllocationActionView):
    """Releases an allocation, after a confirmation."""

    template_name = "netbox_vlan_manager/release.html"
    htmx_template_name = "netbox_vlan_manager/htmx/release_form.html"

    def has_permission(self):
        return may_release_any(self.request.user) and super().has_permission()

    def get_object(self, **kwargs):
        allocation = super().get_object(**kwargs)
        if allocation.pool:
            check_release(self.request.user, allocation)
        return allocation

    def render(self, allocation, form):
        others = Allocation.objects.active().filter(segment=allocation.segment).exclude(pk=allocation.pk)
        allocation.others_hold = allocation.status == AllocationStatusChoices.ACTIVE and others.exists()
        if allocation.others_hold:
            names = others.restrict(self.request.user, "view").values_list("cluster_name", flat=True)
            allocation.other_names = sorted(set(names), key=str.casefold)
        if allocation.released_at is None:
            allocation.warning = " ".join(release_warnings([allocation], self.request.user).values())
        return super().render(allocation, form)

    def change(self, allocation, form):
        message = form.cleaned_data["changelog_message"]
        allocation, released = release_allocation(allocation, user=self.request.user, changelog_message=message)
        if released:
            messages.success(self.request, _("Released {allocation}.").format(allocation=allocation))
        else:
            messages.info(self.request, _("{allocation} had been released before.").format(allocation=allocation))


class AllocatorView(AllocationActionView):
    """Changes an allocation of a pool in which the user may allocate. An error of a service is shown on the form."""

    additional_permissions = ("netbox_vlan_manager.allocate_segmentpool",)

    def get_object(self, **kwargs):
        allocation = super().get_object(**kwargs)
        if allocation.pool:
            check_pool_permission(self.request.user, allocation.pool, "allocate")
        return allocation

    def refuse(self, allocation, form, error):
        add_service_error(form, error)
        return self.render(allocation, form)


@register_model_view(Allocation, "renew")
class AllocationRenewView(AllocatorView):
    """Sets or clears the time at which an active allocation expires."""

    htmx_template_name = "netbox_vlan_manager/htmx/renew_form.html"
    form = forms.RenewForm
    title = gettext_lazy("Renew allocation")

    def get_initial(self, allocation):
        expires_at = allocation.expires_at and allocation.expires_at.replace(microsecond=0)
        return {"expires_at": expires_at, **super().get_initial(allocation)}

    def change(self, allocation, form):
        values = {name: form.cleaned_data[name] for name in ("expires_at", "changelog_message")}
        check_renewal(self.request.user, allocation, values["expires_at"])
        allocation = renew(allocation, user=self.request.user, **values)
        text = _("{allocation} is held {expiry}.") if allocation.expires_at else _("{allocation} no longer expires.")
        messages.success(self.request, text.format(allocation=allocation, expiry=allocation.describe_expiry()))


class NewHolderView(AllocatorView):
    """Makes a new allocation of an older one, and leads to it."""

    service = None
    text = ""

    def change(self, allocation, form):
        values = {
            name: form.cleaned_data[name] for name in ("cluster_name", "changelog_message") if name in form.fields
        }
        user = self.request.user
        self.result = type(self).service(allocation, user=user, viewer=user, **values)
        messages.success(self.request, self.text.format(allocation=self.result.allocation))

    def get_return_url(self, request, obj=None):
        result = getattr(self, "result", None)
        if result and Allocation.objects.restrict(request.user, "view").filter(pk=result.allocation.pk).exists():
            return result.allocation.get_absolute_url()
        return super().get_return_url(request, obj)


@register_model_view(Allocation, "hand_over", path="hand-over")
class AllocationHandOverView(NewHolderView):
    """Gives the segment of an active allocation to another cluster."""

    htmx_template_name = "netbox_vlan_manager/htmx/hand_over_form.html"
    form = forms.HandOverForm
    title = gettext_lazy("Hand over to another cluster")
    service = hand_over
    text = gettext_lazy("Handed over: {allocation}.")

    def get_object(self, **kwargs):
        allocation = super().get_object(**kwargs)
        check_release(self.request.user, allocation)
        return allocation


@register_model_view(Allocation, "undo_release", path="undo-release")
class AllocationUndoReleaseView(NewHolderView):
    """Gives a cluster the segment back that it released."""

    htmx_template_name = "netbox_vlan_manager/htmx/undo_release_form.html"
    title = gettext_lazy("Undo release")
    service = undo_release
    text = gettext_lazy("Held again: {allocation}.")


@register_model_view(Allocation, "bulk_release", path="release", detail=False)
class AllocationBulkReleaseView(ResendMixin, CheckedSelectionMixin, ReturnURLMixin, BaseMultiObjectView):
    """
    Releases the selected allocations, after a confirmation.

    Each release is its own transaction: one for all would hold the locks of many clusters at once.
    """

    queryset = Allocation.objects.select_related(
        "pool", "segment__vlan", "segment__prefix", "segment__ipv6_prefix", "allocated_by", "released_by"
    )
    filterset = filtersets.AllocationFilterSet
    table = tables.AllocationTable
    template_name = "netbox_vlan_manager/bulk_release.html"

    def get_required_permission(self):
        return "netbox_vlan_manager.view_allocation"

    def has_permission(self):
        return may_release_any(self.request.user) and super().has_permission()

    def get(self, request):
        return redirect(self.get_return_url(request))

    def post(self, request):
        if refusal := self.refuse_selection(request):
            return refusal
        active = self.queryset.active().filter(releasable(request.user))
        selected = self.get_selected(request, active)
        if not selected:
            messages.warning(request, _("None of the selected allocations is active and may be released by you."))
            return redirect(self.get_return_url(request))
        return_url = self.get_return_url(request)
        form = forms.BulkReleaseForm(
            request.POST if "_confirm" in request.POST else None, initial={"return_url": return_url}
        )
        if form.is_valid():
            self.release(selected, form.cleaned_data["changelog_message"])
            return redirect(return_url)
        others = Allocation.objects.active().exclude(pk__in=[allocation.pk for allocation in selected])
        kept = others.filter(segment__in=[allocation.segment_id for allocation in selected])
        hidden = set(self.table.base_columns).difference(self.table.Meta.default_columns)
        table = self.table(selected, orderable=False, exclude=(*hidden, "released_at"))
        context = {
            "form": form,
            "table": table,
            "return_url": return_url,
            "kept": kept.order_by().values("segment").distinct().count(),
            "warnings": self.get_warnings(selected, kept),
            "keeps_back": any(allocation.pool.release_in_use != ReleaseInUseChoices.ALLOW for allocation in selected),
        }
        return render(request, self.template_name, context)

    def get_selected(self, request, allocations):
        return get_selected(request, allocations, self.filterset)

    def get_warnings(self, allocations, kept):
        """Return texts that say what still uses the segments, except for segments that other clusters keep."""
        kept = set(kept.values_list("segment", flat=True))
        leaving = [allocation for allocation in allocations if allocation.segment_id not in kept]
        return list(release_warnings(leaving, self.request.user).values())

    def release(self, allocations, changelog_message):
        """Release each allocation. Tell the user how many were released, and which were refused and why."""
        released = 0
        for allocation in allocations:
            try:
                released += release_allocation(
                    allocation, user=self.request.user, changelog_message=changelog_message
                ).released
            except SERVICE_ERRORS as error:
                messages.error(
                    self.request,
                    _("{allocation} was not released: {reason}").format(
                        allocation=allocation, reason=" ".join(get_error_texts(error, self.request.user))
                    ),
                )
        if released:
            messages.success(
                self.request,
                ngettext("Released {count} allocation.", "Released {count} allocations.", released).format(
                    count=released
                ),
            )
