"""Groups of a form's fields: a long form shows what every user fills in, and the rest folded."""

from typing import NamedTuple

from utilities.forms.rendering import FieldSet, InlineFields

__all__ = (
    "Fold",
    "GroupsMixin",
    "OneOf",
)


class Fold(FieldSet):
    """A FieldSet that the page shows folded below its name."""


class OneOf(FieldSet):
    """A FieldSet of which the user has to fill in one field at least; `note` says so."""

    def __init__(self, *items, note, **kwargs):
        super().__init__(*items, **kwargs)
        self.note = note


class Group(NamedTuple):
    """
    A FieldSet of a form, as the page shows it. Of a Fold and a OneOf, `fieldset` has no name: the page shows `name`.

    `labels` are those of a Fold's rows; `note` is that of a OneOf.
    """

    fieldset: FieldSet
    name: str = ""
    note: str = ""
    labels: list = ()
    is_open: bool = True


class GroupsMixin:
    """
    Extends a model form with Folds and OneOfs among its `fieldsets`. Its page includes `htmx/grouped_form.html`.

    A Fold begins open if one of its fields has an error, has another value than a new object gets, or is required and
    empty.
    """

    def get_groups(self):
        """Return a Group for each fieldset that has a field of the form."""
        return [self._get_group(fieldset) for fieldset in self.fieldsets if self._names(fieldset)]

    def _get_group(self, fieldset):
        if isinstance(fieldset, OneOf):
            return Group(FieldSet(*fieldset.items), fieldset.name, fieldset.note)
        if not isinstance(fieldset, Fold):
            return Group(fieldset)
        rows = [item for item in fieldset.items if isinstance(item, InlineFields) or item in self.fields]
        labels = [item.label if isinstance(item, InlineFields) else self[item].label for item in rows]
        is_open = any(map(self._is_notable, self._names(fieldset)))
        return Group(FieldSet(*rows), fieldset.name, labels=labels, is_open=is_open)

    def _names(self, fieldset):
        """Return the names of the form's fields in a fieldset."""
        parts = [item.fields if isinstance(item, InlineFields) else (item,) for item in fieldset.items]
        return [name for names in parts for name in names if name in self.fields]

    def _is_notable(self, name):
        field = self.fields[name]
        default = field.initial() if callable(field.initial) else field.initial
        value = self[name].value()
        return bool(self[name].errors) or (field.required and not value) or field.has_changed(default, value)
