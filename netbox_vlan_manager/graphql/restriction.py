"""
What keeps GraphQL to the objects that the user may view.

It is imported while NetBox starts, so it must not import NetBox's own GraphQL modules.
"""

import strawberry_django
from django.db.models import Exists, OneToOneRel, OuterRef, Q
from strawberry.types import Info
from strawberry.types.field import UNRESOLVED
from strawberry_django import process_filters
from strawberry_django.fields.field import StrawberryDjangoField
from strawberry_django.queryset import run_type_get_queryset

__all__ = (
    "RestrictedField",
    "related_filter",
)


class RestrictedField(StrawberryDjangoField):
    """
    A field whose related object is null for those who may not view it, however the query came to it.

    The optimizer fetches related objects by the querysets of their types, which are restricted. It leaves out objects
    that came back on their own way, such as the pool in `segment_pool_list { segments { pool { vrf { name } } } }`:
    Django knows the pool already, and would get its VRF without asking who wants it.
    """

    def resolve_type(self, *, type_definition=None):
        # An extension is made before there are types. Looking for them then would import them, and NetBox's own.
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


def related_filter(model, filter_type, path, remote="pk"):
    """
    Return a filter by related objects, of which only those that the user may view are looked at.

    Filters of NetBox's own join the related table. A user who may not view the related objects could still ask for what
    they are called, letter by letter.

    Args:
        model: What the related objects are.
        filter_type: The annotation of their filter.
        path: What of the filtered object `remote` of the related one equals.
        remote: The field of the related object that says which filtered object it belongs to.
    """

    @strawberry_django.filter_field
    def related(self, value: filter_type, info: Info, prefix: str) -> Q:
        objects, condition = process_filters(value, model.objects.restrict(info.context.request.user, "view"), info)
        return Q(Exists(objects.filter(condition, **{remote: OuterRef(f"{prefix}{path}")})))

    return related
