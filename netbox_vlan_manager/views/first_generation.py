from django.contrib.auth.mixins import LoginRequiredMixin
from django.shortcuts import redirect, render
from django.views.generic import View

from core.models import Job
from utilities.paginator import EnhancedPaginator, get_paginate_count

from ..jobs import MigrationJob
from ..services.onboarding.first_generation.actions import ACTIONS, check_any_permission, permitted_actions
from ..services.onboarding.first_generation.reading import has_data
from ..services.onboarding.first_generation.undoing import has_pools
from .progress import answer_htmx, get_job, get_progress

__all__ = (
    "MigrationJobView",
    "MigrationView",
)


class MigrationView(LoginRequiredMixin, View):
    """Explains the migration from the first generation, and starts its job: migrate, undo or finish, or a dry run."""

    template_name = "netbox_vlan_manager/migration.html"

    def get(self, request):
        check_any_permission(request.user)
        jobs = Job.objects.filter(name=MigrationJob.name, user=request.user).order_by("-created")
        actions = permitted_actions(request.user)
        found = has_data(request.user)
        context = {
            "has_data": found,
            "may_migrate": found and "migrate" in actions,
            "may_go_back": not {"undo", "finish"}.isdisjoint(actions),
            "has_pools": has_pools(request.user),
            "actions": actions,
            "last_job": jobs.first(),
        }
        return render(request, self.template_name, context)

    def post(self, request):
        check_any_permission(request.user)
        name = request.POST.get("action", "migrate")
        action = ACTIONS.get(name)
        if action is None:
            return redirect("plugins:netbox_vlan_manager:migration")
        action.check_permission(request.user)
        job = MigrationJob.start(user=request.user, dry_run="_migrate" not in request.POST, action=name)
        return redirect("plugins:netbox_vlan_manager:migration_job", pk=job.pk)


class MigrationJobView(LoginRequiredMixin, View):
    """Shows the progress of a job, and at the end its report."""

    template_name = "netbox_vlan_manager/migration_job.html"

    def get(self, request, pk):
        job = get_job(MigrationJob, request.user, pk)
        data = job.data or {}
        report = data.get("report")
        progress = get_progress(job, phase=data.get("done"))
        if request.htmx:
            return answer_htmx(request, progress)
        # Jobs of older versions have no action.
        action = data.get("action", "migrate")
        context = {
            **progress,
            "report": report,
            "action": action,
            "is_permitted": action in permitted_actions(request.user),
            "running": progress["running"] and not report,
        }
        if report:
            problems = [
                {"pool": pool["name"], **row}
                for pool in report["pools"]
                for row in pool["problems"]
                # A row that has not failed is migrated in spite of its problem, unless the whole pool fails.
                if row["failed"] or not pool["error"]
            ]
            problems.sort(key=lambda row: not row["failed"])
            paginator = EnhancedPaginator(problems, get_paginate_count(request))
            context |= {"paginator": paginator, "page": paginator.get_page(request.GET.get("page"))}
        return render(request, self.template_name, context)
