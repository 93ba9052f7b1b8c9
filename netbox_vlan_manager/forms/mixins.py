from django import forms
from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from dcim.models import Location, Region, Site, SiteGroup
from ipam.models import VRF, VLANGroup
from netbox.context import current_request
from utilities.forms import restrict_form_fields
from utilities.forms.fields import DynamicModelMultipleChoiceField
from utilities.forms.widgets import DateTimePicker

from ..filters import MomentField, NetworkField
from ..models.deletion import get_viewed
from .errors import abort_on_service_errors

__all__ = (
    "HeldAtFilterForm",
    "KeepHiddenMixin",
    "NamedColumnsMixin",
    "PlaceFilterForm",
    "RestrictedFilterMixin",
    "ServiceFormMixin",
)


# The attributes by which a column of an import may name an object.
NAMES = ("id", "name", "slug", "rd")


class NamedColumnsMixin:
    """
    Extends an import form: columns name an object by its id, name, slug or RD only, as in `vrf.rd`.

    NetBox takes any lookup in a header, also through relations to other objects.
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
    """Extends NetBox's filter forms, which name any object in the URL: here, only objects that the user may view."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if request := current_request.get():
            saved_filters = self.fields["filter_id"].queryset
            restrict_form_fields(self, request.user)
            # Saved filters that other users share need no permission.
            self.fields["filter_id"].queryset = saved_filters
            for field in self.fields.values():
                # NetBox has wrapped the field's widget, which keeps the unrestricted choices.
                if hasattr(field, "queryset") and hasattr(field.widget, "original_widget"):
                    field.widget.original_widget.choices = field.choices


class HeldAtFilterForm(forms.Form):
    held_at = MomentField(
        label=gettext_lazy("Held at"),
        required=False,
        widget=DateTimePicker(),
    )

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.fields["held_at"].help_text = _("In the time zone {zone}; a date alone is the start of that day").format(
            zone=timezone.get_current_timezone_name()
        )


class PlaceFilterForm(forms.Form):
    """The filters by VRF, VLAN group, prefix and place, which pools, segments and allocations have in common."""

    vrf_id = DynamicModelMultipleChoiceField(
        label=gettext_lazy("VRF"),
        queryset=VRF.objects.all(),
        required=False,
    )
    vlan_group_id = DynamicModelMultipleChoiceField(
        label=gettext_lazy("VLAN group"),
        queryset=VLANGroup.objects.all(),
        required=False,
    )
    within_include = NetworkField(
        label=gettext_lazy("Search within"),
        required=False,
        widget=forms.TextInput(attrs={"placeholder": gettext_lazy("Prefix")}),
    )
    contains = NetworkField(
        label=gettext_lazy("Contains"),
        required=False,
        widget=forms.TextInput(attrs={"placeholder": gettext_lazy("Prefix or IP")}),
    )
    region_id = DynamicModelMultipleChoiceField(
        label=gettext_lazy("Region"),
        queryset=Region.objects.all(),
        required=False,
    )
    site_group_id = DynamicModelMultipleChoiceField(
        label=gettext_lazy("Site group"),
        queryset=SiteGroup.objects.all(),
        required=False,
    )
    site_id = DynamicModelMultipleChoiceField(
        label=gettext_lazy("Site"),
        queryset=Site.objects.all(),
        required=False,
        query_params={"region_id": "$region_id", "group_id": "$site_group_id"},
    )
    location_id = DynamicModelMultipleChoiceField(
        label=gettext_lazy("Location"),
        queryset=Location.objects.all(),
        required=False,
        query_params={"site_id": "$site_id"},
    )


class KeepHiddenMixin:
    """
    Extends a model form: related objects that the user may not view stay.

    NetBox does not offer them as choices, and would remove them because they are not chosen.

    Attributes:
        hidden: {field name: related objects of the instance that the user may not view}
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.hidden = self._find_hidden()
        for name in self.hidden:
            field = self.fields[name]
            field.required = False
            field.help_text = _("A value that you may not view is not shown; it stays unless you choose another one.")
            if self._is_many(name):
                field.help_text = _("Values that you may not view are not shown, and stay.")
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
    Extends a model form: saves through the services, so that pages follow the same rules as REST.

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
        """Return the keyword arguments of the service. An import that updates has some of the fields only."""
        values = {name: self.cleaned_data[name] for name in self.service_fields if name in self.cleaned_data}
        values["custom_field_data"] = self.instance.custom_field_data
        values["changelog_message"] = self.instance._changelog_message
        return values

    def save_by_service(self, user, values):
        """Create or update the form's instance and return it."""
        raise NotImplementedError
