"""
NetBox's own validation of the VLANs, prefixes and segments that services create, custom validators included.

What the services have checked already is left out of it, since each check would be a query for every row. Errors are
keyed by the fields of the services.
"""

from django.core.exceptions import ValidationError

from extras.models import CustomField
from ipam.models import Prefix
from netbox.signals import post_clean

from ..base import custom_fields

__all__ = (
    "add_texts",
    "set_custom_fields",
    "validate",
    "validate_prefix",
)


def set_custom_fields(instance, name, errors, pool_values, values):
    """
    Give a new object the values of its custom fields, and return whether they are right.

    Args:
        instance: A VLAN, Prefix or Segment.
        name: The field that an error stands at.
        errors: {field: texts}, to which is added what is wrong.
        pool_values: What the pool has for it; values of custom fields that no longer exist are left out.
        values: What the caller gives, {name: value}.
    """
    model = type(instance)
    if texts := custom_fields.value_errors(model, values):
        errors[name] = texts
        return False
    known = {field.name for field in CustomField.objects.get_for_model(model)} if pool_values else ()
    instance.custom_field_data = custom_fields.fill(
        model, {name: value for name, value in pool_values.items() if name in known}, values
    )
    if texts := custom_fields.errors_of(model, instance.custom_field_data):
        errors[name] = texts
        return False
    return True


def validate(instance, errors, fields, default):
    """Add to `errors`, {field: texts}, what NetBox's validation of a new object finds (see `add_texts`)."""
    foreign_keys = [field.name for field in instance._meta.concrete_fields if field.is_relation]
    try:
        instance.full_clean(exclude=foreign_keys, validate_unique=False, validate_constraints=False)
    except ValidationError as error:
        add_texts(errors, error, fields, default)


def validate_prefix(prefix, scope, name, errors):
    """
    Give a new prefix its scope and validate it as `validate` does, without the two queries that NetBox makes.

    NetBox's clean() asks for prefixes with this CIDR, of which the PrefixSpace knows that there are none, and for the
    scope, which is the pool's. So it runs on a prefix that has no scope yet; custom validation, which sees the whole
    prefix, is put off until it has.
    """
    prefix.get_duplicates = lambda: ()
    prefix._replicated_base = True
    validate(prefix, errors, {"prefix": name}, name)
    del prefix.get_duplicates, prefix._replicated_base
    prefix.scope = scope
    prefix.cache_related_objects()
    try:
        post_clean.send(sender=Prefix, instance=prefix)
    except ValidationError as error:
        add_texts(errors, error, {}, name)


def add_texts(errors, error, fields, default):
    """Add the texts of a ValidationError to `errors`, its field names turned into ours by `fields`, or `default`."""
    for name, texts in ValidationError(error.update_error_dict({})).message_dict.items():
        errors.setdefault(fields.get(name, default), []).extend(texts)
