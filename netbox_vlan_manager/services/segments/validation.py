"""
NetBox's own validation, custom validators included, of the VLANs, prefixes and segments that services create.

It leaves out the checks that services have made already, since each check would be a query for every row. Errors are
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
    Set the custom fields of a new object, and return whether their values are valid.

    Args:
        instance: A VLAN, Prefix or Segment.
        name: The field of the error texts.
        errors: {field: texts}, to which error texts are added.
        pool_values: The values of the pool, {name: value}; those of deleted custom fields are left out.
        values: The values of the caller, {name: value}.
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
    """Validate a new object as NetBox does, and add the error texts to `errors` (see `add_texts`)."""
    foreign_keys = [field.name for field in instance._meta.concrete_fields if field.is_relation]
    try:
        instance.full_clean(exclude=foreign_keys, validate_unique=False, validate_constraints=False)
    except ValidationError as error:
        add_texts(errors, error, fields, default)


def validate_prefix(prefix, scope, name, errors):
    """
    Give a new prefix its scope and validate it as `validate` does, without two queries of NetBox.

    NetBox's clean() looks up prefixes with this CIDR, although the PrefixSpace knows that there are none, and the
    scope, although it is the pool's. So it runs before the prefix has a scope. Custom validation needs the whole prefix
    and runs after that.
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
    """Add the texts of a ValidationError to `errors`; `fields` translates its field names, others become `default`."""
    for name, texts in ValidationError(error.update_error_dict({})).message_dict.items():
        errors.setdefault(fields.get(name, default), []).extend(texts)
