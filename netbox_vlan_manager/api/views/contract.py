"""The two calls of the first generation. Pipelines make them all day long: mind the number of queries."""

from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema
from rest_framework.response import Response

from ...services import allocate, release, resolve_pool
from ..permissions import MayWrite
from ..schema import BUSY, FORBIDDEN, INVALID, NOTHING_TO_RELEASE, POOL_CONFLICT, POOL_NOT_FOUND
from ..serializers import AllocatedVLANSerializer, ReleasedVLANSerializer, VLANOfClusterSerializer
from .base import PlainView

__all__ = (
    "AllocateVLANView",
    "ReleaseVLANView",
)


class VLANView(PlainView):
    permission_classes = (MayWrite,)

    def resolve(self, request, action):
        """Return what was asked for and the ResolvedPool, in which the user may do `action`."""
        serializer = VLANOfClusterSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        asked = serializer.validated_data
        return asked, resolve_pool(asked.pop("site"), asked.pop("vrf"), user=request.user, action=action)


class AllocateVLANView(VLANView):
    """
    Allocate a segment to a cluster, or return the one that it holds.
    """

    @extend_schema(
        request=VLANOfClusterSerializer,
        responses={
            200: AllocatedVLANSerializer,
            **INVALID,
            **FORBIDDEN,
            **POOL_NOT_FOUND,
            **POOL_CONFLICT,
            **BUSY,
        },
    )
    def post(self, request):
        asked, resolved = self.resolve(request, "allocate")
        allocation, created = allocate(user=request.user, pool=resolved.pool, **asked)
        answer = {"allocation": allocation, "created": created, **resolved._asdict()}
        return Response(AllocatedVLANSerializer(answer).data)


class ReleaseVLANView(VLANView):
    """
    Release the segment that a cluster holds.
    """

    @extend_schema(
        request=VLANOfClusterSerializer,
        responses={200: ReleasedVLANSerializer, **INVALID, **FORBIDDEN, **NOTHING_TO_RELEASE, **BUSY},
    )
    def post(self, request):
        asked, resolved = self.resolve(request, "release")
        allocation, _released = release(user=request.user, pool=resolved.pool, **asked)
        message = _("Cluster {cluster} released VLAN {vid} ({epg}, {prefix}) at {site} in {vrf}.").format(
            cluster=allocation.cluster_name,
            vid=allocation.vid,
            epg=allocation.epg_name,
            prefix=allocation.prefixes,
            site=resolved.site,
            vrf=resolved.pool.vrf.name,
        )
        return Response({"message": message})
