"""Form fields for values that NetBox and Django have no field for."""

import re

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

from utilities.forms.fields import NumericRangeArrayField

from ..validators import clean_cidr, clean_duration, duration_text

__all__ = (
    "CIDRListField",
    "DurationField",
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


class DurationField(forms.CharField):
    """A duration such as 90m, 1h, 7d or 2w; cleans to seconds, and None when empty."""

    def __init__(self, *, max_value, **kwargs):
        super().__init__(**kwargs)
        self.max_value = max_value

    def prepare_value(self, value):
        # A link that clones an object has the seconds as text.
        return duration_text(int(value)) if re.fullmatch("[0-9]{1,10}", str(value)) else value

    def to_python(self, value):
        if value in self.empty_values:
            return None
        seconds = clean_duration(value)
        if seconds > self.max_value:
            text = _("{value} is too long: give at most {longest}.")
            raise ValidationError(text.format(value=value, longest=duration_text(self.max_value)))
        return seconds


class VIDRangesField(NumericRangeArrayField):
    def to_python(self, value):
        # A single VLAN ID is a number in JSON and YAML, which NetBox's field does not expect.
        return super().to_python(str(value) if value else "")
