from django.db import models
from django.urls import reverse

from utilities.data import normalize_update_fields

from .deletion import protect

__all__ = ("HelpPageMixin", "HotColumnsMixin", "OwnedMixin")


class HelpPageMixin:
    """Has NetBox's help button lead to the plugin's help page: NetBox's own documentation knows no plugins."""

    @property
    def docs_url(self):
        return f"{reverse('plugins:netbox_vlan_manager:help')}#{self._meta.model_name}"


class HotColumnsMixin:
    """
    Keeps a plain save() of an existing row away from its hot columns.

    Django writes every column on save(), so that a form or PATCH which read the row before an allocation committed
    would undo it. Only a save() that names a hot column in `update_fields` writes it.
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
    """Keeps an owner of our objects from being deleted as NetBox does, but names these to no stranger."""

    owner = models.ForeignKey(
        to="users.Owner",
        on_delete=protect,
        related_name="+",
        blank=True,
        null=True,
    )

    class Meta:
        abstract = True
