from django.contrib import messages
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from netbox.views.generic.base import BaseMultiObjectView, BaseObjectView
from utilities.forms import DeleteForm
from utilities.htmx import htmx_partial
from utilities.querydict import normalize_querydict
from utilities.views import GetReturnURLMixin, register_model_view

from .. import filtersets, forms, tables
from ..choices import SegmentStatusChoices
from ..forms.errors import SERVICE_ERRORS, get_error_texts
from ..models import Segment
from ..services import disable_segment, enable_segment
from .mixins import HoldersMixin, KeepTypedMixin, get_selected

__all__ = (
    "SegmentBulkDisableView",
    "SegmentBulkEnableView",
    "SegmentDisableView",
    "SegmentEnableView",
)

# How many of the segments that were refused a page names.
REFUSED_LISTED = 10


class ChangePermissionMixin:
    def get_required_permission(self):
        return "netbox_vlan_manager.change_segment"


class AvailabilityView(KeepTypedMixin, ChangePermissionMixin, GetReturnURLMixin, BaseObjectView):
    """Changes one segment, after a question."""

    queryset = Segment.objects.select_related("vlan", "prefix", "pool")
    form = None
    template_name = ""
    htmx_template_name = ""

    def change(self, segment, **values):
        """Do what was confirmed and return what to say about it."""
        raise NotImplementedError

    def get(self, request, **kwargs):
        segment = self.get_object(**kwargs)
        initial = {"reason": segment.disabled_reason, **normalize_querydict(request.GET)}
        return self.render(segment, self.form(instance=segment, initial=initial))

    def post(self, request, **kwargs):
        segment = self.get_object(**kwargs)
        form = self.form(request.POST, instance=segment)
        if not form.is_valid():
            return self.render(segment, form)
        values = {name: form.cleaned_data[name] for name in ("reason", "changelog_message") if name in form.fields}
        try:
            messages.success(request, self.change(segment, user=request.user, **values))
        except SERVICE_ERRORS as error:
            messages.error(request, " ".join(get_error_texts(error)))
        return redirect(self.get_return_url(request, segment))

    def render(self, segment, form):
        context = {"object": segment, "form": form, "form_url": self.request.path}
        if htmx_partial(self.request):
            return render(self.request, self.htmx_template_name, context)
        return render(
            self.request, self.template_name, {**context, "return_url": self.get_return_url(self.request, segment)}
        )


@register_model_view(Segment, "disable")
class SegmentDisableView(AvailabilityView):
    form = forms.DisableForm
    template_name = "netbox_vlan_manager/disable.html"
    htmx_template_name = "netbox_vlan_manager/htmx/disable_form.html"

    def change(self, segment, **values):
        if disable_segment(segment, **values).changed:
            return _("Disabled segment {segment}.").format(segment=segment)
        return _("Segment {segment} had been disabled before.").format(segment=segment)


@register_model_view(Segment, "enable")
class SegmentEnableView(AvailabilityView):
    form = DeleteForm
    template_name = "netbox_vlan_manager/enable.html"
    htmx_template_name = "netbox_vlan_manager/htmx/enable_form.html"

    def change(self, segment, **values):
        if enable_segment(segment, **values).changed:
            return _("Enabled segment {segment}.").format(segment=segment)
        return _("Segment {segment} was not disabled.").format(segment=segment)


class BulkAvailabilityView(ChangePermissionMixin, GetReturnURLMixin, HoldersMixin, BaseMultiObjectView):
    """
    Changes the segments that were ticked, after a question.

    Each is a transaction of its own: together they would keep the locks of many segments from those who allocate.
    """

    queryset = Segment.objects.select_related("vlan", "prefix", "pool__vrf").prefetch_related("pool__scope")
    filterset = filtersets.SegmentFilterSet
    table = tables.SegmentTable
    template_name = ""
    form = None
    # The statuses of segments for which there is something to do.
    statuses = ()

    def change(self, segment, **values):
        """Change one segment and return whether it was not as wanted before."""
        raise NotImplementedError

    def describe(self, count):
        """Say that so many were changed."""
        raise NotImplementedError

    def get_nothing_to_do(self):
        """Say that none of the selected segments can be changed."""
        raise NotImplementedError

    def get(self, request):
        return redirect(self.get_return_url(request))

    def post(self, request):
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
        """Change each and tell the user how many were, and which were not and why."""
        changed, refused = 0, []
        for segment in segments:
            try:
                changed += self.change(segment, user=self.request.user, **values)
            except SERVICE_ERRORS as error:
                refused.append(
                    _("{segment} was left as it is: {reason}").format(
                        segment=segment, reason=" ".join(get_error_texts(error))
                    )
                )
        for text in refused[:REFUSED_LISTED]:
            messages.error(self.request, text)
        more = len(refused) - REFUSED_LISTED
        if more > 0:
            messages.error(
                self.request,
                ngettext(
                    "{count} more segment was left as it is.", "{count} more segments were left as they are.", more
                ).format(count=more),
            )
        if changed:
            messages.success(self.request, self.describe(changed))


@register_model_view(Segment, "bulk_disable", path="disable", detail=False)
class SegmentBulkDisableView(BulkAvailabilityView):
    template_name = "netbox_vlan_manager/bulk_disable.html"
    form = forms.BulkDisableForm
    # A disabled one may get another reason.
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
