"""Errors of services name the conflicting object only to users who may view it."""

import pytest
from django.core.exceptions import ValidationError

from ipam.models import VLAN, Prefix
from netbox_vlan_manager.models import Segment
from netbox_vlan_manager.services import allocate, create_segment, update_pool, update_segment
from tests.factories import make_pool, make_segment, make_user, permit

pytestmark = pytest.mark.django_db


@pytest.fixture
def pool():
    pool = make_pool(segments=1)
    vlan = VLAN.objects.create(group=pool.vlan_group, vid=200, name="EPG_secret")
    Prefix.objects.create(vrf=pool.vrf, prefix="10.0.9.0/24", vlan=vlan)
    return pool


@pytest.mark.parametrize(
    ("vid", "epg_name", "prefix", "secret"),
    [
        (200, "EPG_new", "10.0.8.0/24", "EPG_secret"),
        (201, "EPG_secret", "10.0.8.0/24", "200"),
        (201, "EPG_new", "10.0.9.0/24", "EPG_secret"),
        (201, "EPG_new", "10.0.0.0/20", "10.0.0.0/24"),
    ],
)
def test_new_segment(pool, vid, epg_name, prefix, secret):
    for user, is_told in ((make_user("stranger"), False), (make_user("root", is_superuser=True), True)):
        with pytest.raises(ValidationError) as caught:
            create_segment(pool, user=user, vid=vid, epg_name=epg_name, prefix=prefix)
        assert (secret in str(caught.value)) is is_told


def test_allocated_segment_and_containers(pool):
    make_segment(pool, 101, 1)
    allocate("cluster", pool=pool, user="operator")
    segment = pool.segments.get(vid=100)
    stranger = make_user("stranger")
    viewer = permit(make_user("viewer"), Segment, "view")
    for user, is_told in ((stranger, False), (viewer, True)):
        with pytest.raises(Exception, match="is allocated") as caught:
            update_segment(segment, user=user, vid=300)
        assert ("EPG_100" in str(caught.value)) is is_told
        with pytest.raises(ValidationError) as caught:
            update_pool(pool, user=user, prefixes=["10.0.128.0/17"])
        assert ("such as 10.0." in str(caught.value)) is is_told
