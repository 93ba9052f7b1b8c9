from django.db.models import Q
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.generics import get_object_or_404
from rest_framework.response import Response

from netbox.api.authentication import TokenPermissions

from ...models import SegmentPool
from ...services.base.resolution import check_pool_permission
from ...services.pools.merging import merge_pool
from ...services.pools.resizing import resize_pool
from ...services.pools.retiring import retire_pool
from ..permissions import ChangePermissions
from ..references import find_pool
from ..schema import BUSY, DRY_RUN, FORBIDDEN, INVALID, NOT_FOUND
from ..serializers import pool_operations as serializers
from .base import read_body

__all__ = ("PoolOperationsMixin",)

CONFLICT = {409: OpenApiResponse(serializers.PoolConflictSerializer, "`pool_conflict`: `conflicts` lists what is")}
REFUSALS = {**INVALID, **FORBIDDEN, **NOT_FOUND, **CONFLICT, **BUSY}


class DeletePermissions(TokenPermissions):
    """Requires the permission to delete the object for a POST to it."""

    perms_map = {**TokenPermissions.perms_map, "POST": ["%(app_label)s.delete_%(model_name)s"]}


class PoolOperationsMixin:
    """Adds to the viewset of pools: merging, retiring and resizing a whole pool."""

    @extend_schema(
        request=serializers.MergePoolSerializer,
        parameters=[DRY_RUN],
        responses={200: serializers.MergeResultSerializer, **REFUSALS},
    )
    @action(
        detail=True,
        methods=["post"],
        permission_classes=(ChangePermissions,),
        filter_backends=(),
        query_names=("dry_run",),
    )
    def merge(self, request, pk):
        """
        Move all segments and allocations of the pool into another pool of the same VRF, and delete the pool.
        """
        pool = self._get_pool(pk, "change")
        check_pool_permission(request.user, pool, "delete")
        asked = read_body(request, serializers.MergePoolSerializer)
        into = _find_into(asked.pop("into"), request.user)
        result = merge_pool(pool, into, user=request.user, **asked)
        return self._answer(serializers.MergeResultSerializer, result, asked)

    @extend_schema(
        request=serializers.RetirePoolSerializer,
        parameters=[DRY_RUN],
        responses={200: serializers.RetireResultSerializer, **REFUSALS},
    )
    @action(
        detail=True,
        methods=["post"],
        permission_classes=(DeletePermissions,),
        filter_backends=(),
        query_names=("dry_run",),
    )
    def retire(self, request, pk):
        """
        Allow no new allocations in the pool, and delete it with its segments once the last allocation is released.
        """
        pool = self._get_pool(pk, "delete")
        asked = read_body(request, serializers.RetirePoolSerializer)
        return self._answer(serializers.RetireResultSerializer, retire_pool(pool, user=request.user, **asked), asked)

    @extend_schema(
        request=serializers.ResizePoolSerializer,
        parameters=[DRY_RUN],
        responses={200: serializers.ResizeResultSerializer, **REFUSALS},
    )
    @action(
        detail=True,
        methods=["post"],
        permission_classes=(ChangePermissions,),
        filter_backends=(),
        query_names=("dry_run",),
    )
    def resize(self, request, pk):
        """
        Change the VLAN IDs of the pool's VLAN group, or the containers of the pool. All segments must lie inside.
        """
        pool = self._get_pool(pk, "change")
        asked = read_body(request, serializers.ResizePoolSerializer)
        result = resize_pool(pool, user=request.user, enforce=True, **asked)
        return self._answer(serializers.ResizeResultSerializer, result, asked)

    def _get_pool(self, pk, permission):
        """Return the pool if the user has this permission on it. NetBox would restrict a POST by the one to add."""
        return get_object_or_404(SegmentPool.objects.restrict(self.request.user, permission), pk=pk)

    def _answer(self, serializer_class, result, asked):
        result = {**vars(result), "dry_run": asked["dry_run"]}
        return Response(serializer_class(result, context=self.get_serializer_context()).data)


def _find_into(value, user):
    """
    Return the pool with this id, slug or name, which the user may change.

    Raises:
        ValidationError: There is none, or the user may neither view nor change it.
        PermissionDenied: The user may view it, but not change it.
    """
    known = SegmentPool.objects.filter(
        Q(pk__in=SegmentPool.objects.restrict(user, "view").order_by().values("pk"))
        | Q(pk__in=SegmentPool.objects.restrict(user, "change").order_by().values("pk"))
    )
    try:
        found = find_pool(known, value)
    except ValidationError as error:
        raise ValidationError({"into": error.detail}) from None
    check_pool_permission(user, found, "change")
    return found
