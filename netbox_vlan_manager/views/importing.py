from collections import Counter

from django.contrib.auth.mixins import LoginRequiredMixin
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from django.views.generic import View

from netbox.choices import ImportMethodChoices
from utilities.paginator import EnhancedPaginator, get_paginate_count
from utilities.views import ContentTypePermissionRequiredMixin, register_model_view

from .. import forms
from ..forms.errors import add_service_error
from ..jobs import SegmentImportJob
from ..models import Segment
from ..services.base.places import clean_id
from ..services.base.refusals import SERVICE_ERRORS
from ..services.base.resolution import visible_pools
from ..services.base.sheets import LEFT_OUT
from ..services.base.visibility import may_import, permitted_ids
from ..services.onboarding.import_files import parse_file, write_failed
from ..services.onboarding.importing import import_segments
from ..services.segments.segment_columns import COLUMNS, POOL_COLUMNS, REQUIRED_COLUMNS
from .mixins import KeepTypedMixin, ResendMixin, ReturnURLMixin
from .progress import answer_htmx, get_job, get_progress

__all__ = (
    "SegmentImportJobView",
    "SegmentImportView",
)

# The most rows and characters that a request imports, and that the page carries between the steps. A job takes more.
PAGE_ROWS = 500
PAGE_LENGTH = 500_000


COLUMN_TEXTS = {
    "site": _("Id, slug or name of a site, location, site group or region; needed where there is no pool"),
    "vlan_id": _("1 to 4094, in the ranges of the pool's VLAN group"),
    "epg_name": _("The VLAN's name: letters (A-Z, a-z), digits and _ . : -"),
    "segment": _("A network inside the pool's containers, such as 192.168.1.0/24"),
    "vrf": _("Id, name or RD of a VRF; needed where there is no pool"),
    "ipv6_prefix": _("An additional IPv6 network, such as 2001:db8:1::/64"),
    "gateway": _("An address of the network; what it is, or by the pool's rule, when empty"),
    "ipv6_gateway": _("The same for the IPv6 network"),
    "dhcp": _("Whether DHCP serves the segment: true or false, yes or no, in any of NetBox's languages"),
    "description": _("Up to 200 characters"),
    "cluster_name": _(
        "The cluster that holds the segment, or several with commas between them; no cluster is released"
    ),
    "purpose": _("Tells several segments of one cluster in a pool apart; usually empty"),
    "allocated_at": _("When the clusters got the segment, such as 2026-01-31T12:00:00Z; now when empty"),
    "expires_at": _("When the allocation ends by itself; never when empty"),
    "status": _(
        "available, allocated, quarantined or disabled; when empty, an existing segment keeps its "
        "status, and a new one is available"
    ),
    "disabled_reason": _("Why a disabled segment is out of use"),
    "quarantined_until": _("When the cool-down of a quarantined segment ends"),
    "comments": _("Text of any length, in Markdown"),
    "pool": _("Slug, id or name of the pool; where it is given, site and VRF may be left out"),
}
EXAMPLE = """site,vlan_id,epg_name,segment,vrf,dhcp,description
Site1,100,EPG_PROD_01,192.168.1.0/24,Network1,true,Production cluster
Site1,101,EPG_PROD_02,192.168.2.0/24,Network1,false,
"""
EXAMPLE_OF_POOL = """vlan_id,epg_name,segment,dhcp,description
100,EPG_PROD_01,192.168.1.0/24,true,Production cluster
101,EPG_PROD_02,192.168.2.0/24,false,
"""

# {status of a row: (word in a preview, word after the import, color)}, in the order of the page: failures first.
STATUSES = {
    "failed": (_("Fails"), _("Failed"), "red"),
    "updated": (_("Update"), _("Updated"), "blue"),
    "created": (_("Create"), _("Created"), "green"),
    "skipped": (_("Skip"), _("Skipped"), "yellow"),
    "unchanged": (_("Unchanged"), _("Unchanged"), "gray"),
}


@register_model_view(Segment, "bulk_import", path="import", detail=False)
class SegmentImportView(KeepTypedMixin, ReturnURLMixin, ContentTypePermissionRequiredMixin, View):
    """
    Imports segments from CSV, XLSX, JSON or YAML in three steps: form, preview of each row, result of each row.

    The page carries the text between the steps. If it is long, jobs do both later steps (see `SegmentImportJobView`).
    """

    queryset = Segment.objects.all()
    form_template_name = "netbox_vlan_manager/import.html"
    template_name = "netbox_vlan_manager/import_result.html"

    def has_permission(self):
        return may_import(self.request.user)

    def get(self, request):
        initial = {name: request.GET[name] for name in ("data", "atomic", "pool") if request.GET.get(name)}
        if pk := request.GET.get("job"):
            # The user comes back from a job's page: show the job's input.
            data = get_job(SegmentImportJob, request.user, pk).data
            pool = visible_pools(request.user).filter(slug=data.get("pool")).first()
            initial = {"data": data["text"], "atomic": data["atomic"], "pool": pool and pool.pk}
        return self.render_form(forms.ImportSourceForm(user=request.user, initial=initial))

    def post(self, request):
        method = request.POST.get("import_method")
        form = forms.ImportSourceForm(
            request.POST,
            request.FILES,
            user=request.user,
            method=method if method in ImportMethodChoices.values() else ImportMethodChoices.DIRECT,
        )
        if "_back" in request.POST or not form.is_valid():
            return self.render_form(form)
        text, rows, atomic, pool = (form.cleaned_data[name] for name in ("data", "rows", "atomic", "pool"))
        dry_run = "_import" not in request.POST
        if len(rows) > PAGE_ROWS or len(text) > PAGE_LENGTH:
            slug = pool and pool.slug
            job = SegmentImportJob.start(text, user=request.user, atomic=atomic, dry_run=dry_run, pool=slug)
            return redirect("plugins:netbox_vlan_manager:segment_import_job", pk=job.pk)
        try:
            # A dry run shows what each row would do, even if another row fails.
            result = import_segments(rows, user=request.user, atomic=atomic and not dry_run, dry_run=dry_run)
        except SERVICE_ERRORS as error:
            add_service_error(form, error)
            return self.render_form(form)
        if "_failed" in request.POST:
            return _download_failed(rows, [row.errors for row in result.results])
        results = _shown(rows, [row.as_json() for row in result.results])
        initial = {"data": text, "atomic": atomic, "pool": pool and pool.pk}
        source = forms.ImportSourceForm(user=request.user, initial=initial)
        return render(
            request,
            self.template_name,
            {
                **_summarize(results, atomic, dry_run),
                "rows": _complete(results, request.user, dry_run),
                "source": source,
                "may_import": True,
                "return_url": self.get_return_url(request),
            },
        )

    def _get_typed(self):
        typed = super()._get_typed()
        file = self.request.FILES.get("upload_file")
        if file and typed.get("import_method") == [ImportMethodChoices.DIRECT]:
            # The page sends long text as a file (see `ImportSourceForm`).
            typed["data"] = [file.read().decode(errors="replace")]
        return typed

    def render_form(self, form):
        user = self.request.user
        pool = visible_pools(user).filter(pk=clean_id(str(form["pool"].value() or ""))).first()
        required = REQUIRED_COLUMNS if pool else (*POOL_COLUMNS, *REQUIRED_COLUMNS)
        return render(
            self.request,
            self.form_template_name,
            {
                # Not named "form": NetBox would repeat the form's errors in a toast.
                "source_form": form,
                "forms": {
                    method: form
                    if method == form.method
                    else forms.ImportSourceForm(user=user, method=method, initial={"pool": pool and pool.pk})
                    for method in ImportMethodChoices.values()
                },
                "pool": pool,
                # The page carries the text to the next step.
                "headings": form.headings if len(form.text) <= PAGE_LENGTH else [],
                "left_out": LEFT_OUT,
                "columns": [(name, name in required, text) for name, text in COLUMN_TEXTS.items()],
                "example": EXAMPLE_OF_POOL if pool else EXAMPLE,
                "template": ",".join(name for name in COLUMNS if not (pool and name in ("pool", *POOL_COLUMNS)))
                + "\r\n",
                "has_pools": visible_pools(user).exists(),
                "return_url": self.get_return_url(self.request),
            },
        )


@register_model_view(Segment, "import_job", path="import/jobs/<int:pk>", detail=False)
class SegmentImportJobView(ResendMixin, LoginRequiredMixin, View):
    """
    Shows the progress of a job; at the end, the result of each row, or its preview.

    A POST starts a job with the same text: the import after a preview, or the same job again.
    """

    template_name = "netbox_vlan_manager/import_result.html"
    progress_template_name = "netbox_vlan_manager/import_progress.html"

    def get(self, request, pk):
        job = get_job(SegmentImportJob, request.user, pk)
        context = get_progress(job, phase=job.data.get("phase", ""))
        if request.htmx:
            return answer_htmx(request, context)
        if "failed" in request.GET and "results" in job.data:
            return _download_failed(_rows_of(job), [row.get("errors") for row in job.data["results"]])
        context["may_import"] = may_import(request.user)
        if "results" not in job.data:
            return render(request, self.progress_template_name, context)
        return render(request, self.template_name, {**context, **self.get_results(job)})

    def get_results(self, job):
        """Return what the page shows of a job's results."""
        results = _shown(_rows_of(job), job.data["results"])
        summary = _summarize(results, job.data["atomic"], job.data["dry_run"])
        status = self.request.GET.get("status")
        if status in STATUSES:
            results = [row for row in results if row["status"] == status]
        paginator = EnhancedPaginator(results, get_paginate_count(self.request))
        page = paginator.get_page(self.request.GET.get("page"))
        return {
            **summary,
            "status": status,
            "paginator": paginator,
            "page": page,
            "rows": _complete(page.object_list, self.request.user, summary["dry_run"]),
        }

    def post(self, request, pk):
        job = get_job(SegmentImportJob, request.user, pk)
        if not may_import(request.user):
            raise PermissionDenied
        job = SegmentImportJob.start(
            job.data["text"],
            user=request.user,
            atomic=job.data["atomic"],
            dry_run="_import" not in request.POST,
            pool=job.data.get("pool"),
        )
        return redirect("plugins:netbox_vlan_manager:segment_import_job", pk=job.pk)


def _rows_of(job):
    """Return the rows that a job imports."""
    # A job that an older version of the plugin queued has no pool.
    return parse_file(job.data["text"], pool=job.data.get("pool"))


def _download_failed(rows, errors):
    """Return a response with the failed rows and their errors as a CSV file."""
    response = HttpResponse(write_failed(rows, errors), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = 'attachment; filename="failed.csv"'
    return response


def _shown(rows, results):
    """Return the rows (see `parse_file`) with their results for the table: by status, failures and warnings first."""
    places = list(STATUSES)
    shown = [{"cells": cells, **result} for (_line, cells), result in zip(rows, results, strict=True)]
    return sorted(shown, key=lambda row: (places.index(row["status"]), not row.get("warnings")))


def _summarize(results, atomic, dry_run):
    """Return the values of the summary above the table."""
    counts = Counter(row["status"] for row in results)
    return {
        "counts": [
            {"status": status, "word": before if dry_run else after, "color": color, "count": counts[status]}
            for status, (before, after, color) in STATUSES.items()
            if counts[status]
        ],
        "total": len(results),
        "failed": counts["failed"],
        "changing": counts["created"] + counts["updated"],
        "atomic": atomic,
        "dry_run": dry_run,
    }


def _complete(rows, user, dry_run):
    """Add colors, words and URLs to the rows of one page; URLs only of segments that `user` may view."""
    pks = [row["segment"] for row in rows if "segment" in row]
    visible = permitted_ids(Segment, user, "view", pks)
    for row in rows:
        before, after, row["color"] = STATUSES[row["status"]]
        row["word"] = before if dry_run else after
        # The job's JSON does not keep the order of the columns. Names that are no column come last.
        for name in ("errors", "changes"):
            row[name] = dict(sorted(row.get(name, {}).items(), key=lambda item: (*COLUMNS, item[0]).index(item[0])))
        if row.get("segment") in visible:
            row["url"] = reverse("plugins:netbox_vlan_manager:segment", kwargs={"pk": row["segment"]})
    return rows
