from django.db.models import Q
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.generics import get_object_or_404
from rest_framework.response import Response

from netbox.api.authentication import TokenPermissions

from ...models import SegmentPool
from ...services.merging import merge_pool
from ...services.resizing import resize_pool
from ...services.resolution import check_pool_permission
from ...services.retiring import retire_pool
from ..permissions import ChangePermissions
from ..schema import BUSY, FORBIDDEN, INVALID, NOT_FOUND
from ..serializers import pool_moves as serializers

__all__ = ("PoolMovesMixin",)

CONFLICT = {409: OpenApiResponse(serializers.PoolConflictSerializer, "`pool_conflict`: `conflicts` lists what is")}
REFUSALS = {**INVALID, **FORBIDDEN, **NOT_FOUND, **CONFLICT, **BUSY}


class DeletePermissions(TokenPermissions):
    """For what is posted to an object to delete it."""

    perms_map = {**TokenPermissions.perms_map, "POST": ["%(app_label)s.delete_%(model_name)s"]}


class PoolMovesMixin:
    """What is done with a whole pool, for the viewset of pools."""

    @extend_schema(
        request=serializers.MergePoolSerializer,
        responses={200: serializers.MergeResultSerializer, **REFUSALS},
    )
    @action(detail=True, methods=["post"], permission_classes=(ChangePermissions,), filter_backends=())
    def merge(self, request, pk):
        """
        Move all segments and allocations of the pool into another one of its VRF, and delete it.
        """
        pool = self._get_pool(pk, "change")
        check_pool_permission(request.user, pool, "delete")
        asked = self._get_asked(serializers.MergePoolSerializer)
        into = _find_into(asked.pop("into"), request.user)
        result = merge_pool(pool, into, user=request.user, **asked)
        return self._answer(serializers.MergeResultSerializer, result, asked)

    @extend_schema(
        request=serializers.RetirePoolSerializer,
        responses={200: serializers.RetireResultSerializer, **REFUSALS},
    )
    @action(detail=True, methods=["post"], permission_classes=(DeletePermissions,), filter_backends=())
    def retire(self, request, pk):
        """
        Make no new allocations in the pool, and delete it with its segments when the last one is released.
        """
        pool = self._get_pool(pk, "delete")
        asked = self._get_asked(serializers.RetirePoolSerializer)
        return self._answer(serializers.RetireResultSerializer, retire_pool(pool, user=request.user, **asked), asked)

    @extend_schema(
        request=serializers.ResizePoolSerializer,
        responses={200: serializers.ResizeResultSerializer, **REFUSALS},
    )
    @action(detail=True, methods=["post"], permission_classes=(ChangePermissions,), filter_backends=())
    def resize(self, request, pk):
        """
        Give the pool's VLAN group other VLAN IDs, or the pool other containers; no segment is left outside.
        """
        pool = self._get_pool(pk, "change")
        asked = self._get_asked(serializers.ResizePoolSerializer)
        result = resize_pool(pool, user=request.user, enforce=True, **asked)
        return self._answer(serializers.ResizeResultSerializer, result, asked)

    def _get_pool(self, pk, permission):
        """Return a pool that the user has the permission on. NetBox restricts a POST to what the user may add."""
        return get_object_or_404(SegmentPool.objects.restrict(self.request.user, permission), pk=pk)

    def _get_asked(self, serializer_class):
        serializer = serializer_class(data=self.request.data, context=self.get_serializer_context())
        serializer.is_valid(raise_exception=True)
        return dict(serializer.validated_data)

    def _answer(self, serializer_class, result, asked):
        result = {**vars(result), "dry_run": asked["dry_run"]}
        return Response(serializer_class(result, context=self.get_serializer_context()).data)


def _find_into(value, user):
    """
    Return the pool that an id or a slug names, which the user may change.

    Raises:
        ValidationError: There is none, or none that the user may know of.
        PermissionDenied: They may view it, but not change it.
    """
    known = SegmentPool.objects.filter(
        Q(pk__in=SegmentPool.objects.restrict(user, "view").order_by().values("pk"))
        | Q(pk__in=SegmentPool.objects.restrict(user, "change").order_by().values("pk"))
    )
    text = str(value)
    is_id = text.isascii() and text.isdecimal() and len(text) < 19
    found = known.filter(pk=int(text)).first() if is_id else None
    if found is None and isinstance(value, str) and text.isprintable():
        found = known.filter(slug=text).first()
    if found is None:
        raise ValidationError(
            {"into": [_("There is no pool {value!r}: give a pool's id or slug.").format(value=value)]}
        )
    check_pool_permission(user, found, "change")
    return found
