from drf_spectacular.utils import extend_schema

from ...jobs import MigrationJob
from ...services.onboarding.first_generation.actions import ACTIONS, check_any_permission
from ..permissions import MayWrite
from ..schema import DRY_RUN, FORBIDDEN, INVALID
from ..serializers.first_generation import MigrateSerializer, StartedJobSerializer
from .base import PlainView, read_body
from .results import describe_job

__all__ = ("MigrationView",)


class MigrationView(PlainView):
    """
    Start a job that migrates the data of the first generation, undoes that, or finishes the trial.
    """

    permission_classes = (MayWrite,)
    query_names = ("dry_run",)

    @extend_schema(
        request=MigrateSerializer,
        parameters=[DRY_RUN],
        responses={202: StartedJobSerializer, **INVALID, **FORBIDDEN},
    )
    def post(self, request):
        # Before the body is read: a user without any permission learns nothing from its errors.
        check_any_permission(request.user)
        asked = read_body(request, MigrateSerializer)
        action, dry_run = asked["action"], asked.get("dry_run", False)
        ACTIONS[action].check_permission(request.user)
        job = MigrationJob.start(user=request.user, dry_run=dry_run, action=action)
        return describe_job(job, dry_run, request)
