"""Helpers of the tests of edits in NetBox: its pages and REST API, scripts, and the state of all objects."""

from django.contrib.messages import get_messages
from django.db import connection, transaction
from django.urls import reverse

from core.models import ObjectChange
from dcim.models import Location, Region, SiteGroup
from ipam.models import VLAN, Prefix, VLANGroup
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool
from tests.drift import find_drift
from tests.factories import make_site
from utilities.exceptions import AbortRequest


class REST:
    """NetBox's REST API."""

    def __init__(self, client):
        self.client = client

    def edit(self, instance, **values):
        """Change `instance`; return {field or "detail": texts} if NetBox refuses."""
        response = self.client.patch(self._url(instance), values, content_type="application/json")
        assert response.status_code in (200, 400), response.content
        return response.json() if response.status_code == 400 else {}

    def delete(self, instance):
        """Delete `instance`; return the text of the refusal, or "" after a success."""
        response = self.client.delete(self._url(instance))
        assert response.status_code in (204, 400, 409), response.content
        return response.json()["detail"] if response.content else ""

    def _url(self, instance):
        return reverse(f"{instance._meta.app_label}-api:{instance._meta.model_name}-detail", args=[instance.pk])


class Pages:
    """NetBox's web pages."""

    # Required fields of each form.
    FORMS = {
        VLAN: lambda vlan: {"vid": vlan.vid, "name": vlan.name, "group": vlan.group_id or "", "status": vlan.status},
        Prefix: lambda prefix: {
            "prefix": str(prefix.prefix),
            "vrf": prefix.vrf_id or "",
            "vlan": prefix.vlan_id or "",
            "status": prefix.status,
        },
        VLANGroup: lambda group: {"name": group.name, "slug": group.slug, "vid_ranges": group.vid_ranges_list},
    }

    def __init__(self, client):
        self.client = client

    def edit(self, instance, **values):
        instance.refresh_from_db()
        if "vid_ranges" in values:
            values["vid_ranges"] = ",".join(f"{first}-{last}" for first, last in values["vid_ranges"])
        data = self.FORMS[type(instance)](instance) | {name: "" if v is None else v for name, v in values.items()}
        response = self.client.post(self._url(instance, "edit"), data)
        return {} if response.status_code == 302 else dict(response.context["form"].errors)

    def delete(self, instance):
        response = self.client.post(self._url(instance, "delete"), {"confirm": True})
        assert response.status_code == 302
        message = str(list(get_messages(response.wsgi_request))[-1])
        return "" if message.startswith("Deleted") else message

    def _url(self, instance, action):
        return reverse(f"{instance._meta.app_label}:{instance._meta.model_name}_{action}", args=[instance.pk])


def save(instance, **values):
    """Change `instance` with a bare save(), as a script does, and return the text of the refusal, or ""."""
    instance = type(instance).objects.get(pk=instance.pk)
    for name, value in values.items():
        setattr(instance, name, value)
    try:
        with transaction.atomic():
            instance.save()
    except AbortRequest as error:
        return error.message
    return ""


def state():
    """Return all values of segments, allocations, their VLANs and prefixes, and the change log."""
    return [
        list(model.objects.order_by("pk").values())
        for model in (SegmentPool, Segment, Allocation, VLAN, Prefix, VLANGroup, ObjectChange)
    ] + [list(SegmentPool.prefixes.through.objects.order_by("pk").values())]


def check_unchanged(before):
    """Check that nothing was written since `state` returned `before`."""
    assert state() == before
    connection.check_constraints()
    assert find_drift() == []


def nested_places():
    """Return {name: place}: a location in a site in a site group and a region, each inside another of its kind."""
    outer_region = Region.objects.create(name="Country", slug="country")
    region = Region.objects.create(name="City", slug="city", parent=outer_region)
    outer_group = SiteGroup.objects.create(name="Company", slug="company")
    group = SiteGroup.objects.create(name="Branch", slug="branch", parent=outer_group)
    site = make_site("Campus", region=region, group=group)
    hall = Location.objects.create(name="Hall", slug="hall", site=site)
    room = Location.objects.create(name="Room", slug="room", site=site, parent=hall)
    places = (outer_region, region, outer_group, group, site, hall, room)
    return {place.name.lower(): place for place in places}
