from django.core.exceptions import ValidationError
from django.db.models import Q
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.decorators import action
from rest_framework.exceptions import APIException
from rest_framework.generics import get_object_or_404
from rest_framework.response import Response

from netbox.api.viewsets.mixins import resolve_bulk_error_status
from utilities.exceptions import AbortRequest

from ... import filtersets
from ...exceptions import Busy
from ...models import Allocation
from ...services import (
    allocate,
    allocate_many,
    allocate_stretched,
    hand_over,
    release_allocation,
    renew,
    undo_release,
)
from ...services.allocations.releases import release_warnings
from ...services.allocations.requests import AllocationRequest, find_held, locate, lock_key
from ...services.base import transactions
from ...services.base.locators import locators_in
from ...services.base.resolution import check_pool_permission
from ...services.base.visibility import check_release, check_renewal, known_allocations, releasable
from .. import serializers
from ..errors import REFUSALS, as_api_exception
from ..names import ANSWER_SHAPE, check_names
from ..permissions import AllocationPermissions, MayWrite
from ..schema import (
    BUSY,
    DRY_RUN,
    FORBIDDEN,
    IN_USE,
    LIST_REFUSED,
    NOT_FOUND,
    POOL_CONFLICT,
    POOL_NOT_FOUND,
)
from .base import ServiceViewSet, describe_entry, read_body
from .results import describe_results, leave_out_unknown

__all__ = ("AllocationViewSet",)


# The options of an action that creates or changes one allocation.
OWN_CALL = {
    "permission_classes": (MayWrite,),
    "filter_backends": (),
    "pagination_class": None,
    "query_names": (*ANSWER_SHAPE, "dry_run"),
}


class ListRefusedError(Exception):
    """Some entries of a list were refused; `errors` has (index, APIException) pairs."""

    def __init__(self, errors):
        self.errors = errors


@extend_schema_view(
    create=extend_schema(
        parameters=[DRY_RUN],
        responses={
            200: serializers.AllocationResultSerializer,
            201: serializers.AllocationResultSerializer,
            **POOL_NOT_FOUND,
            **LIST_REFUSED,
            **BUSY,
        },
    ),
    destroy=extend_schema(responses={204: None, **IN_USE, **BUSY}),
)
class AllocationViewSet(ServiceViewSet):
    """
    Creating an allocation allocates a segment, or returns the one that the cluster holds; deleting one releases it.

    Both require a permission on the segment pool, and none on allocations.
    """

    queryset = Allocation.objects.select_related("segment__vlan", "segment__prefix", "segment__ipv6_prefix")
    serializer_class = serializers.AllocationSerializer
    filterset_class = filtersets.AllocationFilterSet
    permission_classes = (AllocationPermissions,)
    own_actions = frozenset({"create", "destroy", "bulk_destroy"})
    ordering_fields = {
        name: name
        for name in (
            "id",
            "segment",
            "pool",
            "cluster_name",
            "cluster",
            "purpose",
            "allocated_at",
            "allocated_by",
            "released_at",
            "released_by",
            "release_reason",
            "expires_at",
            "shared",
            "pool_name",
            "vrf_name",
            "vid",
            "epg_name",
            "prefix",
            "description",
            "owner",
            "created",
            "last_updated",
        )
    }

    def get_query_names(self):
        return (*super().get_query_names(), *(("dry_run",) if self.action == "create" else ()))

    def get_queryset(self):
        # Not in initial(), which a background job does not call. NetBox restricts by the permissions to add and to
        # delete allocations, which these calls do not require.
        allocations = Allocation.objects.select_related("segment__vlan", "segment__prefix", "segment__ipv6_prefix")
        if self.request.method == "POST":
            self.queryset = allocations
        elif self.request.method == "DELETE":
            user = self.request.user
            self.queryset = allocations.filter(
                Q(pk__in=Allocation.objects.restrict(user, "view").order_by().values("pk")) | releasable(user)
            )
        return super().get_queryset()

    def create(self, request, *args, **kwargs):
        if isinstance(request.data, list):
            return super().create(request, *args, **kwargs)
        if isinstance(request.data, dict) and (request.data.get("dry_run") or "dry_run" in request.query_params):
            serializer = self.get_serializer(data=request.data)
            serializer.is_valid(raise_exception=True)
            if serializer.validated_data["dry_run"]:
                return self.preview(serializer)
        response = super().create(request, *args, **kwargs)
        response.data = {**response.data, "outcome": self.result.outcome}
        leave_out_unknown([response.data], [self.result.allocation], request.user)
        if not self.result.created:
            response.status_code = 200
        return response

    def preview(self, serializer):
        """Return the answer of a dry run: the allocation that the request would get."""
        if locators_in(serializer.validated_data):
            values = dict(serializer.validated_data)
            serializer.take_tags(values)
            results = [allocate(user=self.request.user, **values)]
        else:
            asked, _tags = self._get_request(serializer)
            results = allocate_many([asked], user=self.request.user, dry_run=True)
        return Response(describe_results(results, self.get_serializer, self.request.user)[0])

    def bulk_create(self, request, *args, **kwargs):
        prepared = [self._prepare(item) for item in request.data]
        dry_run = any(
            serializer.validated_data.get("dry_run")
            for serializer in prepared
            if not isinstance(serializer, APIException)
        )
        try:
            results = self._allocate_list(prepared, dry_run)
        except ListRefusedError as refused:
            errors = [{"index": index, **describe_entry(error)} for index, error in refused.errors]
            status = resolve_bulk_error_status({error.status_code for _index, error in refused.errors})
            return self.refuse_creation(errors, len(prepared), status)
        if not dry_run:
            # Read again with all related objects of the answer, in a fixed number of queries.
            allocations = self.get_queryset().in_bulk([result.allocation.pk for result in results])
            results = [result._replace(allocation=allocations[result.allocation.pk]) for result in results]
        is_new = not dry_run and any(result.created for result in results)
        return Response(
            describe_results(results, self.get_serializer, self.request.user), status=201 if is_new else 200
        )

    def _allocate_list(self, prepared, dry_run):
        """
        Allocate a whole list in one call of the service, which keeps the order of locks, and return its results.

        Args:
            prepared: For each entry its valid serializer, or the APIException that refuses it.
            dry_run: Whether to return the results without changing anything.

        Raises:
            ListRefusedError: At least one entry was refused; nothing was changed.
        """
        asked, errors = [], []
        for index, serializer in enumerate(prepared):
            try:
                if isinstance(serializer, APIException):
                    raise serializer
                asked.append(self._get_request(serializer))
                # A request that contradicts an allocation of its cluster is reported together with the other errors.
                find_held(asked[-1][0])
            except REFUSALS as error:
                errors.append((index, as_api_exception(error, self.request)))
        if errors:
            raise ListRefusedError(errors)

        def allocate_all():
            results = allocate_many([wanted for wanted, _tags in asked], user=self.request.user, dry_run=dry_run)
            for index, result in enumerate(results):
                tags = asked[index][1]
                if not tags or not result.created or dry_run:
                    continue
                try:
                    prepared[index].save_tags(result.allocation, tags)
                except AbortRequest as error:
                    error.index = index
                    raise
            return results

        try:
            return transactions.run(allocate_all) if any(tags for _wanted, tags in asked) else allocate_all()
        except REFUSALS as error:
            # An exception of REST framework: background jobs know these too.
            refusal = as_api_exception(error, self.request)
            if isinstance(error, Busy) or not hasattr(error, "index"):
                raise refusal from error
            raise ListRefusedError([(error.index, refusal)]) from error

    def _get_request(self, serializer):
        """
        Return the AllocationRequest of a valid serializer, and the tags for a new allocation.

        Raises:
            PermissionDenied: The user may not allocate in the pool.
            ValidationError: A value is not valid.
        """
        values = dict(serializer.validated_data)
        if located := locators_in(values):
            text = _("Not in a list: ask for one allocation at a time.")
            raise ValidationError(dict.fromkeys(located, text))
        check_pool_permission(self.request.user, values["pool"], "allocate")
        tags = serializer.take_tags(values)
        values.pop("dry_run", None)
        return AllocationRequest.clean(**values), tags

    @extend_schema(
        request=serializers.StretchedSerializer,
        parameters=[DRY_RUN],
        responses={
            200: serializers.AllocationResultSerializer(many=True),
            201: serializers.AllocationResultSerializer(many=True),
            **POOL_NOT_FOUND,
            **POOL_CONFLICT,
            **BUSY,
        },
    )
    @action(
        detail=False,
        methods=["post"],
        filter_backends=(),
        pagination_class=None,
        query_names=(*ANSWER_SHAPE, "dry_run"),
    )
    def stretched(self, request):
        """
        Allocate the same VLAN ID at several sites, the lowest that is available at all of them. All sites or none.
        """
        asked = read_body(request, serializers.StretchedSerializer)
        pools, places = asked.pop("pools", None), {}
        if pools is None:
            sites, vrf = asked.pop("sites"), asked.pop("vrf")
            named = {name: asked[name] for name in ("cluster_name", "purpose") if name in asked}
            found = [locate(site=site, vrf=vrf, viewer=request.user, action="allocate", **named) for site in sites]
            pools = [one.pool for one in found]
            places = {one.pool: {"places": one.places, "serves": one.serves} for one in found}
        else:
            for pool in pools:
                check_pool_permission(request.user, pool, "allocate")
        results = allocate_stretched(pools=pools, places=places, user=request.user, viewer=request.user, **asked)
        created = any(result.created for result in results) and not asked.get("dry_run")
        rows = describe_results(results, self.get_serializer, request.user)
        return Response(rows, status=201 if created else 200)

    @extend_schema(
        request=serializers.RenewSerializer,
        responses={200: serializers.AllocationSerializer, **NOT_FOUND, **BUSY},
    )
    @action(detail=True, methods=["post"], filter_backends=(), pagination_class=None, query_names=ANSWER_SHAPE)
    def renew(self, request, pk):
        """
        Change when an active allocation expires, or let it never expire.
        """
        allocation = get_object_or_404(known_allocations(request.user), pk=pk)
        if allocation.pool:
            check_pool_permission(request.user, allocation.pool, "allocate")
        asked = read_body(request, serializers.RenewSerializer)
        check_renewal(request.user, allocation, asked["expires_at"])
        renewed = renew(allocation, user=request.user, **asked)
        return Response(self.get_serializer(renewed).data)

    @extend_schema(
        request=serializers.ReleaseSerializer,
        parameters=[DRY_RUN],
        responses={200: serializers.ReleaseResultSerializer, **FORBIDDEN, **NOT_FOUND, **IN_USE, **BUSY},
    )
    @action(detail=True, methods=["post"], **OWN_CALL)
    def release(self, request, pk):
        """
        Release an allocation, as DELETE does, and return what still uses its segment. A released one is not changed.
        """
        user = request.user
        allocation = self.get_known(pk)
        check_release(user, allocation)
        asked = read_body(request, serializers.ReleaseSerializer)
        allocation, released = release_allocation(allocation, user=user, **asked)
        warnings = release_warnings([allocation] if released else [], user)
        return Response({**self.get_serializer(allocation).data, "warnings": list(warnings.values())})

    @extend_schema(
        request=serializers.HandOverSerializer,
        parameters=[DRY_RUN],
        responses={
            200: serializers.AllocationResultSerializer,
            201: serializers.AllocationResultSerializer,
            **NOT_FOUND,
            **POOL_CONFLICT,
            **BUSY,
        },
    )
    @action(detail=True, methods=["post"], url_path="hand-over", **OWN_CALL)
    def hand_over(self, request, pk):
        """
        Give the segment of an active allocation to another cluster at once. The answer is the new allocation.
        """
        allocation = self.get_known(pk)
        check_release(request.user, allocation)
        return self.respond_change(hand_over, allocation, serializers.HandOverSerializer)

    @extend_schema(
        request=serializers.UndoReleaseSerializer,
        parameters=[DRY_RUN],
        responses={
            200: serializers.AllocationResultSerializer,
            201: serializers.AllocationResultSerializer,
            **NOT_FOUND,
            **POOL_CONFLICT,
            **BUSY,
        },
    )
    @action(detail=True, methods=["post"], url_path="undo-release", **OWN_CALL)
    def undo_release(self, request, pk):
        """
        Give a cluster the segment back that it released, if no other cluster has held it since. The answer is the new
        allocation.
        """
        return self.respond_change(undo_release, self.get_known(pk), serializers.UndoReleaseSerializer)

    def get_known(self, pk):
        """Return an allocation that the user may know of, or answer 404."""
        related = ("pool__vrf", "segment", "owner")
        return get_object_or_404(known_allocations(self.request.user).select_related(*related), pk=pk)

    def respond_change(self, service, allocation, serializer_class):
        """Call a service that makes a new allocation of an older one, in whose pool the user may allocate."""
        user = self.request.user
        if allocation.pool:
            check_pool_permission(user, allocation.pool, "allocate")
        asked = read_body(self.request, serializer_class)
        result = service(allocation, user=user, viewer=user, **asked)
        created = result.created and not asked.get("dry_run")
        return Response(describe_results([result], self.get_serializer, user)[0], status=201 if created else 200)

    def perform_create(self, serializer):
        if not locators_in(serializer.validated_data):
            check_pool_permission(self.request.user, serializer.validated_data["pool"], "allocate")
        serializer.save()
        self.result = serializer.result

    def destroy_object(self, instance):
        if instance.pool:
            check_release(self.request.user, instance)
        release_allocation(instance, user=self.request.user, changelog_message=instance._changelog_message or "")

    def check_deletion(self, entry):
        if isinstance(entry, dict):
            check_names(entry, ("changelog_message", "id"))

    def get_bulk_destroy_queryset(self):
        # The order in which all callers lock segments.
        return super().get_bulk_destroy_queryset().select_related("pool").order_by("pool", "vid")

    def lock_for_write(self, instances):
        transactions.lock_clusters([lock_key(held) for held in instances if held.pool])
