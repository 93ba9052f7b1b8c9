from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.generics import get_object_or_404
from rest_framework.response import Response

from ...models import SegmentPool
from ...services.onboarding.adoption import adopt
from ...services.onboarding.candidates import find_candidates
from ..permissions import MayWrite
from ..schema import BUSY, DRY_RUN, FORBIDDEN, NOT_FOUND
from ..serializers.adoption import AdoptResultSerializer, AdoptSerializer, CandidateSerializer
from .base import ListPagination, read_body

__all__ = ("AdoptionMixin",)


class AdoptPermissions(MayWrite):
    """Requires the permission to add segments. The service checks it for each segment."""

    def has_permission(self, request, view):
        return super().has_permission(request, view) and request.user.has_perm("netbox_vlan_manager.add_segment")


class AdoptionMixin:
    """Adds to the viewset of pools: adopting existing VLANs and prefixes as segments."""

    @extend_schema(responses={200: CandidateSerializer(many=True), **NOT_FOUND})
    @action(detail=True, filter_backends=(), pagination_class=ListPagination, query_names=("limit", "offset"))
    def adoptable(self, request, pk):
        """
        List the prefixes in the pool's containers that have a VLAN and no segment, and what prevents the adoption of
        each. A VLAN with an IPv4 and an IPv6 prefix is one candidate.
        """
        pool = self.get_viewable(pk)
        page = self.paginate_queryset(find_candidates(pool, request.user))
        return self.get_paginated_response(CandidateSerializer(page, many=True).data)

    @extend_schema(
        request=AdoptSerializer,
        parameters=[DRY_RUN],
        responses={
            200: AdoptResultSerializer,
            400: AdoptResultSerializer,
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
    def adopt(self, request, pk):
        """
        Create segments from the named candidates, or from all that are ready. A candidate that is or may be in use
        becomes a disabled segment, unless the caller says that it is available, or which cluster holds it. The VLANs
        and prefixes stay when the segment is deleted. 400 if all candidates failed, else 200.
        """
        pool = self.get_viewable(pk)
        result = adopt(pool, user=request.user, **read_body(request, AdoptSerializer))
        answer = AdoptResultSerializer(result).data
        return Response(answer, status=400 if result.failed and result.failed == len(result.results) else 200)

    def get_viewable(self, pk):
        """Return the pool if the user may view it. NetBox would restrict a POST to pools that the user may add."""
        pools = SegmentPool.objects.restrict(self.request.user, "view").select_related("vrf", "vlan_group")
        return get_object_or_404(pools, pk=pk)
