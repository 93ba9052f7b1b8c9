from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.generics import get_object_or_404
from rest_framework.response import Response

from ...models import SegmentPool
from ...services.segments.generation import generate_segments
from ..schema import BUSY, DRY_RUN, FORBIDDEN, INVALID, NOT_FOUND
from ..serializers.generation import GenerateResultSerializer, GenerateSerializer
from .adoption import AdoptPermissions
from .base import read_body

__all__ = ("GenerationMixin",)


class GenerationMixin:
    """Adds to the viewset of pools: creating segments from free VLAN IDs and networks."""

    @extend_schema(
        request=GenerateSerializer,
        parameters=[DRY_RUN],
        responses={
            200: GenerateResultSerializer,
            201: GenerateResultSerializer,
            **INVALID,
            **FORBIDDEN,
            **NOT_FOUND,
            **BUSY,
        },
    )
    @action(
        detail=True,
        methods=["post"],
        permission_classes=(AdoptPermissions,),
        filter_backends=(),
        query_names=("dry_run",),
    )
    def generate(self, request, pk):
        """
        Create segments from free VLAN IDs and free networks in the pool's containers: a given number, or one for each
        free VLAN ID of a range. Either all are created or none. 201 if any were created, else 200.
        """
        # NetBox would restrict a POST to the objects that the user may add.
        pool = get_object_or_404(SegmentPool.objects.restrict(request.user, "view"), pk=pk)
        asked = read_body(request, GenerateSerializer)
        dry_run = asked["dry_run"]
        result = generate_segments(pool, user=request.user, **asked)
        answer = {
            "created": len(result.segments),
            "skipped": result.skipped,
            "dry_run": dry_run,
            "segments": result.segments,
        }
        serializer = GenerateResultSerializer(answer, context=self.get_serializer_context())
        return Response(serializer.data, status=201 if result.segments and not dry_run else 200)
