from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from netbox.views.generic.base import BaseObjectView
from utilities.querydict import normalize_querydict
from utilities.views import register_model_view

from ..exceptions import PoolConflict
from ..forms.errors import add_service_error
from ..forms.pool_operations import MergePoolForm, ResizePoolForm, RetirePoolForm
from ..models import SegmentPool
from ..services.base.refusals import SERVICE_ERRORS
from ..services.base.resolution import check_pool_permission
from ..services.pools.merging import merge_pool
from ..services.pools.resizing import resize_pool
from ..services.pools.retiring import retire_pool
from .mixins import KeepTypedMixin, ReturnURLMixin

__all__ = (
    "SegmentPoolMergeView",
    "SegmentPoolResizeView",
    "SegmentPoolRetireView",
)

# The most conflicts that a page lists.
LISTED = 50


class PoolOperationView(KeepTypedMixin, ReturnURLMixin, BaseObjectView):
    """
    Runs an operation on a whole pool in three steps: form, preview, result.

    Attributes:
        permission: The action on the pool that the user needs the permission for.
        title: The page's title, with {pool}.
        verb: The label of the last button.
    """

    queryset = SegmentPool.objects.select_related("vrf", "vlan_group")
    permission = "change"
    form_class = None
    template_name = ""
    title = ""
    verb = ""

    def get_required_permission(self):
        return f"netbox_vlan_manager.{self.permission}_segmentpool"

    def move(self, pool, **asked):
        """Call the service and return its result."""
        raise NotImplementedError

    def finish(self, pool, result):
        """Tell the user what was done and return the URL to redirect to."""
        raise NotImplementedError

    def get(self, request, **kwargs):
        pool = self.get_object(**kwargs)
        return self.render(pool, self.get_form(pool, initial=normalize_querydict(request.GET)))

    def post(self, request, **kwargs):
        pool = self.get_object(**kwargs)
        form = self.get_form(pool, request.POST)
        if not form.is_valid():
            return self.render(pool, form)
        if "_confirm" not in request.POST:
            return self.preview(pool, form, form.get_asked())
        try:
            result = self.move(pool, user=request.user, **form.get_asked())
        except PoolConflict as error:
            return self.render(pool, form, conflicts=error.conflicts)
        except SERVICE_ERRORS as error:
            add_service_error(form, error)
            return self.render(pool, form)
        return redirect(self.finish(pool, result))

    def preview(self, pool, form, asked):
        try:
            result = self.move(pool, user=self.request.user, dry_run=True, **asked)
        except PoolConflict as error:
            return self.render(pool, form, conflicts=error.conflicts)
        except SERVICE_ERRORS as error:
            add_service_error(form, error)
            return self.render(pool, form)
        return self.render(pool, form, result, getattr(result, "conflicts", ()))

    def get_form(self, pool, data=None, **kwargs):
        return self.form_class(data, pool=pool, user=self.request.user, **kwargs)

    def get_url_of(self, pool):
        """Return the URL of a pool, or of the list of pools if the user may not view it."""
        if SegmentPool.objects.restrict(self.request.user, "view").filter(pk=pool.pk).exists():
            return pool.get_absolute_url()
        return reverse("plugins:netbox_vlan_manager:segmentpool_list")

    def render(self, pool, form, result=None, conflicts=()):
        context = {
            "object": pool,
            # Not named "form": NetBox would repeat the form's errors in a toast.
            "move_form": form,
            "result": result,
            "conflicts": conflicts[:LISTED],
            "more_conflicts": max(len(conflicts) - LISTED, 0),
            "title": self.title.format(pool=pool),
            "verb": self.verb,
            "return_url": self.get_return_url(self.request, pool),
            **self.get_extra_context(pool),
        }
        return render(self.request, self.template_name, context)

    def get_extra_context(self, pool):
        """Return more values that the template needs."""
        return {}


@register_model_view(SegmentPool, "merge")
class SegmentPoolMergeView(PoolOperationView):
    form_class = MergePoolForm
    template_name = "netbox_vlan_manager/pool_merge.html"
    title = gettext_lazy("Merge {pool}")
    verb = gettext_lazy("Merge")

    def get_object(self, **kwargs):
        pool = super().get_object(**kwargs)
        check_pool_permission(self.request.user, pool, "delete")
        return pool

    def move(self, pool, **asked):
        return merge_pool(pool, **asked)

    def finish(self, pool, result):
        text = ngettext(
            "Merged pool {pool}, {count} segment, into {into}.",
            "Merged pool {pool}, {count} segments, into {into}.",
            result.segments,
        )
        messages.success(self.request, text.format(pool=pool, count=result.segments, into=result.into))
        return self.get_url_of(result.into)


@register_model_view(SegmentPool, "retire")
class SegmentPoolRetireView(PoolOperationView):
    permission = "delete"
    form_class = RetirePoolForm
    template_name = "netbox_vlan_manager/pool_retire.html"
    title = gettext_lazy("Retire {pool}")
    verb = gettext_lazy("Retire")

    def get(self, request, **kwargs):
        # The form has no choices, so the page begins with the preview.
        pool = self.get_object(**kwargs)
        return self.preview(pool, self.get_form(pool, initial=normalize_querydict(request.GET)), {})

    def move(self, pool, **asked):
        return retire_pool(pool, **asked)

    def finish(self, pool, result):
        if result.deleted:
            messages.success(self.request, _("Deleted pool {pool}.").format(pool=pool))
            return reverse("plugins:netbox_vlan_manager:segmentpool_list")
        text = ngettext(
            "Pool {pool} is retiring: it is deleted when its {count} active allocation is released.",
            "Pool {pool} is retiring: it is deleted when its {count} active allocations are released.",
            result.active_allocations,
        )
        messages.success(self.request, text.format(pool=pool, count=result.active_allocations))
        return self.get_url_of(pool)


@register_model_view(SegmentPool, "resize")
class SegmentPoolResizeView(PoolOperationView):
    form_class = ResizePoolForm
    template_name = "netbox_vlan_manager/pool_resize.html"
    title = gettext_lazy("Resize {pool}")
    verb = gettext_lazy("Resize")

    def move(self, pool, **asked):
        try:
            return resize_pool(pool, enforce=True, **asked)
        except PermissionDenied as error:
            # The permission is missing for these values, not for the page.
            raise ValidationError(str(error)) from error

    def finish(self, pool, result):
        messages.success(
            self.request,
            _("Pool {pool} now has the VLAN IDs {vids} and the containers {prefixes}.").format(
                pool=pool, vids=result.after.vid_ranges, prefixes=", ".join(map(str, result.after.prefixes))
            ),
        )
        return self.get_url_of(pool)
