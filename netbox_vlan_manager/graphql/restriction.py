"""
Restricts GraphQL to the objects that the user may view.

NetBox imports this module while it starts, so it must not import NetBox's own GraphQL modules.
"""

import strawberry_django
from django.db.models import Exists, OneToOneRel, OuterRef, Q
from strawberry.types import Info
from strawberry.types.field import UNRESOLVED
from strawberry_django import process_filters
from strawberry_django.fields.field import StrawberryDjangoField
from strawberry_django.queryset import run_type_get_queryset

from ..models import SegmentPool

__all__ = (
    "RestrictedField",
    "pool_filter",
    "related_filter",
)


class RestrictedField(StrawberryDjangoField):
    """
    A field whose related object is null for users who may not view it, on every path of the query.

    The optimizer fetches related objects with the querysets of their types, which are restricted. It skips objects that
    Django knows already, such as the pool in `segment_pool_list { segments { pool { vrf { name } } } }`: Django would
    then fetch the VRF of that pool without a check of permissions.
    """

    def resolve_type(self, *, type_definition=None):
        # Extensions are created before the types. Resolving a type now would import it, and NetBox's own types.
        if self.origin_django_type is None:
            return UNRESOLVED
        return super().resolve_type(type_definition=type_definition)

    def get_result(self, source, info, args, kwargs):
        if source is not None and self.base_resolver is None and self.is_relation and not self.is_list:
            relation = source._meta.get_field(self.django_name)
            if not relation.is_cached(source):
                relation.set_cached_value(source, self._find_related(relation, source, info))
        return super().get_result(source, info, args, kwargs)

    def _find_related(self, relation, source, info):
        objects = run_type_get_queryset(relation.related_model.objects.all(), self.django_type, info)
        if isinstance(relation, OneToOneRel):
            return objects.filter(**{relation.field.name: source.pk}).first()
        key = getattr(source, relation.attname)
        return None if key is None else objects.filter(pk=key).first()


def pool_filter(model, filter_type, path):
    """
    Return a filter by objects that are related to the pool of the filtered object. Both have to be viewable.

    Args:
        model: The model of the related objects.
        filter_type: The annotation of their filter.
        path: The path from the pool to the related object.
    """

    @strawberry_django.filter_field
    def related(self, value: filter_type, info: Info, prefix: str) -> Q:
        user = info.context.request.user
        objects, condition = process_filters(value, model.objects.restrict(user, "view"), info)
        # The inner filter is a subquery of its own: the restriction of pools may join the same tables.
        pools = SegmentPool.objects.restrict(user, "view").filter(
            **{f"{path}__in": objects.filter(condition).values("pk")}
        )
        return Q(Exists(pools.filter(pk=OuterRef(f"{prefix}pool"))))

    return related


def related_filter(model, filter_type, path, remote="pk"):
    """
    Return a filter by related objects, which matches only those that the user may view.

    NetBox's own filters join the related table: a user who may not view the related objects could find out their names
    letter by letter.

    Args:
        model: The model of the related objects.
        filter_type: The annotation of their filter.
        path: The field of the filtered object that equals `remote`.
        remote: The field of the related object that refers to the filtered one.
    """

    @strawberry_django.filter_field
    def related(self, value: filter_type, info: Info, prefix: str) -> Q:
        objects, condition = process_filters(value, model.objects.restrict(info.context.request.user, "view"), info)
        return Q(Exists(objects.filter(condition, **{remote: OuterRef(f"{prefix}{path}")})))

    return related
