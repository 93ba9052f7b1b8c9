"""The two calls of the first generation. Pipelines call them all day long: the number of queries matters."""

from django.core.exceptions import PermissionDenied
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema
from rest_framework.response import Response

from ...exceptions import AllocationNotFound
from ...models import Allocation
from ...services import allocate, release_allocation
from ...services.allocations.releases import release_warnings
from ...services.allocations.releasing import find_allocation
from ...services.allocations.requests import locate
from ...services.base.resolution import resolve_pool_by_name
from ...services.base.visibility import check_release
from ..permissions import MayWrite
from ..schema import BUSY, DRY_RUN, FORBIDDEN, IN_USE, INVALID, NOTHING_TO_RELEASE, POOL_CONFLICT, POOL_NOT_FOUND
from ..serializers import (
    AllocatedVLANSerializer,
    AllocationSerializer,
    ReleasedVLANSerializer,
    VLANOfClusterSerializer,
)
from .base import PlainView, read_body

__all__ = (
    "AllocateVLANView",
    "ReleaseVLANView",
)


class VLANView(PlainView):
    permission_classes = (MayWrite,)

    def resolve(self, request, action, data):
        """
        Return the cleaned body without the place, the arguments `places` and `viewer` of the services, and the
        ResolvedPool, on which the user has the permission `action`.
        """
        asked = read_body(request, VLANOfClusterSerializer, data)
        if "pool" in asked:
            resolved = resolve_pool_by_name(asked.pop("pool"), user=request.user, action=action)
        else:
            names = {name: asked[name] for name in ("cluster_name", "purpose") if name in asked}
            resolved = locate(site=asked.pop("site"), vrf=asked.pop("vrf"), viewer=request.user, action=action, **names)
        return asked, {"places": resolved.places, "viewer": request.user}, resolved


class AllocateVLANView(VLANView):
    """
    Allocate a segment to a cluster, or return the one that it holds. It takes all fields of `POST allocations/`.
    """

    query_names = ("dry_run",)

    @extend_schema(
        request=AllocationSerializer,
        parameters=[DRY_RUN],
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
        data, more = request.data, {}
        if isinstance(data, dict) and not VLANOfClusterSerializer.NAMES.issuperset(data):
            more = {name: value for name, value in data.items() if name not in VLANOfClusterSerializer.NAMES}
            data = {name: value for name, value in data.items() if name in VLANOfClusterSerializer.NAMES}
        asked, where, resolved = self.resolve(request, "allocate", data)
        where["serves"] = resolved.serves
        if more or "dry_run" in request.query_params:
            result = self.allocate_as_asked(request, {**asked, **more, "pool": resolved.pool.pk}, where)
        else:
            result = allocate(user=request.user, pool=resolved.pool, **where, **asked)
        answer = {
            **result._asdict(),
            "outcome": result.outcome,
            "site": resolved.site,
            "pool": result.allocation.pool,
        }
        return Response(AllocatedVLANSerializer(answer).data)

    def allocate_as_asked(self, request, data, where):
        """
        Return the AllocationResult of a body of `POST allocations/`; `where` has further arguments of `allocate`.

        Most calls name only cluster and place. They skip this serializer, which reads all fields of an allocation.
        """
        serializer = AllocationSerializer(data=data, context={"request": request})
        serializer.is_valid(raise_exception=True)
        serializer.save(**where)
        return serializer.result


class ReleaseVLANView(VLANView):
    """
    Release the segment that a cluster holds.
    """

    @extend_schema(
        request=VLANOfClusterSerializer,
        responses={200: ReleasedVLANSerializer, **INVALID, **FORBIDDEN, **NOTHING_TO_RELEASE, **IN_USE, **BUSY},
    )
    def post(self, request):
        asked, where, resolved = self.resolve(request, "release", request.data)
        held = find_allocation(pool=resolved.pool, **where, **asked)
        try:
            check_release(request.user, held)
        except PermissionDenied:
            if Allocation.objects.restrict(request.user, "view").filter(pk=held.pk).exists():
                raise
            # The same answer as if the cluster held nothing.
            raise AllocationNotFound(asked["cluster_name"], resolved.pool) from None
        allocation, released = release_allocation(held, user=request.user)
        message = _("Cluster {cluster} released VLAN {vid} ({epg}, {prefix}) at {site} in {vrf}.").format(
            cluster=allocation.cluster_name,
            vid=allocation.vid,
            epg=allocation.epg_name,
            prefix=allocation.prefixes,
            site=resolved.site,
            vrf=resolved.pool.vrf.name,
        )
        warnings = release_warnings([allocation] if released else [], request.user)
        return Response({"message": message, "warnings": list(warnings.values())})
