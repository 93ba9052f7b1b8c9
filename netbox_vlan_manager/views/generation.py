from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from netbox.views.generic.base import BaseObjectView
from utilities.data import array_to_string
from utilities.views import register_model_view

from ..forms.errors import add_service_error
from ..forms.generation import GenerateSegmentsForm
from ..jobs import GenerateSegmentsJob
from ..models import SegmentPool
from ..services.segments.generation import GenerationRequest, generate_segments
from ..validators import VID_MIN, make_epg_name
from .pool_operations import PoolOperationView
from .progress import answer_htmx, get_job, get_progress

__all__ = (
    "SegmentPoolGenerateJobView",
    "SegmentPoolGenerateView",
)

PERMISSION = "netbox_vlan_manager.add_segment"

# The most segments that a request makes. A job makes more.
PAGE_SEGMENTS = 1000


@register_model_view(SegmentPool, "generate")
class SegmentPoolGenerateView(PoolOperationView):
    """Makes segments of free VLAN IDs and networks in three steps: form, preview, result."""

    queryset = SegmentPool.objects.select_related("vrf", "vlan_group")
    permission = "view"
    additional_permissions = (PERMISSION,)
    form_class = GenerateSegmentsForm
    template_name = "netbox_vlan_manager/generate.html"
    title = _("Generate segments of {pool}")
    verb = _("Generate")

    def get(self, request, **kwargs):
        if not (pk := request.GET.get("job")):
            return super().get(request, **kwargs)
        # The user comes back from a job's page: show the job's input and its errors.
        pool = self.get_object(**kwargs)
        data = get_job(GenerateSegmentsJob, request.user, pk, pool=pool.pk).data
        form = self.get_form(pool, data["asked"])
        if form.is_valid() and "errors" in data:
            add_service_error(form, ValidationError(data["errors"]))
        return self.render(pool, form)

    def post(self, request, **kwargs):
        pool = self.get_object(**kwargs)
        form = self.get_form(pool, request.POST)
        if not form.is_valid() or form.get_most() <= PAGE_SEGMENTS:
            return super().post(request, **kwargs)
        try:
            GenerationRequest.clean(pool, **form.get_asked())
        except ValidationError as error:
            add_service_error(form, error)
            return self.render(pool, form)
        dry_run = "_confirm" not in request.POST
        job = GenerateSegmentsJob.start(pool, form.get_asked(), user=request.user, dry_run=dry_run)
        return redirect("plugins:netbox_vlan_manager:segmentpool_generate_job", pk=pool.pk, job_pk=job.pk)

    def move(self, pool, **asked):
        try:
            return generate_segments(pool, **asked)
        except PermissionDenied as error:
            # The permission is missing for these segments, not for the page.
            raise ValidationError(str(error)) from error

    def finish(self, pool, result):
        count = len(result.segments)
        text = ngettext("Generated {count} segment.", "Generated {count} segments.", count)
        messages.success(self.request, text.format(count=count))
        return get_segments_url(self.request.user, pool)

    def render(self, pool, form, result=None, conflicts=()):
        form.show_free_space()
        return super().render(pool, form, result and summarize(result.as_json(GenerateSegmentsJob.listed)), conflicts)

    def get_extra_context(self, pool):
        first = min((vids.lower for vids in pool.vlan_group.vid_ranges), default=VID_MIN)
        # The values of the template's placeholders, for the example below the field.
        site = pool.scope.name if pool.scope else ""
        names = {"site": site, "vrf": pool.vrf.name, "pool": pool.name, "vid": str(first)}
        return {"names": {placeholder: make_epg_name(name) for placeholder, name in names.items()}}


@register_model_view(SegmentPool, "generate_job", path="generate/jobs/<int:job_pk>")
class SegmentPoolGenerateJobView(BaseObjectView):
    """Shows the progress of a job; at the end, the segments that it made, or would make."""

    queryset = SegmentPool.objects.select_related("vrf", "vlan_group")
    additional_permissions = (PERMISSION,)
    template_name = "netbox_vlan_manager/generate_job.html"

    def get_required_permission(self):
        return "netbox_vlan_manager.view_segmentpool"

    def get(self, request, pk, job_pk):
        pool = self.get_object(pk=pk)
        job = get_job(GenerateSegmentsJob, request.user, job_pk, pool=pool.pk)
        context = get_progress(job)
        if request.htmx:
            return answer_htmx(request, context)
        context |= {
            "object": pool,
            "dry_run": job.data["dry_run"],
            "result": summarize(job.data["result"]) if "result" in job.data else None,
            # Hidden fields with the job's input, for the next step.
            "asked_form": GenerateSegmentsForm(pool=pool, user=request.user, initial=job.data["asked"]),
            "form_url": reverse("plugins:netbox_vlan_manager:segmentpool_generate", kwargs={"pk": pool.pk}),
            "segments_url": get_segments_url(request.user, pool),
        }
        return render(request, self.template_name, context)


def summarize(result):
    """Return what a page shows of a GenerateResult as JSON."""
    return {
        **result,
        "more": result["count"] - len(result["segments"]),
        "is_dual": any(row["ipv6_prefix"] for row in result["segments"]),
        "skipped_count": len(result["skipped"]),
        "skipped": array_to_string(result["skipped"]),
    }


def get_segments_url(user, pool):
    """Return the URL of a pool's segments, or of the pool if the user may not view segments."""
    name = "segmentpool_segments" if user.has_perm("netbox_vlan_manager.view_segment") else "segmentpool"
    return reverse(f"plugins:netbox_vlan_manager:{name}", kwargs={"pk": pool.pk})
