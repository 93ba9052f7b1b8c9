"""
Values of NetBox's custom fields for what services make: segments, VLANs, prefixes and allocations.

NetBox's forms and REST take each value for itself. Here they come together from what the caller gives, what the pool
has for all that it makes, and the defaults of the custom fields.
"""

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

from extras.models import CustomField
from ipam.models import VLAN, Prefix

from ...models import Segment

__all__ = (
    "POOL_FIELDS",
    "errors_of",
    "fill",
    "value_errors",
)

# The fields of a pool with values for what it makes, and of what model that is.
POOL_FIELDS = {"segment_custom_fields": Segment, "vlan_custom_fields": VLAN, "prefix_custom_fields": Prefix}


def fill(model, *layers):
    """Return the custom field data of a new object: the defaults of `model`'s custom fields under {name: value}s."""
    data = CustomField.objects.get_defaults_for_model(model)
    for values in layers:
        data = {**data, **values}
    return data


def errors_of(model, data):
    """
    Return texts that say what is wrong with the custom field data of an object of `model`; none if nothing is.

    Args:
        data: {name: value}, values as NetBox stores them: of an object its id, of a date its text.
    """
    text = _("Custom field {name} of {model} is required: give it a value, here or in the pool, or a default.")
    missing = [
        text.format(name=field.name, model=model._meta.verbose_name_plural)
        for field in CustomField.objects.get_for_model(model)
        if field.required and data.get(field.name) in (None, "", [])
    ]
    return value_errors(model, data) + missing


def value_errors(model, values):
    """Return texts that say which of {name: value} name no custom field of `model`, or are no value of it."""
    if not isinstance(values, dict):
        return [_('Give an object with the values by the names of custom fields, such as {"cost_center": "A1"}.')]
    fields = {field.name: field for field in CustomField.objects.get_for_model(model)}
    texts = []
    for name, value in values.items():
        if name not in fields:
            names = ", ".join(sorted(fields)) or _("none")
            text = _("There is no custom field {name} of {model}. There are: {names}.")
            texts.append(text.format(name=name, model=model._meta.verbose_name_plural, names=names))
        elif value is not None:
            try:
                fields[name].validate(value)
            except ValidationError as error:
                texts.append(_("Custom field {name}: {error}").format(name=name, error=" ".join(error.messages)))
    return texts
