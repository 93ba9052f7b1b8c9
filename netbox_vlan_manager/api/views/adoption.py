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
    """Asks for the permission to add segments; which of them is checked with the segments."""

    def has_permission(self, request, view):
        return super().has_permission(request, view) and request.user.has_perm("netbox_vlan_manager.add_segment")


class AdoptionMixin:
    """Extends the viewset of pools: makes segments of the VLANs and prefixes that NetBox has."""

    @extend_schema(responses={200: CandidateSerializer(many=True), **NOT_FOUND})
    @action(detail=True, filter_backends=(), pagination_class=ListPagination, query_names=("limit", "offset"))
    def adoptable(self, request, pk):
        """
        The prefixes in the pool's containers that have their VLAN set and are in no segment, and what keeps each from
        being adopted. A VLAN with an IPv4 and an IPv6 prefix is one candidate.
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
        Make segments of those candidates, or of all that are ready. What is in use, or may be, becomes a disabled
        segment, unless the caller says that it is available, or which cluster holds it. The VLANs and prefixes stay
        when the segment is deleted. 200 when anything was adopted or had been before, 400 when all failed.
        """
        pool = self.get_viewable(pk)
        result = adopt(pool, user=request.user, **read_body(request, AdoptSerializer))
        answer = AdoptResultSerializer(result).data
        return Response(answer, status=400 if result.failed and result.failed == len(result.results) else 200)

    def get_viewable(self, pk):
        """Return a pool that the user may view. NetBox restricts a POST to what the user may add."""
        pools = SegmentPool.objects.restrict(self.request.user, "view").select_related("vrf", "vlan_group")
        return get_object_or_404(pools, pk=pk)
