from django.core.exceptions import ValidationError
from django.db.models import Exists, OuterRef, Prefetch

from utilities.exceptions import AbortRequest

from ..models import Allocation, SegmentPool

__all__ = (
    "ServiceImportMixin",
    "annotate_may_release",
    "prefetch_holders",
)


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


def prefetch_holders(queryset, user):
    """Let `active_allocations` of segments hold those that `user` may view, for one query."""
    allocations = Allocation.objects.restrict(user, "view").active()
    return queryset.prefetch_related(Prefetch("allocations", queryset=allocations))
