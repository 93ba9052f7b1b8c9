from django.contrib import messages
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from netbox.views.generic.base import BaseMultiObjectView
from utilities.views import register_model_view

from .. import filtersets, forms, tables
from ..choices import SegmentStatusChoices
from ..forms.errors import add_service_error
from ..models import Segment
from ..services import disable_segment, enable_segment, end_quarantine, share
from ..services.base.refusals import SERVICE_ERRORS, get_error_texts
from ..services.base.resolution import check_pool_permission
from .filtering import CheckedSelectionMixin
from .mixins import ConfirmView, HoldersMixin, ResendMixin, ReturnURLMixin, ViewableMixin, get_selected

__all__ = (
    "SegmentBulkDisableView",
    "SegmentBulkEnableView",
    "SegmentDisableView",
    "SegmentEnableView",
    "SegmentEndQuarantineView",
    "SegmentShareView",
)

# The most refused segments that a page names.
REFUSED_LISTED = 10


class ChangePermissionMixin:
    def get_required_permission(self):
        return "netbox_vlan_manager.change_segment"


class AvailabilityView(ChangePermissionMixin, ConfirmView):
    """Changes one segment, after a confirmation."""

    queryset = Segment.objects.select_related("vlan", "prefix", "pool")

    def apply(self, segment, **values):
        """Apply the confirmed change and return the message for the user."""
        raise NotImplementedError

    def get_initial(self, segment):
        return {"reason": segment.disabled_reason, **super().get_initial(segment)}

    def change(self, segment, form):
        values = {name: form.cleaned_data[name] for name in form.fields if name not in ("confirm", "return_url")}
        messages.success(self.request, self.apply(segment, user=self.request.user, **values))


@register_model_view(Segment, "disable")
class SegmentDisableView(AvailabilityView):
    form = forms.DisableForm
    template_name = "netbox_vlan_manager/disable.html"
    htmx_template_name = "netbox_vlan_manager/htmx/disable_form.html"

    def apply(self, segment, **values):
        if disable_segment(segment, **values).changed:
            return _("Disabled segment {segment}.").format(segment=segment)
        return _("Segment {segment} had been disabled before.").format(segment=segment)


@register_model_view(Segment, "enable")
class SegmentEnableView(AvailabilityView):
    template_name = "netbox_vlan_manager/enable.html"
    htmx_template_name = "netbox_vlan_manager/htmx/enable_form.html"

    def apply(self, segment, **values):
        if enable_segment(segment, **values).changed:
            return _("Enabled segment {segment}.").format(segment=segment)
        return _("Segment {segment} was not disabled.").format(segment=segment)


@register_model_view(Segment, "end_quarantine", path="end-quarantine")
class SegmentEndQuarantineView(AvailabilityView):
    htmx_template_name = "netbox_vlan_manager/htmx/end_quarantine_form.html"
    title = gettext_lazy("End quarantine?")

    def apply(self, segment, **values):
        if segment.status != SegmentStatusChoices.QUARANTINED:
            return _("Segment {segment} was not quarantined.").format(segment=segment)
        end_quarantine(segment, **values)
        return _("Ended the quarantine of segment {segment}.").format(segment=segment)


@register_model_view(Segment, "share")
class SegmentShareView(AvailabilityView):
    """Lets one more cluster hold a segment. The user needs the permission `allocate` on the pool."""

    form = forms.ShareForm
    htmx_template_name = "netbox_vlan_manager/htmx/share_form.html"
    additional_permissions = ("netbox_vlan_manager.allocate_segmentpool",)
    title = gettext_lazy("Share segment")

    def get_required_permission(self):
        return "netbox_vlan_manager.view_segment"

    def get_object(self, **kwargs):
        segment = super().get_object(**kwargs)
        check_pool_permission(self.request.user, segment.pool, "allocate")
        return segment

    def apply(self, segment, **values):
        allocation, created = share(segment, **values)
        if created:
            text = _("Cluster {cluster} now holds segment {segment}.")
        else:
            text = _("Cluster {cluster} already holds segment {segment}.")
        return text.format(cluster=allocation.cluster_name, segment=segment)

    def refuse(self, segment, form, error):
        add_service_error(form, error)
        return self.render(segment, form)


class BulkAvailabilityView(
    ResendMixin,
    CheckedSelectionMixin,
    ChangePermissionMixin,
    ReturnURLMixin,
    ViewableMixin,
    HoldersMixin,
    BaseMultiObjectView,
):
    """
    Changes the selected segments, after a confirmation.

    Each change is its own transaction: one for all would hold the locks of many segments, and block allocations.
    """

    queryset = Segment.objects.select_related("vlan", "prefix", "pool__vrf").prefetch_related("pool__scope")
    filterset = filtersets.SegmentFilterSet
    table = tables.SegmentTable
    template_name = ""
    form = None
    # The statuses of segments that can be changed.
    statuses = ()

    def change(self, segment, **values):
        """Change one segment and return whether that changed anything."""
        raise NotImplementedError

    def describe(self, count):
        """Return the message that `count` segments were changed."""
        raise NotImplementedError

    def get_nothing_to_do(self):
        """Return the message that none of the selected segments can be changed."""
        raise NotImplementedError

    def get(self, request):
        return redirect(self.get_return_url(request))

    def post(self, request):
        if refusal := self.refuse_selection(request):
            return refusal
        return_url = self.get_return_url(request)
        selected = get_selected(request, self.queryset, self.filterset)
        segments = list(selected.filter(status__in=self.statuses))
        if not segments:
            messages.warning(request, self.get_nothing_to_do())
            return redirect(return_url)
        form = self.form(request.POST if "_confirm" in request.POST else None, initial={"return_url": return_url})
        if form.is_valid():
            self.change_all(segments, **{name: form.cleaned_data[name] for name in form.fields if name != "return_url"})
            return redirect(return_url)
        hidden = set(self.table.base_columns).difference(self.table.Meta.default_columns)
        context = {
            "form": form,
            "table": self.table(segments, orderable=False, exclude=hidden),
            "left_out": selected.count() - len(segments),
            "return_url": return_url,
        }
        return render(request, self.template_name, context)

    def change_all(self, segments, **values):
        """Change each segment. Tell the user how many were changed, and which were refused and why."""
        changed, refused = 0, []
        for segment in segments:
            try:
                changed += self.change(segment, user=self.request.user, **values)
            except SERVICE_ERRORS as error:
                refused.append(
                    _("{segment} was not changed: {reason}").format(
                        segment=segment, reason=" ".join(get_error_texts(error, self.request.user))
                    )
                )
        for text in refused[:REFUSED_LISTED]:
            messages.error(self.request, text)
        more = len(refused) - REFUSED_LISTED
        if more > 0:
            messages.error(
                self.request,
                ngettext(
                    "{count} more segment was not changed.", "{count} more segments were not changed.", more
                ).format(count=more),
            )
        if changed:
            messages.success(self.request, self.describe(changed))


@register_model_view(Segment, "bulk_disable", path="disable", detail=False)
class SegmentBulkDisableView(BulkAvailabilityView):
    template_name = "netbox_vlan_manager/bulk_disable.html"
    form = forms.BulkDisableForm
    # A disabled segment may get another reason.
    statuses = (SegmentStatusChoices.AVAILABLE, SegmentStatusChoices.QUARANTINED, SegmentStatusChoices.DISABLED)

    def change(self, segment, **values):
        return disable_segment(segment, **values).changed

    def describe(self, count):
        return ngettext("Disabled {count} segment.", "Disabled {count} segments.", count).format(count=count)

    def get_nothing_to_do(self):
        return _("None of the selected segments can be disabled: release those that are allocated first.")


@register_model_view(Segment, "bulk_enable", path="enable", detail=False)
class SegmentBulkEnableView(BulkAvailabilityView):
    template_name = "netbox_vlan_manager/bulk_enable.html"
    form = forms.BulkEnableForm
    statuses = (SegmentStatusChoices.DISABLED,)

    def change(self, segment, **values):
        return enable_segment(segment, **values).changed

    def describe(self, count):
        return ngettext("Enabled {count} segment.", "Enabled {count} segments.", count).format(count=count)

    def get_nothing_to_do(self):
        return _("None of the selected segments is disabled.")
