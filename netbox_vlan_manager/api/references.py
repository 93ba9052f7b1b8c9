"""
Finds the objects that a body names by id, slug or name, and by nothing else.

NetBox looks related objects up by any attributes in the body, with lookups and through relations: a user who may not
read a value could find it out letter by letter. Every relation of the plugin's serializers goes through this module.
It finds only objects that the user may view, by an id too, because the answer shows the object.
"""

import re
from collections.abc import Mapping
from functools import partial

from django.db.models import Q
from django.utils.translation import gettext as _
from rest_framework import serializers

from extras.choices import CustomFieldTypeChoices
from ipam.models import VRF
from netbox.api.serializers import BaseModelSerializer

__all__ = (
    "ReferencesMixin",
    "find_object",
    "find_pool",
    "viewable",
)

# The fields that name an object in addition to its id, if its model has them.
NAMES = ("slug", "name")
# Further such fields of some models.
OTHER_NAMES = {VRF: ("rd",)}
# PostgreSQL has no ids with more digits.
ID_DIGITS = 18
ID_TEXT = re.compile(rf"[0-9]{{1,{ID_DIGITS}}}", re.ASCII)


def viewable(model, user):
    """Return the objects of `model` that `user` may view; all of them if `user` is None."""
    objects = model._default_manager.all()
    return objects if user is None or not hasattr(objects, "restrict") else objects.restrict(user, "view")


def find_object(objects, reference):
    """
    Return the one of `objects` that a body names.

    Args:
        objects: A QuerySet of the objects that the user may view.
        reference: An id, or a dictionary of id, slug, name or one of `OTHER_NAMES`. The object has to match all of its
            entries.

    Raises:
        ValidationError: `reference` is malformed, or names none or several of the objects.
    """
    known = ["id", *_names_of(objects.model)]
    if isinstance(reference, int | str) and _is_id(reference):
        reference = {"id": reference}
    if not isinstance(reference, Mapping) or not reference or not reference.keys() <= set(known):
        text = _("Give an id, or an object with one of these: {names}.")
        raise serializers.ValidationError(text.format(names=", ".join(known)))
    values = {name: _clean_value(name, value) for name, value in reference.items()}
    found = list(objects.filter(**values)[:2])
    if len(found) > 1:
        raise serializers.ValidationError(_("Several objects have this name: give an id."))
    if not found:
        given = ", ".join(f"{name} {value!r}" for name, value in values.items())
        raise serializers.ValidationError(
            _("There is no {object} with {names} that you may view.").format(
                object=objects.model._meta.verbose_name, names=given
            )
        )
    return found[0]


def find_pool(pools, reference):
    """
    Return the one of `pools` that a body names, as `find_object` does, or by its id, slug or name as text.

    Raises:
        ValidationError: As `find_object` does.
    """
    if not isinstance(reference, str):
        return find_object(pools, reference)
    text = _clean_value("name", reference.strip())
    named = Q(slug__iexact=text) | Q(name__iexact=text)
    if _is_id(text):
        named |= Q(pk=int(text))
    found = list(pools.filter(named)[:2])
    if len(found) > 1:
        raise serializers.ValidationError(_("Several pools have this name: give an id."))
    if not found:
        raise serializers.ValidationError(
            _("There is no pool {name!r} that you may view: give its id, slug or name.").format(name=text)
        )
    return found[0]


def _names_of(model):
    fields = {field.name for field in model._meta.concrete_fields}
    return [name for name in (*NAMES, *OTHER_NAMES.get(model, ())) if name in fields]


def _is_id(value):
    """Whether a value is a number, or a text of digits, that can be an id."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return False
    return value in range(10**ID_DIGITS) if isinstance(value, int) else bool(ID_TEXT.fullmatch(value))


def _clean_value(name, value):
    if name == "id":
        if _is_id(value):
            return int(value)
        raise serializers.ValidationError(_("An id is a whole number."))
    if not isinstance(value, str) or not value.isprintable():
        raise serializers.ValidationError(_("Give the {name} as text.").format(name=name))
    return value


class ReferencesMixin(BaseModelSerializer):
    """
    Looks up related objects, tags and the objects of custom fields with `find_object`, for serializers of models.

    The user need not be permitted to view a related object that does not change.
    """

    @property
    def user(self):
        """The user of the request; None outside a request, where nothing is hidden."""
        request = self.context.get("request")
        return request and request.user

    def get_fields(self):
        fields = super().get_fields()
        for name, field in fields.items():
            related = getattr(field, "child", field)
            if field.read_only or isinstance(related, ReferencesMixin):
                continue
            if name == "custom_fields":
                field.to_internal_value = partial(self._read_custom_fields, field, field.to_internal_value)
            elif isinstance(related, BaseModelSerializer):
                related.to_internal_value = partial(self._find_related, name, related.Meta.model)
        return fields

    def to_internal_value(self, data):
        if not self.nested and isinstance(data, dict):
            data = self._with_tags(data)
        return super().to_internal_value(data)

    def _find_related(self, name, model, reference):
        current = getattr(self.instance, name, None) if isinstance(self.instance, self.Meta.model) else None
        if isinstance(current, model) and str(reference) == str(current.pk):
            return current
        return find_object(viewable(model, self.user), reference)

    def _with_tags(self, data):
        """Return `data` with the ids of add_tags and remove_tags, which NetBox looks up without permissions."""
        found, errors = {}, {}
        for name in ("add_tags", "remove_tags"):
            if name in data:
                try:
                    found[name] = [tag.pk for tag in self.fields["tags"].run_validation(data[name])]
                except serializers.ValidationError as error:
                    errors[name] = error.detail
        if errors:
            raise serializers.ValidationError(errors)
        return {**data, **found} if found else data

    def _read_custom_fields(self, field, read, data):
        if not isinstance(data, dict):
            return read(data)
        data = {**data}
        for custom_field in field._get_custom_fields():
            value = data.get(custom_field.name)
            if value in (None, "", []):
                continue
            if custom_field.type == CustomFieldTypeChoices.TYPE_OBJECT:
                data[custom_field.name] = self._find_id(custom_field, value)
            elif custom_field.type == CustomFieldTypeChoices.TYPE_MULTIOBJECT and isinstance(value, list):
                data[custom_field.name] = [self._find_id(custom_field, one) for one in value]
        return read(data)

    def _find_id(self, custom_field, reference):
        objects = viewable(custom_field.related_object_type.model_class(), self.user)
        try:
            return find_object(objects, reference).pk
        except serializers.ValidationError as error:
            raise serializers.ValidationError({custom_field.name: error.detail}) from None
