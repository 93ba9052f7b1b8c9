"""EPG names from every source have only characters that Cisco ACI accepts, or those of the setting."""

import pytest
from django.core.exceptions import ValidationError

from ipam.models import VLAN, Prefix
from netbox_vlan_manager.models import Segment
from netbox_vlan_manager.services import create_segment, generate_segments, update_pool, update_segment
from netbox_vlan_manager.services.onboarding.adoption import adopt
from netbox_vlan_manager.services.onboarding.importing import import_segments
from tests.drift import find_drift
from tests.factories import make_pool, make_site

pytestmark = pytest.mark.django_db

ROW = {"site": "Site1", "vrf": "Network1", "vlan_id": "100", "segment": "10.0.0.0/24"}


@pytest.fixture
def characters(settings):
    """A function that sets the characters of EPG names besides letters, digits and _."""

    def change(value):
        config = settings.PLUGINS_CONFIG["netbox_vlan_manager"]
        settings.PLUGINS_CONFIG = {"netbox_vlan_manager": {**config, "epg_name_characters": value}}

    return change


def create(pool, user, name):
    create_segment(pool, user=user, vid=100, epg_name=name, prefix="10.0.0.0/24")


def change(pool, user, name):
    segment = create_segment(pool, user=user, vid=100, epg_name="EPG_1", prefix="10.0.0.0/24")
    update_segment(segment, user=user, epg_name=name)


def bring(pool, user, name):
    (row,) = import_segments([(None, {**ROW, "epg_name": name})], user=user).results
    if row.errors:
        raise ValidationError(row.errors)


def take_over(pool, user, name):
    vlan = VLAN.objects.create(group=pool.vlan_group, vid=100, name=name)
    Prefix.objects.create(prefix="10.0.0.0/24", vrf=pool.vrf, vlan=vlan)
    adopt(pool, user=user)
    if not Segment.objects.exists():
        raise ValidationError("Not adopted")


def template(pool, user, name):
    generate_segments(pool, user=user, count=1, prefix_length=24, epg_template=f"{name}{{vid}}")


WAYS = (create, change, bring, take_over, template)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["10.1.1.0_24-Mgmt", "a:b", "-", ".", "x" * 61])
def test_names_that_aci_takes(pool, user, way, name):
    way(pool, user, name)
    assert VLAN.objects.get().name.startswith(name)
    assert find_drift() == []


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("allowed", "name"), [(".:-", "a/b"), (".:-", "a b"), ("-", "a.b"), ("", "a-b"), ("/", "a:b")])
def test_names_that_are_not_taken(pool, user, characters, way, allowed, name):
    characters(allowed)
    with pytest.raises(ValidationError):
        way(pool, user, name)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("allowed", "name"), [("-", "a-b"), ("", "a_b"), (".:-/", "a/b.c"), ("/", "a/b")])
def test_names_that_the_setting_takes(pool, user, characters, way, allowed, name):
    characters(allowed)
    way(pool, user, name)
    assert find_drift() == []


@pytest.mark.parametrize(
    ("allowed", "name"), [(".:-", "a_DC.1:2-3_b_100"), ("-", "a_DC_1_2-3_b_100"), ("", "a_DC_1_2_3_b_100")]
)
def test_what_no_name_may_have_becomes_an_underscore(user, characters, allowed, name):
    characters(allowed)
    pool = make_pool(scope=make_site("DC.1:2-3 b", slug="dc"))
    generate_segments(pool, user=user, count=1, prefix_length=24, epg_template="a_{site}_{vid}")
    assert VLAN.objects.get().name == name
    assert find_drift() == []


def test_drift_tells_of_names_that_the_setting_no_longer_takes(pool, user, characters):
    create(pool, user, "a.b")
    characters("")
    (drift,) = find_drift()
    assert (drift.kind, drift.repair) == ("epg_name_invalid", "Rename the VLAN to a_b.")
    # Other changes still work.
    update_segment(Segment.objects.get(), user=user, description="Ours")
    update_pool(pool, user=user, description="Ours")
