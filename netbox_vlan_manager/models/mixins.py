from django.db import models
from django.urls import reverse

from utilities.data import normalize_update_fields

from .deletion import protect

__all__ = ("HelpPageMixin", "HotColumnsMixin", "OwnedMixin")


class HelpPageMixin:
    """Links NetBox's help button to the plugin's help page: NetBox's own documentation does not have plugins."""

    @property
    def docs_url(self):
        return f"{reverse('plugins:netbox_vlan_manager:help')}#{self._meta.model_name}"


class HotColumnsMixin:
    """
    Keeps a plain save() of an existing row from writing its hot columns.

    Django's save() writes every column: a form or PATCH that read the row before an allocation was committed would
    undo the allocation. Only a save() that names a hot column in `update_fields` writes it.
    """

    hot_columns = ()

    def save(self, *args, **kwargs):
        if not self._state.adding and normalize_update_fields(kwargs) is None:
            kwargs["update_fields"] = [
                field.name
                for field in self._meta.concrete_fields
                if not field.primary_key and field.name not in self.hot_columns
            ]
        super().save(*args, **kwargs)


class OwnedMixin(models.Model):
    """Protects the owner from deletion as NetBox does; the error names only objects that the user may view."""

    owner = models.ForeignKey(
        to="users.Owner",
        on_delete=protect,
        related_name="+",
        blank=True,
        null=True,
    )

    class Meta:
        abstract = True
