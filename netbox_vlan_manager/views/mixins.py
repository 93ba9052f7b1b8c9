from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db.models import Exists, OuterRef, Prefetch
from django.http import HttpResponse
from django.shortcuts import redirect

from utilities.exceptions import AbortRequest
from utilities.jobs import is_background_request

from ..models import Allocation, SegmentPool

__all__ = (
    "HoldersMixin",
    "RefusableBulkDeleteMixin",
    "RefusableDeleteMixin",
    "ServiceImportMixin",
    "annotate_may_release",
)


class HoldersMixin:
    """Lets `active_allocations` of segments in a table hold those that the user may view, for one query."""

    def get_queryset(self, request):
        allocations = Allocation.objects.restrict(request.user, "view").active()
        return super().get_queryset(request).prefetch_related(Prefetch("allocations", queryset=allocations))


class RefusableDeleteMixin:
    """
    Extends NetBox's ObjectDeleteView: says why an object cannot be deleted, and what to do.

    NetBox lists every object in the way instead, those that the user may not view included.
    """

    def get_refusal(self, queryset):
        """Return why the objects of `queryset` cannot be deleted, or None."""
        raise NotImplementedError

    def get(self, request, *args, **kwargs):
        return self._refuse(request, **kwargs) or super().get(request, *args, **kwargs)

    def post(self, request, *args, **kwargs):
        return self._refuse(request, **kwargs) or super().post(request, *args, **kwargs)

    def _refuse(self, request, pk):
        instance = self.get_object(pk=pk)
        if not (refusal := self.get_refusal(self.queryset.filter(pk=pk))):
            return None
        messages.error(request, refusal)
        if request.htmx:
            return HttpResponse(headers={"HX-Redirect": instance.get_absolute_url()})
        return redirect(instance.get_absolute_url())


class RefusableBulkDeleteMixin:
    """The same for NetBox's BulkDeleteView, before it asks."""

    def post(self, request, **kwargs):
        if not is_background_request(request):
            if request.POST.get("_all"):
                selected = self.filterset(request.GET, self.queryset, request=request).qs
            else:
                selected = self.queryset.filter(pk__in=[pk for pk in request.POST.getlist("pk") if pk.isdecimal()])
            if refusal := self.get_refusal(selected):
                messages.error(request, refusal)
                return redirect(self.get_return_url(request))
        return super().post(request, **kwargs)


class ServiceImportMixin:
    """Extends NetBox's BulkImportView: what a service refuses is reported with its record's number and column."""

    def _save_object(self, model_form, request, parent_idx):
        try:
            return super()._save_object(model_form, request, parent_idx)
        except AbortRequest:
            if model_form.errors:
                raise ValidationError(self._compile_form_errors(model_form.errors, index=parent_idx)) from None
            raise


def annotate_may_release(queryset, user):
    """Annotate segments or allocations with `may_release`: whether `user` may release what their pool has allocated."""
    pools = SegmentPool.objects.restrict(user, "release").filter(pk=OuterRef("pool"))
    return queryset.annotate(may_release=Exists(pools))
