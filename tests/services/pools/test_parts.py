"""The objects that are made with a pool get valid, free names and slugs, for all names of VRFs and places."""

import pytest
from django.core.exceptions import ValidationError
from django.db import transaction

from dcim.models import Location
from extras.validators import CustomValidator
from ipam.models import VRF, VLANGroup
from netbox_vlan_manager.models import SegmentPool
from netbox_vlan_manager.services import create_pool
from tests.api.base import client_of, url_of
from tests.drift import find_drift
from tests.factories import make_site, make_user, make_vrf

pytestmark = pytest.mark.django_db

NAMES = [
    ("生产网", "上海机房"),
    ("Производство", "Москва"),
    ("إنتاج", "دبي"),
    ("🚀", "🏢🏢"),
    ("Ελλάδα", "ไทย"),
    ("日本 prod", "東京 DC1"),
    ("ñandú", "Zürich"),
    ("x" * 100, "y" * 100),
    ("生" * 100, "上" * 100),
    ("-", "_"),
    ("a/b", "c:d"),
    ("...", "!!!"),
]


@pytest.fixture
def user():
    return make_user("alice", is_superuser=True)


@pytest.mark.parametrize(("vrf", "site"), NAMES)
def test_names_of_all_scripts(user, vrf, site):
    site = make_site(site, slug="site-1")
    body = {"vrf": make_vrf(vrf).pk, "scope_type": "dcim.site", "scope_id": site.pk, "prefixes": ["10.0.0.0/16"]}
    answer = client_of(user).post(url_of("segmentpool-list"), body, format="json")
    assert answer.status_code == 201, answer.json()
    pool = SegmentPool.objects.get()
    assert pool.slug
    assert pool.vlan_group.slug
    pool.full_clean()
    pool.vlan_group.full_clean()
    assert find_drift() == []


@pytest.mark.parametrize(("vrf", "site"), [*NAMES, ("Dup", "Site1")])
@pytest.mark.parametrize("rds", [("65000:1", "65000:2", None), (None, None, None)])
def test_vrfs_of_one_name_at_one_place(user, vrf, site, rds):
    site = make_site(site, slug="site-1")
    pools = [
        create_pool(user=user, vrf=VRF.objects.create(name=vrf, rd=rd), scope=site, prefixes=["10.0.0.0/16"])
        for rd in rds
    ]
    for name in ("name", "slug"):
        assert len({getattr(pool, name) for pool in pools}) == 3
        assert len({getattr(pool.vlan_group, name) for pool in pools}) == 3
    assert len({pool.vlan_group_id for pool in pools}) == 3


def test_rd_is_in_the_name_of_the_second(user):
    pools = [
        create_pool(user=user, vrf=VRF.objects.create(name="Dup", rd=rd), scope=make_site(), prefixes=["10.0.0.0/16"])
        for rd in ("65000:1", "65000:2")
    ]
    assert [pool.name for pool in pools] == ["Dup Site1", "Dup Site1 (65000:2)"]
    assert [pool.vlan_group.name for pool in pools] == ["Dup-Site1", "Dup-Site1 (65000:2)"]


def test_places_of_one_name(user):
    pools = []
    for number in range(2):
        site = make_site(f"S{number}")
        hall = Location.objects.create(name="Hall", slug="hall", site=site)
        pools.append(create_pool(user=user, vrf=make_vrf(), scope=hall, prefixes=[f"10.{number}.0.0/16"]))
    assert len({pool.slug for pool in pools}) == len({pool.name for pool in pools}) == 2
    assert [pool.vlan_group.name for pool in pools] == ["Network1-Hall"] * 2
    assert pools[0].vlan_group != pools[1].vlan_group


def test_group_that_is_there_is_taken_unless_another_vrf_has_it(user):
    site = make_site()
    group = VLANGroup.objects.create(name="Network1-Site1", slug="taken", scope=site)
    pool = create_pool(user=user, vrf=make_vrf(), scope=site, prefixes=["10.0.0.0/16"])
    assert pool.vlan_group == group


def test_slugs_that_are_taken(user):
    site = make_site()
    VLANGroup.objects.create(name="Something else", slug="network1-site1", scope=site)
    pool = create_pool(user=user, vrf=make_vrf(), scope=site, prefixes=["10.0.0.0/16"])
    assert pool.vlan_group.slug.startswith("network1-site1-vrf-")
    SegmentPool.objects.update(name="Something else", slug="network1-site2")
    other = create_pool(user=user, vrf=make_vrf(), scope=make_site("Site2"), prefixes=["10.1.0.0/16"])
    assert other.slug.startswith("network1-site2-vrf-")


class Refusing(CustomValidator):
    def validate(self, instance, request=None):
        self.fail("Ask the network team.", field="name")


def test_netboxs_refusal_is_an_error_of_the_right_field(user, settings):
    vrf, site = make_vrf(), make_site()
    for model, field in (("ipam.vlangroup", "vlan_group"), ("ipam.prefix", "prefixes")):
        settings.CUSTOM_VALIDATORS = {model: ["tests.services.pools.test_parts.Refusing"]}
        with pytest.raises(ValidationError) as error, transaction.atomic():
            create_pool(user=user, vrf=vrf, scope=site, prefixes=["10.0.0.0/16"])
        assert error.value.message_dict == {field: ["Ask the network team."]}


def test_a_slug_that_somebody_gives_is_theirs(user):
    with pytest.raises(ValidationError) as error:
        create_pool(user=user, vrf=make_vrf(), scope=make_site(), prefixes=["10.0.0.0/16"], slug="上海")
    assert list(error.value.message_dict) == ["slug"]
