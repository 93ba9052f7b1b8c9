from collections import Counter

from django.contrib import messages
from django.contrib.auth.mixins import LoginRequiredMixin
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.generic import View

from utilities.paginator import EnhancedPaginator, get_paginate_count
from utilities.views import ContentTypePermissionRequiredMixin

from ..forms import DriftFilterForm, DriftRepairForm
from ..jobs import REPAIRED_AT_ONCE, DriftRepairJob
from ..services.drift.findings import KINDS
from ..services.drift.repair import (
    FAILED,
    REPAIRED,
    SKIPPED,
    STATUSES,
    WOULD_REPAIR,
    repair_drift,
)
from ..services.drift.reports import changeable_pools, filter_drift, report_drift
from .mixins import KeepTypedMixin, ReturnURLMixin
from .progress import answer_htmx, get_job, get_progress

__all__ = (
    "DriftRepairJobView",
    "DriftRepairView",
    "DriftView",
)

# The most failed repairs that a page names, and the most planned repairs that it lists.
FAILED_LISTED = 10
REPAIRS_LISTED = 250

# {status of a repair: (word, color)}
RESULTS = {
    REPAIRED: (gettext_lazy("Repaired"), "green"),
    WOULD_REPAIR: (gettext_lazy("Would be repaired"), "blue"),
    SKIPPED: (gettext_lazy("Skipped"), "gray"),
    FAILED: (gettext_lazy("Failed"), "red"),
}


class DriftView(ContentTypePermissionRequiredMixin, View):
    """Lists the drift in the pools that the user may view, and what a repair would do."""

    template_name = "netbox_vlan_manager/drift.html"

    def get_required_permission(self):
        return "netbox_vlan_manager.view_segmentpool"

    def get(self, request):
        report = report_drift(request.user)
        filter_form = DriftFilterForm(request.GET, findings=report.findings)
        findings = filter_drift(report.findings, **filter_form.get_values())
        paginator = EnhancedPaginator(findings, get_paginate_count(request))
        page = paginator.get_page(request.GET.get("page"))
        permitted = changeable_pools(findings, request.user)
        context = {
            "filter_form": filter_form,
            "total": len(report.findings),
            "hidden": report.hidden,
            "findings": page.object_list,
            "permitted": permitted,
            "repairable": sum(_may_repair(drift, permitted) for drift in findings),
            "may_repair_here": any(_may_repair(drift, permitted) for drift in page.object_list),
            "paginator": paginator,
            "page": page,
        }
        return render(request, self.template_name, context)


class DriftRepairView(KeepTypedMixin, ReturnURLMixin, ContentTypePermissionRequiredMixin, View):
    """Repairs the selected findings, or all that match the report's filters, after a confirmation."""

    template_name = "netbox_vlan_manager/drift_repair.html"

    def get_required_permission(self):
        return "netbox_vlan_manager.change_segmentpool"

    def get_return_url(self, request, obj=None):
        url = super().get_return_url(request, obj)
        return reverse("plugins:netbox_vlan_manager:drift") if url == reverse("home") else url

    def get(self, request):
        return redirect(self.get_return_url(request))

    def post(self, request):
        return_url = self.get_return_url(request)
        findings = self.get_selected()
        if not findings:
            messages.warning(request, _("Nothing in the selection can be repaired."))
            return redirect(return_url)
        form = DriftRepairForm(request.POST if "_confirm" in request.POST else None, initial={"return_url": return_url})
        # Even all findings are sent by name: "all" would include findings that the user has not seen.
        items = [drift.item for drift in findings]
        if form.is_valid():
            return self.repair(items, form.cleaned_data["changelog_message"], return_url)
        context = {
            "form": form,
            "findings": findings[:REPAIRS_LISTED],
            "count": len(findings),
            "more": max(len(findings) - REPAIRS_LISTED, 0),
            "is_all": "_all" in request.POST,
            "items": items,
            "return_url": return_url,
        }
        return render(request, self.template_name, context)

    def get_selected(self):
        """Return the selected findings that have a repair and that the user may repair."""
        findings = report_drift(self.request.user).findings
        if "_all" in self.request.POST:
            findings = filter_drift(findings, **DriftFilterForm(self.request.GET, findings=findings).get_values())
        else:
            # The button of a row repairs this row only, even if others are selected.
            items = set(self.request.POST.getlist("_one") or self.request.POST.getlist("pk"))
            findings = [drift for drift in findings if drift.item in items]
        permitted = changeable_pools(findings, self.request.user)
        return [drift for drift in findings if _may_repair(drift, permitted)]

    def repair(self, items, changelog_message, return_url):
        """Repair the findings, many of them by a job, and return a redirect."""
        if len(items) <= REPAIRED_AT_ONCE:
            self.tell(repair_drift(items, user=self.request.user, changelog_message=changelog_message))
            return redirect(return_url)
        job = DriftRepairJob.start(items, user=self.request.user, changelog_message=changelog_message)
        return redirect("plugins:netbox_vlan_manager:drift_repair_job", pk=job.pk)

    def tell(self, results):
        """Tell the user how many findings were repaired, and which repairs failed and why."""
        counts = Counter(result.status for result in results)
        failed = [result for result in results if result.status == FAILED]
        for result in failed[:FAILED_LISTED]:
            messages.error(self.request, result.message)
        if (more := len(failed) - FAILED_LISTED) > 0:
            text = ngettext("{count} more repair failed.", "{count} more repairs failed.", more)
            messages.error(self.request, text.format(count=more))
        if done := counts[REPAIRED]:
            text = ngettext("Repaired {count} finding.", "Repaired {count} findings.", done)
            messages.success(self.request, text.format(count=done))
        if left := len(results) - done - len(failed):
            text = ngettext(
                "{count} finding had already been repaired.", "{count} findings had already been repaired.", left
            )
            messages.info(self.request, text.format(count=left))


class DriftRepairJobView(LoginRequiredMixin, View):
    """Shows the progress of a job; at the end, how many findings were repaired, and which were not and why."""

    template_name = "netbox_vlan_manager/drift_repair_job.html"

    def get(self, request, pk):
        job = get_job(DriftRepairJob, request.user, pk)
        data = job.data or {}
        progress = get_progress(job, phase=data.get("done", ""))
        if request.htmx:
            return answer_htmx(request, progress)
        results = data.get("results")
        context = {**progress, "is_done": results is not None}
        if results is not None:
            counts = Counter(result["status"] for result in results)
            left = [result for result in results if result["status"] in (FAILED, SKIPPED)]
            left.sort(key=lambda result: result["status"])
            paginator = EnhancedPaginator(
                [{**result, **_as_shown(result)} for result in left], get_paginate_count(request)
            )
            context |= {
                "counts": [(*RESULTS[status], counts[status]) for status in STATUSES if counts[status]],
                "paginator": paginator,
                "page": paginator.get_page(request.GET.get("page")),
            }
        return render(request, self.template_name, context)


def _as_shown(result):
    """Return the word and color of a result, and the kind of its finding, for the page."""
    word, color = RESULTS[result["status"]]
    kind = KINDS.get(result["item"].split(":")[0])
    return {"word": word, "color": color, "kind": kind.label if kind else result["item"]}


def _may_repair(drift, permitted):
    return bool(drift.repair) and drift.pool.pk in permitted
