from django.db.models.signals import post_save
from django.dispatch import receiver

from ipam.models import VLAN, Prefix
from netbox.search import FieldTypes, SearchIndex
from netbox.search.backends import search_backend

from .models import Segment, SegmentPool


class SegmentPoolIndex(SearchIndex):
    model = SegmentPool
    fields = (
        ("name", 100),
        ("slug", 110),
        ("description", 500),
        ("comments", 5000),
    )
    display_attrs = ("status", "vrf", "vlan_group", "tenant", "role", "description")


class SegmentIndex(SearchIndex):
    """A segment is found by its EPG name, which is its VLAN's, by its VLAN ID and by its CIDR or an address in it."""

    model = Segment
    fields = (
        ("vlan", 90),
        ("vid", 90),
        ("prefix", 100),
        ("description", 500),
        ("comments", 5000),
    )
    display_attrs = ("pool", "prefix", "status", "description")

    @staticmethod
    def get_field_type(instance, field_name):
        return FieldTypes.CIDR if field_name == "prefix" else SearchIndex.get_field_type(instance, field_name)

    @staticmethod
    def get_field_value(instance, field_name):
        return instance.epg_name if field_name == "vlan" else SearchIndex.get_field_value(instance, field_name)


indexes = (SegmentPoolIndex, SegmentIndex)


@receiver(post_save, sender=VLAN)
@receiver(post_save, sender=Prefix)
def index_segment(instance, created, update_fields=None, using=None, **kwargs):
    """What a segment is found by stands on its VLAN and prefix, which may be edited without it."""
    if created or (update_fields is not None and not {"name", "prefix"}.intersection(update_fields)):
        return
    if segment := Segment.objects.filter(**{instance._meta.model_name: instance.pk}).order_by().first():
        search_backend.caching_handler(Segment, segment, created=False, using=using)
