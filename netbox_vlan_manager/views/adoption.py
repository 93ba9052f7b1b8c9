from django.contrib import messages
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from netbox.views.generic.base import BaseObjectView
from utilities.paginator import EnhancedPaginator, get_paginate_count
from utilities.views import register_model_view

from ..choices import SegmentStatusChoices
from ..models import SegmentPool
from ..services.base.refusals import SERVICE_ERRORS, get_error_texts
from ..services.base.visibility import permitted_ids
from ..services.onboarding.adoption import Decision, adopt
from ..services.onboarding.candidates import find_candidates
from ..services.segments.specs import NEW_STATUSES
from .mixins import ResendMixin

__all__ = ("SegmentPoolAdoptView",)

# {status of a prefix: (word in a preview, word after the adoption, color)}, in the order of the page: failures first.
STATUSES = {
    "failed": (gettext_lazy("Fails"), gettext_lazy("Failed"), "red"),
    "adopted": (gettext_lazy("Adopt"), gettext_lazy("Adopted"), "green"),
    "unchanged": (gettext_lazy("Unchanged"), gettext_lazy("Unchanged"), "gray"),
}

# How many rows of a result one page shows.
ROWS_SHOWN = 500


# The inputs of a candidate: a status, or a cluster's name. The id of its prefix is appended, such as "cluster_12".
FIELDS = ("as", "cluster")


def _read_decisions(data):
    """
    Return the user's decisions on a page: ({input name: value}, Decision for all, {prefix id: Decision}).

    Raises:
        ValidationError: A decision is not valid.
    """
    typed = {"as": data["as"]} if data.get("as") else {}
    values = {}
    for name, value in data.items():
        field, _separator, pk = name.partition("_")
        if field in FIELDS and pk.isdecimal() and len(pk) < 19 and value.strip():
            typed[name] = value
            values.setdefault(int(pk), {})[field] = value
    decisions = {pk: Decision(one.get("as", ""), one.get("cluster", "")) for pk, one in values.items()}
    return typed, Decision(typed.get("as", "")), decisions


@register_model_view(SegmentPool, "adopt")
class SegmentPoolAdoptView(ResendMixin, BaseObjectView):
    """Shows VLANs and prefixes that could be segments of a pool, and adopts the selected ones, or all."""

    queryset = SegmentPool.objects.select_related("vrf", "vlan_group")
    template_name = "netbox_vlan_manager/adopt.html"
    result_template_name = "netbox_vlan_manager/adopt_result.html"
    additional_permissions = ("netbox_vlan_manager.add_segment",)

    def get_required_permission(self):
        return "netbox_vlan_manager.view_segmentpool"

    def get(self, request, **kwargs):
        return self._list(request, self.get_object(**kwargs))

    def _list(self, request, pool, typed=None):
        """Return the page with the candidates; `typed` has the user's earlier decisions on it."""
        candidates = find_candidates(pool, request.user)
        ready = sum(candidate.ready for candidate in candidates)
        show = request.GET.get("show")
        shown = {
            "ready": [candidate for candidate in candidates if candidate.ready],
            "conflicts": [candidate for candidate in candidates if not candidate.ready],
        }.get(show, candidates)
        paginator = EnhancedPaginator(shown, get_paginate_count(request))
        page = paginator.get_page(request.GET.get("page"))
        for candidate in page:
            candidate.decided = {name: (typed or {}).get(f"{name}_{candidate.prefix.pk}", "") for name in FIELDS}
            candidate.is_chosen = typed and str(candidate.prefix.pk) in typed.getlist("pk")
        context = {
            "object": pool,
            "containers": pool.prefixes.restrict(request.user, "view"),
            "show": show if show in ("ready", "conflicts") else "",
            "total": len(candidates),
            "ready": ready,
            "conflicts": len(candidates) - ready,
            "paginator": paginator,
            "page": page,
            "statuses": [(status, dict(SegmentStatusChoices)[status]) for status in NEW_STATUSES],
            "decided": (typed or {}).get("as", ""),
            "may_allocate": bool(permitted_ids(SegmentPool, request.user, "allocate", [pool.pk])),
        }
        return render(request, self.template_name, context)

    def post(self, request, **kwargs):
        pool = self.get_object(**kwargs)
        dry_run = "_preview" in request.POST or "_preview_all" in request.POST
        everything = any(name in request.POST for name in ("_all", "_preview_all", "_adopt_all"))
        chosen = [int(pk) for pk in request.POST.getlist("pk") if pk.isdecimal() and len(pk) < 19]
        if not (everything or chosen):
            messages.warning(request, _("Select at least one candidate."))
            return self._list(request, pool, request.POST)
        try:
            typed, decision, decisions = _read_decisions(request.POST)
            result = adopt(
                pool,
                user=request.user,
                prefixes=None if everything else chosen,
                decisions={None: decision, **decisions},
                dry_run=dry_run,
            )
        except SERVICE_ERRORS as error:
            messages.error(request, " ".join(get_error_texts(error, request.user)))
            return self._list(request, pool, request.POST)
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
            "typed": typed,
            "adopted": result.adopted,
            "failed": result.failed,
            "more": max(len(rows) - ROWS_SHOWN, 0),
            "rows": [
                {"row": row, "word": STATUSES[row.status][0 if dry_run else 1], "color": STATUSES[row.status][2]}
                for row in rows[:ROWS_SHOWN]
            ],
        }
        return render(request, self.result_template_name, context)
