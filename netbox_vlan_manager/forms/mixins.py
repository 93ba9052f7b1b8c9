from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

from netbox.context import current_request
from utilities.forms import restrict_form_fields

from ..models.deletion import get_viewed
from .errors import abort_on_service_errors

__all__ = (
    "KeepHiddenMixin",
    "NamedColumnsMixin",
    "RestrictedFilterMixin",
    "ServiceFormMixin",
)


# What a column of an import may name an object by.
NAMES = ("id", "name", "slug", "rd")


class NamedColumnsMixin:
    """
    For import forms, whose columns name an object by its id, name, slug or RD, as in `vrf.rd`.

    NetBox takes whatever attribute a header says, and through it what else there is beside the object.
    """

    def __init__(self, *args, headers=None, **kwargs):
        headers = headers or {}
        self.unknown_headers = [f"{name}.{by}" for name, by in headers.items() if by not in (None, *NAMES)]
        super().__init__(*args, headers={name: by if by in NAMES else None for name, by in headers.items()}, **kwargs)

    def clean(self):
        for header in self.unknown_headers:
            raise ValidationError(_("Unrecognized header: {name}").format(name=header))
        return super().clean()


class RestrictedFilterMixin:
    """Extends NetBox's filter forms, which name whatever object the address asks for: only what the user may view."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if request := current_request.get():
            saved_filters = self.fields["filter_id"].queryset
            restrict_form_fields(self, request.user)
            # Those of others are shared without a permission.
            self.fields["filter_id"].queryset = saved_filters
            for field in self.fields.values():
                # NetBox has put it into another widget, and left it the choices that the field had.
                if hasattr(field, "queryset") and hasattr(field.widget, "original_widget"):
                    field.widget.original_widget.choices = field.choices


class KeepHiddenMixin:
    """
    Extends a model form: what the object has and the user may not view stays.

    NetBox offers no such choice, and takes what was not chosen for what shall go.

    Attributes:
        hidden: {name of a field: objects that the instance has there and the user may not view}
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.hidden = self._find_hidden()
        for name in self.hidden:
            field = self.fields[name]
            field.required = False
            field.help_text = _("What you may not view is not shown and stays, unless you choose another.")
            if self._is_many(name):
                field.help_text = _("What you may not view is not shown and stays.")
            else:
                self.initial[name] = None

    def clean(self):
        super().clean()
        for name, objects in self.hidden.items():
            if self._is_many(name):
                self.cleaned_data[name] = [*self.cleaned_data.get(name, ()), *objects]
            elif name not in self.errors and not self.cleaned_data.get(name):
                self.cleaned_data[name] = objects[0]
        return self.cleaned_data

    def _is_many(self, name):
        return hasattr(getattr(self.instance, name), "all")

    def _find_hidden(self):
        request = current_request.get()
        if not self.instance.pk or request is None or request.user is None or request.user.is_superuser:
            return {}
        hidden = {}
        for name, field in self.fields.items():
            if not hasattr(field, "queryset") or getattr(self.instance, name, None) is None:
                continue
            value = getattr(self.instance, name)
            objects = list(value.all()) if self._is_many(name) else [value]
            viewed, has_more = get_viewed(objects, request.user)
            if has_more:
                hidden[name] = [one for one in objects if one not in viewed]
        return hidden


class ServiceFormMixin:
    """
    Saves a model form through the services, so that a page does what REST does.

    Attributes:
        service_fields: The form's fields that the service takes under the same name.
    """

    service_fields = ()

    def save(self, commit=True):
        with abort_on_service_errors(self):
            instance = self.save_by_service(current_request.get().user, self.get_service_values())
        if "tags" in self.cleaned_data:
            instance.tags.set(self.cleaned_data["tags"])
        return instance

    def get_service_values(self):
        """Return what the service takes as keyword arguments. An import that updates has some of the fields only."""
        values = {name: self.cleaned_data[name] for name in self.service_fields if name in self.cleaned_data}
        values["custom_field_data"] = self.instance.custom_field_data
        values["changelog_message"] = self.instance._changelog_message
        return values

    def save_by_service(self, user, values):
        """Create or update the form's instance and return it."""
        raise NotImplementedError
