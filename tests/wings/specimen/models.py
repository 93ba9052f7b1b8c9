from django.db import models
from django.urls import reverse

from netbox.models import NetBoxModel
from netbox_vlan_manager.models import Segment


class Specimen(NetBoxModel):
    """A note on a segment, which is deleted with it."""

    segment = models.ForeignKey(Segment, models.CASCADE, related_name="specimens")
    note = models.CharField(max_length=100)

    class Meta:
        ordering = ("pk",)

    def __str__(self):
        return self.note

    def get_absolute_url(self):
        return reverse("plugins:netbox_vlan_manager:specimens")
