from functools import partial

from django.db.models import Prefetch, Q
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.decorators import action
from rest_framework.generics import get_object_or_404
from rest_framework.response import Response

from ... import filtersets
from ...models import Allocation, Segment
from ...services import delete_segment, disable_segment, enable_segment, end_quarantine, set_clusters, share
from ...services.base import transactions
from ...services.base.resolution import check_pool_permission
from ...services.base.visibility import pools_permitting, releasable
from .. import serializers
from ..names import ANSWER_SHAPE, NoBodySerializer
from ..permissions import ChangePermissions, MayWrite
from ..schema import BUSY, CONFLICT, DRY_RUN, FORBIDDEN, INVALID, NOT_FOUND, SHARE_CONFLICT
from .base import ServiceViewSet, read_body
from .results import describe_results

__all__ = ("SegmentViewSet",)


@extend_schema_view(
    update=extend_schema(responses={200: serializers.SegmentSerializer, **CONFLICT}),
    partial_update=extend_schema(responses={200: serializers.SegmentSerializer, **CONFLICT}),
    destroy=extend_schema(responses={204: None, **CONFLICT}),
)
class SegmentViewSet(ServiceViewSet):
    queryset = Segment.objects.select_related("vlan", "prefix", "ipv6_prefix", "pool")
    serializer_class = serializers.SegmentSerializer
    filterset_class = filtersets.SegmentFilterSet
    ordering_fields = {
        "epg_name": "vlan__name",
        "prefix": "prefix__prefix",
        "ipv6_prefix": "ipv6_prefix__prefix",
        **{
            name: name
            for name in (
                "id",
                "pool",
                "vid",
                "vlan",
                "status",
                "quarantined_until",
                "last_released_at",
                "gateway",
                "ipv6_gateway",
                "dhcp",
                "description",
                "owner",
                "created",
                "last_updated",
            )
        },
    }

    @property
    def field_prefetches(self):
        allocations = Allocation.objects.restrict(self.request.user, "view").active().order_by("pk")
        return {("allocations",): [Prefetch("allocations", queryset=allocations)]}

    @extend_schema(
        request=serializers.DisableSerializer,
        responses={200: serializers.SegmentSerializer, **FORBIDDEN, **NOT_FOUND, **CONFLICT, **BUSY},
    )
    @action(
        detail=True,
        methods=["post"],
        permission_classes=(ChangePermissions,),
        filter_backends=(),
        query_names=ANSWER_SHAPE,
    )
    def disable(self, request, pk):
        """
        Take a segment out of use: it is not allocated until it is enabled. Refused while a cluster holds it.
        """
        segment = self.get_changeable(pk)
        disable_segment(segment, user=request.user, **read_body(request, serializers.DisableSerializer))
        return self.answer(segment)

    @extend_schema(
        request=None,
        responses={200: serializers.SegmentSerializer, **FORBIDDEN, **NOT_FOUND, **BUSY},
    )
    @action(
        detail=True,
        methods=["post"],
        permission_classes=(ChangePermissions,),
        filter_backends=(),
        query_names=ANSWER_SHAPE,
    )
    def enable(self, request, pk):
        """
        Make a disabled segment available again.
        """
        segment = self.get_changeable(pk)
        read_body(request, NoBodySerializer)
        enable_segment(segment, user=request.user)
        return self.answer(segment)

    @extend_schema(
        request=serializers.EndQuarantineSerializer,
        responses={200: serializers.SegmentSerializer, **FORBIDDEN, **NOT_FOUND, **BUSY},
    )
    @action(
        detail=True,
        methods=["post"],
        url_path="end-quarantine",
        permission_classes=(ChangePermissions,),
        filter_backends=(),
        query_names=ANSWER_SHAPE,
    )
    def end_quarantine(self, request, pk):
        """
        Make a quarantined segment available now, before its cool-down is over. Any other segment is not changed.
        """
        segment = self.get_changeable(pk)
        reason = read_body(request, serializers.EndQuarantineSerializer).get("reason", "")
        end_quarantine(segment, user=request.user, changelog_message=reason)
        return self.answer(segment)

    @extend_schema(
        request=serializers.ShareSerializer,
        parameters=[DRY_RUN],
        responses={
            200: serializers.AllocationResultSerializer,
            201: serializers.AllocationResultSerializer,
            **INVALID,
            **FORBIDDEN,
            **NOT_FOUND,
            **SHARE_CONFLICT,
            **BUSY,
        },
    )
    @action(
        detail=True,
        methods=["post"],
        permission_classes=(MayWrite,),
        filter_backends=(),
        query_names=(*ANSWER_SHAPE, "dry_run"),
    )
    def share(self, request, pk):
        """
        Let one more cluster hold the segment, in addition to its holders; an available segment is allocated.
        """
        segment = self.get_usable(pk, "allocate")
        asked = read_body(request, serializers.ShareSerializer)
        result = share(segment, user=request.user, **asked)
        is_new = result.created and not asked.get("dry_run")
        (answer,) = self.describe([result])
        return Response(answer, status=201 if is_new else 200)

    @extend_schema(
        request=serializers.SetClustersSerializer,
        parameters=[DRY_RUN],
        responses={
            200: serializers.AllocationResultSerializer(many=True),
            **INVALID,
            **FORBIDDEN,
            **NOT_FOUND,
            **SHARE_CONFLICT,
            **BUSY,
        },
    )
    @action(
        detail=True,
        methods=["put"],
        permission_classes=(MayWrite,),
        filter_backends=(),
        pagination_class=None,
        query_names=(*ANSWER_SHAPE, "dry_run"),
    )
    def clusters(self, request, pk):
        """
        Make exactly these clusters hold the segment; all others are released. All changes are made or none.
        """
        segment = self.get_usable(pk, "allocate", "release")
        asked = read_body(request, serializers.SetClustersSerializer)
        results = set_clusters(segment, user=request.user, releasable=releasable(request.user), **asked)
        return Response(self.describe(results))

    def describe(self, results):
        context = self.get_serializer_context()
        serializer = partial(serializers.AllocationSerializer, context=context, **self.field_kwargs)
        return describe_results(results, serializer, self.request.user)

    def get_usable(self, pk, *actions):
        """
        Return the segment if the user has the permissions `actions` on its pool.

        Raises:
            Http404: The user may neither view the segment nor has any of the permissions.
            PermissionDenied: The user lacks one of the permissions.
        """
        user = self.request.user
        known = Q(pk__in=Segment.objects.restrict(user, "view").order_by().values("pk"))
        for action_name in actions:
            known |= Q(pool__in=pools_permitting(user, action_name).order_by().values("pk"))
        segment = get_object_or_404(Segment.objects.select_related("pool").filter(known), pk=pk)
        for action_name in actions:
            check_pool_permission(user, segment.pool, action_name)
        return segment

    def get_changeable(self, pk):
        """Return the segment if the user may change it. NetBox would restrict a POST to those they may add."""
        self.queryset = Segment.objects.restrict(self.request.user, "change")
        return self.get_object()

    def answer(self, segment):
        """Return the response with the segment as it is now; the user may have lost the permission to change it."""
        self.queryset = Segment.objects.select_related("vlan", "prefix", "ipv6_prefix", "pool")
        return Response(self.get_serializer(self.get_queryset().get(pk=segment.pk)).data)

    def destroy_object(self, instance):
        delete_segment(instance, user=self.request.user, changelog_message=instance._changelog_message or "")

    def lock_for_create(self, values):
        self._lock_spaces([value["pool"] for value in values])

    def lock_for_write(self, instances):
        self._lock_spaces([instance.pool for instance in instances])

    def _lock_spaces(self, pools):
        transactions.lock_spaces([pool.vrf_id for pool in pools], [pool.vlan_group_id for pool in pools])
