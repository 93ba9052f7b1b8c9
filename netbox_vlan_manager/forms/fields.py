"""Form fields for values that NetBox and Django have no field for."""

import re

from django import forms
from django.core.exceptions import ValidationError

from utilities.forms.fields import NumericRangeArrayField

from ..validators import clean_cidr

__all__ = (
    "CIDRListField",
    "VIDRangesField",
)


class CIDRListField(forms.CharField):
    """Networks separated by commas or white space; cleans to a list."""

    def to_python(self, value):
        # An import in JSON or YAML may give a list.
        if isinstance(value, list):
            value = ",".join(map(str, value))
        networks, errors = [], []
        for text in re.split(r"[,\s]+", super().to_python(value)):
            try:
                networks += [clean_cidr(text)] if text else []
            except ValidationError as error:
                errors += error.messages
        if errors:
            raise ValidationError(errors)
        return networks


class VIDRangesField(NumericRangeArrayField):
    def to_python(self, value):
        # A single VLAN ID is a number in JSON and YAML, which NetBox's field does not expect.
        return super().to_python(str(value) if value else "")
