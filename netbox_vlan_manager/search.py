from django.db.models import Q
from django.db.models.signals import post_save
from django.dispatch import receiver

from ipam.models import VLAN, Prefix
from netbox.search import FieldTypes, SearchIndex
from netbox.search.backends import search_backend

from . import wings
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
    """Finds a segment by its EPG name, which is the VLAN's name, its VLAN ID, its CIDR, or an address in it."""

    model = Segment
    fields = (
        ("vlan", 90),
        ("vid", 90),
        ("prefix", 100),
        ("ipv6_prefix", 100),
        ("description", 500),
        ("comments", 5000),
    )
    display_attrs = ("pool", "prefix", "ipv6_prefix", "status", "description")

    @staticmethod
    def get_field_type(instance, field_name):
        if field_name in ("prefix", "ipv6_prefix"):
            return FieldTypes.CIDR
        return SearchIndex.get_field_type(instance, field_name)

    @staticmethod
    def get_field_value(instance, field_name):
        return instance.epg_name if field_name == "vlan" else SearchIndex.get_field_value(instance, field_name)


indexes = (SegmentPoolIndex, SegmentIndex, *wings.collect("search.indexes"))


@receiver(post_save, sender=VLAN)
@receiver(post_save, sender=Prefix)
def index_segment(sender, instance, created, update_fields=None, using=None, **kwargs):
    """Index a segment again when its VLAN or prefix is edited: they have the EPG name and the CIDR."""
    if created or (update_fields is not None and not {"name", "prefix"}.intersection(update_fields)):
        return
    uses = Q(vlan=instance.pk) if sender is VLAN else Q(prefix=instance.pk) | Q(ipv6_prefix=instance.pk)
    if segment := Segment.objects.filter(uses).order_by().first():
        search_backend.caching_handler(Segment, segment, created=False, using=using)
