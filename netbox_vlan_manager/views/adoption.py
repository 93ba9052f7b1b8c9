from django.contrib import messages
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from netbox.views.generic.base import BaseObjectView
from utilities.paginator import EnhancedPaginator, get_paginate_count
from utilities.views import register_model_view

from ..forms.errors import SERVICE_ERRORS, get_error_texts
from ..models import SegmentPool
from ..services.adoption import adopt, find_candidates

__all__ = ("SegmentPoolAdoptView",)

# What became of a prefix, those that need a look first: the word for it before and after, and its colour.
STATUSES = {
    "failed": (gettext_lazy("Fails"), gettext_lazy("Failed"), "red"),
    "adopted": (gettext_lazy("Adopt"), gettext_lazy("Adopted"), "green"),
    "unchanged": (gettext_lazy("Unchanged"), gettext_lazy("Unchanged"), "gray"),
}

# How many rows of a result one page shows.
ROWS_SHOWN = 500


@register_model_view(SegmentPool, "adopt")
class SegmentPoolAdoptView(BaseObjectView):
    """Shows which VLANs and prefixes could be segments of a pool, and makes segments of those chosen, or of all."""

    queryset = SegmentPool.objects.select_related("vrf", "vlan_group")
    template_name = "netbox_vlan_manager/adopt.html"
    result_template_name = "netbox_vlan_manager/adopt_result.html"
    additional_permissions = ("netbox_vlan_manager.add_segment",)

    def get_required_permission(self):
        return "netbox_vlan_manager.view_segmentpool"

    def get(self, request, **kwargs):
        pool = self.get_object(**kwargs)
        candidates = find_candidates(pool, request.user)
        ready = sum(candidate.ready for candidate in candidates)
        show = request.GET.get("show")
        shown = {
            "ready": [candidate for candidate in candidates if candidate.ready],
            "conflicts": [candidate for candidate in candidates if not candidate.ready],
        }.get(show, candidates)
        paginator = EnhancedPaginator(shown, get_paginate_count(request))
        context = {
            "object": pool,
            "containers": pool.prefixes.restrict(request.user, "view"),
            "show": show if show in ("ready", "conflicts") else "",
            "total": len(candidates),
            "ready": ready,
            "conflicts": len(candidates) - ready,
            "paginator": paginator,
            "page": paginator.get_page(request.GET.get("page")),
        }
        return render(request, self.template_name, context)

    def post(self, request, **kwargs):
        pool = self.get_object(**kwargs)
        dry_run = "_preview" in request.POST or "_preview_all" in request.POST
        everything = any(name in request.POST for name in ("_all", "_preview_all", "_adopt_all"))
        chosen = [int(pk) for pk in request.POST.getlist("pk") if pk.isdecimal() and len(pk) < 19]
        if not (everything or chosen):
            messages.warning(request, _("Select at least one candidate."))
            return redirect(request.path)
        try:
            result = adopt(pool, user=request.user, prefixes=None if everything else chosen, dry_run=dry_run)
        except SERVICE_ERRORS as error:
            messages.error(request, " ".join(get_error_texts(error)))
            return redirect(request.path)
        if not dry_run and result.adopted:
            messages.success(
                request,
                ngettext("Adopted {count} segment.", "Adopted {count} segments.", result.adopted).format(
                    count=result.adopted
                ),
            )
        if not dry_run and not result.failed:
            return redirect("plugins:netbox_vlan_manager:segmentpool_segments", pk=pool.pk)
        rows = sorted(result.results, key=lambda row: list(STATUSES).index(row.status))
        context = {
            "object": pool,
            "dry_run": dry_run,
            "everything": everything,
            "chosen": chosen,
            "adopted": result.adopted,
            "failed": result.failed,
            "more": max(len(rows) - ROWS_SHOWN, 0),
            "rows": [
                {"row": row, "word": STATUSES[row.status][0 if dry_run else 1], "color": STATUSES[row.status][2]}
                for row in rows[:ROWS_SHOWN]
            ],
        }
        return render(request, self.result_template_name, context)
