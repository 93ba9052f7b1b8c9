from copy import copy
from functools import partial

from django.utils.translation import gettext as _
from rest_framework.exceptions import APIException, ValidationError
from rest_framework.mixins import DestroyModelMixin
from rest_framework.parsers import MultiPartParser
from rest_framework.permissions import SAFE_METHODS
from rest_framework.response import Response
from rest_framework.views import APIView

from netbox.api.pagination import NetBoxPagination
from netbox.api.viewsets import NetBoxModelViewSet
from netbox.api.viewsets.mixins import resolve_bulk_error_status

from ...exceptions import Busy
from ...filtersets import SAVED_FILTER
from ...services.base import transactions
from ..errors import REFUSALS, ModelErrorsMixin, PlainErrorsMixin, as_api_exception
from ..filtering import NamedFilterBackend
from ..idempotency import IdempotencyMixin
from ..names import ANSWER_SHAPE, FLAGS, check_names, check_query
from ..ordering import NamedOrderingFilter
from ..parsers import JSONParser
from ..schema import ModelSchema, PlainSchema

__all__ = (
    "ListPagination",
    "PlainView",
    "ServiceViewSet",
    "describe_entry",
    "read_body",
)


# The actions of NetBox that can run as a background job, and their forms for a single object.
NETBOX_ACTIONS = {
    "create",
    "update",
    "partial_update",
    "destroy",
    "bulk_update",
    "bulk_partial_update",
    "bulk_destroy",
}

# How many objects one call may write: the size of NetBox's largest page.
BATCH_MAX = 1000


class ModelPagination(NetBoxPagination):
    """NetBox's, with a nullable count in the schema: pages that begin at an id (`start`) have no count."""

    def get_paginated_response_schema(self, schema):
        page = super().get_paginated_response_schema(schema)
        page["properties"]["count"]["nullable"] = True
        return page


class ListPagination(NetBoxPagination):
    """NetBox's, for lists without ids, which cannot begin at one (`start`)."""

    def get_start(self, request):
        return None

    def get_schema_operation_parameters(self, view):
        parameters = super().get_schema_operation_parameters(view)
        return [one for one in parameters if one["name"] != self.start_query_param]


class BatchRefusedError(Exception):
    """Rolls back a batch because some of its objects were refused."""

    def __init__(self, done, errors, status):
        self.done = done
        self.errors = errors
        self.status = status


class ServiceDestroyMixin(DestroyModelMixin):
    """Comes after NetBoxModelViewSet, whose perform_destroy() calls it in a transaction, after checking If-Match."""

    def perform_destroy(self, instance):
        self.destroy_object(instance)

    def destroy_object(self, instance):
        """Delete `instance`; a viewset may do something else in place of it."""
        instance.delete()


class ServiceViewSet(IdempotencyMixin, ModelErrorsMixin, NetBoxModelViewSet, ServiceDestroyMixin):
    """
    A viewset of NetBox for a model that is written through services, with their errors in bulk writes too.

    Attributes:
        ordering_fields: {field of the serializer: field of the query}
        own_actions: The actions of NetBox that do something of the plugin's own instead.
        query_names: The query parameters of an action, in addition to those of every call.
        list_parameters: The query parameters of lists, in addition to the filters.
    """

    schema = ModelSchema()
    parser_classes = (JSONParser, MultiPartParser)
    pagination_class = ModelPagination
    filter_backends = (NamedFilterBackend, NamedOrderingFilter)
    ordering_fields = {}
    own_actions = frozenset()
    query_names = ()
    list_parameters = (*ANSWER_SHAPE, *SAVED_FILTER, "limit", "offset", "start", "ordering", "export")

    @property
    def is_own_call(self):
        """Whether the call is the plugin's own, with its shape of errors and checked names, or works as NetBox's do."""
        return self.action in self.own_actions or self.action not in {*NETBOX_ACTIONS, "list", "retrieve", "metadata"}

    def initial(self, request, *args, **kwargs):
        super().initial(request, *args, **kwargs)
        if self.action not in NETBOX_ACTIONS:
            refuse_background(request)
        if self.is_own_call or request.method not in SAFE_METHODS:
            check_query(request, self.get_query_names())
        if request.method not in SAFE_METHODS and isinstance(request.data, list) and len(request.data) > BATCH_MAX:
            text = _("{count} objects are too many for one call: give at most {most}.")
            raise ValidationError({"__all__": [text.format(count=len(request.data), most=BATCH_MAX)]})

    def get_query_names(self):
        return (*(ANSWER_SHAPE if self.action in NETBOX_ACTIONS else ()), *self.query_names)

    def get_serializer(self, *args, **kwargs):
        if "data" not in kwargs:
            return super().get_serializer(*args, **kwargs)
        # ?fields and ?omit shape the answer only. NetBox would drop the omitted fields from the body too.
        kwargs.setdefault("context", self.get_serializer_context())
        return self.get_serializer_class()(*args, **kwargs)

    def lock_for_create(self, values):
        """Take the locks for creating objects of these validated values, in the order of all callers."""

    def lock_for_write(self, instances):
        """Take the locks for changing or deleting these objects, in the order of all callers."""

    def update(self, request, *args, **kwargs):
        # NetBox would take a list as several objects, though the URL names one.
        if isinstance(request.data, list):
            raise ValidationError({"__all__": [_("Invalid data. Expected a dictionary, but got list.")]})
        return super().update(request, *args, **kwargs)

    def bulk_create(self, request, *args, **kwargs):
        pks, errors, status = self.perform_bulk_create(request.data)
        if errors:
            return self.refuse_creation(errors, len(request.data), status)
        # The order is that of the request: services may return objects that existed before.
        objects = self.get_queryset().in_bulk(pks)
        serializer = self.get_serializer([objects[pk] for pk in pks], many=True)
        return Response(serializer.data, status=201)

    def refuse_creation(self, errors, total, status):
        """Return the answer to a list of `total` objects, some of which were refused."""
        detail = _("{failed_count} of {total} objects could not be created.").format(
            failed_count=len(errors), total=total
        )
        return _with_code(Response({"detail": detail, "errors": errors}, status=status))

    def bulk_update(self, request, *args, **kwargs):
        return _with_code(super().bulk_update(request, *args, **kwargs))

    def destroy(self, request, *args, **kwargs):
        self.check_deletion(request.data)
        return super().destroy(request, *args, **kwargs)

    def check_deletion(self, entry):
        """Refuse flags in the entry of an object to delete: NetBox would ignore, say, dry_run and delete the object."""
        if isinstance(entry, dict):
            check_names([name for name in entry if name in FLAGS], ("changelog_message", "id"))

    def bulk_destroy(self, request, *args, **kwargs):
        for entry in request.data if isinstance(request.data, list) else ():
            self.check_deletion(entry)
        return _with_code(super().bulk_destroy(request, *args, **kwargs))

    def perform_bulk_create(self, data):
        # The slow validation comes before the locks. The service finds values that contradict each other.
        prepared = [self._prepare(item) for item in data]

        def create(serializer):
            if isinstance(serializer, APIException):
                raise serializer
            serializer.instance = None
            self.perform_create(serializer)
            return serializer.instance.pk

        values = [serializer.validated_data for serializer in prepared if not isinstance(serializer, APIException)]
        entries = [({"index": index}, serializer) for index, serializer in enumerate(prepared)]
        return self.in_batch(entries, create, partial(self.lock_for_create, values))

    def _prepare(self, item):
        """Return the valid serializer of an object to create, or the APIException that refuses it."""
        # get_serializer() would take a list as several objects.
        if not isinstance(item, dict):
            message = _("Invalid data. Expected a dictionary, but got {datatype}.").format(datatype=type(item).__name__)
            return ValidationError({"__all__": [message]})
        try:
            serializer = self.get_serializer(data=item)
            serializer.is_valid(raise_exception=True)
        except REFUSALS as error:
            return as_api_exception(error, self.request)
        return serializer

    def perform_bulk_update(self, objects, update_data, partial):
        def update(instance):
            instance.snapshot()
            serializer = self.get_serializer(instance, data=update_data[instance.pk], partial=partial)
            serializer.is_valid(raise_exception=True)
            self.perform_update(serializer)
            return instance.pk

        return self._write_together(objects, update)

    def perform_bulk_destroy(self, objects, changelog_messages=None):
        def destroy(instance):
            instance.snapshot()
            instance._changelog_message = (changelog_messages or {}).get(instance.pk)
            self.perform_destroy(instance)

        done, errors, status = self._write_together(objects, destroy)
        return errors, len(done) + len(errors), status

    def _write_together(self, objects, work):
        objects = list(objects)
        entries = [({"id": instance.pk}, instance) for instance in objects]
        # Each try gets a copy, without the changes of the try before.
        return self.in_batch(entries, lambda instance: work(copy(instance)), partial(self.lock_for_write, objects))

    def in_batch(self, entries, work, lock):
        """
        Call `work` for each entry, in one transaction: all entries are written or none.

        Args:
            entries: (dict that names the entry in errors, entry) pairs.
            work: Writes one entry. It may run again for the same entry.
            lock: Takes the locks that the entries need.

        Returns:
            The results of `work`, the errors and their HTTP status, as NetBox's own bulk methods do.

        Raises:
            APIException: A lock was not granted in time; nothing was changed.
        """
        try:
            return transactions.run(lambda: self._attempt(entries, work, lock)), [], None
        except BatchRefusedError as refused:
            return refused.done, refused.errors, refused.status
        except Busy as error:
            raise as_api_exception(error) from error

    def _attempt(self, entries, work, lock):
        done, errors, statuses = [], [], set()
        lock()
        for name, entry in entries:
            try:
                done.append(work(entry))
            except Busy:
                raise
            except REFUSALS as error:
                error = as_api_exception(error, self.request)
                errors.append({**name, **describe_entry(error)})
                statuses.add(error.status_code)
        if errors:
            raise BatchRefusedError(done, errors, resolve_bulk_error_status(statuses))
        return done


def _with_code(response):
    """Add to the answer to a list the code of its refused entries; "invalid" if they have different ones."""
    if isinstance(response.data, dict) and (errors := response.data.pop("errors", None)):
        codes = {error.get("code", "invalid") for error in errors}
        response.data |= {"code": codes.pop() if len(codes) == 1 else "invalid", "errors": errors}
    return response


def describe_entry(error: APIException):
    """Return the errors of a refused entry, as the answer to a batch has them."""
    if isinstance(error, ValidationError):
        return {"errors": error.detail if isinstance(error.detail, dict) else {"__all__": error.detail}}
    if isinstance(error.detail, dict):
        return {"code": error.detail["code"], "errors": {"__all__": [error.detail["detail"]]}}
    return {"code": error.get_codes(), "errors": {"__all__": [error.detail]}}


class PlainView(IdempotencyMixin, PlainErrorsMixin, APIView):
    """
    A view without a model.

    Attributes:
        query_names: The query parameters of the view, in addition to those of every call; None: they are not checked.
    """

    parser_classes = (JSONParser,)
    schema = PlainSchema()
    query_names = ()

    def initial(self, request, *args, **kwargs):
        super().initial(request, *args, **kwargs)
        refuse_background(request)
        if self.query_names is not None:
            check_query(request, self.query_names)


def read_body(request, serializer_class, data=None):
    """
    Return the values of a body, as a serializer validates them.

    Args:
        request: The request.
        serializer_class: A RequestSerializer.
        data: The part of the body to read; None for all of it.

    Raises:
        ValidationError: Keyed by field.
    """
    serializer = serializer_class(data=request.data if data is None else data, context={"request": request})
    serializer.is_valid(raise_exception=True)
    return dict(serializer.validated_data)


def refuse_background(request):
    """
    Make sure that the client does not wait for a background job, as there will be none.

    Raises:
        ValidationError: The client asks for a background job.
    """
    if request.method not in SAFE_METHODS and request.query_params.get("background", "").lower() == "true":
        text = _("This call is done at once and has no background job: leave this out.")
        raise ValidationError({"background": [text]})
