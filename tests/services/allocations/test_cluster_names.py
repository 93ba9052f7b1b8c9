"""All code compares cluster names as the unique index does, by PostgreSQL's UPPER()."""

# ruff: noqa: RUF001

import sys
import unicodedata

import pytest
from django.core.exceptions import ValidationError
from django.db import connection

from ipam.models import VLAN, Prefix
from netbox_vlan_manager.models import Allocation, Segment
from netbox_vlan_manager.services import allocate, release, set_clusters, share
from netbox_vlan_manager.services.allocations.recording import find_clusters
from netbox_vlan_manager.services.base.cluster_keys import cluster_key, cluster_keys
from netbox_vlan_manager.services.base.transactions import _cluster_number
from netbox_vlan_manager.services.onboarding.adoption import Decision, adopt
from netbox_vlan_manager.services.onboarding.importing import import_segments
from netbox_vlan_manager.validators import clean_cluster_name
from tests.drift import find_drift
from tests.factories import make_pool, make_user
from virtualization.models import Cluster, ClusterType

pytestmark = pytest.mark.django_db

PAIRS = [
    ("prod", "PROD"),
    ("prod", "dev"),
    ("straße", "STRASSE"),
    ("straße", "STRAẞE"),
    ("straße", "STRAßE"),
    ("ﬁ", "FI"),
    ("i", "İ"),
    ("I", "ı"),
    ("ΟΔΟΣ", "οδος"),
    ("οδος", "οδοσ"),
    ("ſ", "S"),
    ("µ", "Μ"),
    ("ǆ", "ǅ"),
    ("ÿ", "Ÿ"),
    ("ᾳ", "ΑΙ"),
    ("é", "E\u0301"),
    ("\u0149", "ʼN"),
]


@pytest.fixture(params=PAIRS, ids=["-".join(pair) for pair in PAIRS])
def pair(request):
    """Two names, and whether the database takes them for the same."""
    one, other = request.param
    with connection.cursor() as cursor:
        cursor.execute("SELECT upper(%s) = upper(%s)", [clean_cluster_name(one), clean_cluster_name(other)])
        (is_same,) = cursor.fetchone()
    return one, other, is_same


@pytest.fixture
def pool():
    return make_pool(segments=3)


def keys_of(pool):
    names = Allocation.objects.active().filter(pool=pool).values_list("cluster_name", flat=True)
    return sorted(names)


def test_asked_again(pool, pair):
    one, other, is_same = pair
    allocate(one, pool=pool, user=make_user())
    assert allocate(other, pool=pool, user=make_user()).created is not is_same
    assert find_drift() == []
    release(other, pool=pool, user=make_user())
    assert len(keys_of(pool)) == (0 if is_same else 1)


def test_set_of_clusters(pool, pair):
    one, other, is_same = pair
    allocate(one, pool=pool, user=make_user())
    segment = Segment.objects.get(status="allocated")
    (result,) = set_clusters(segment, [other], user=make_user())
    assert result.created is not is_same
    assert keys_of(pool) == [clean_cluster_name(one if is_same else other)]


def test_named_twice(pool, pair):
    one, other, is_same = pair
    segment = Segment.objects.get(vid=102)
    if is_same:
        with pytest.raises(ValidationError, match="named twice"):
            set_clusters(segment, [one, other], user=make_user())
    else:
        assert len(set_clusters(segment, [one, other], user=make_user())) == 2


def test_share(pool, pair):
    one, other, is_same = pair
    segment = allocate(one, pool=pool, user=make_user()).allocation.segment
    assert share(segment, other, user=make_user()).created is not is_same


def test_import(pool, pair):
    one, other, is_same = pair
    allocate(one, pool=pool, user=make_user(), vid=100)
    row = {"site": "Site1", "vrf": "Network1", "vlan_id": 100, "epg_name": "EPG_100", "segment": "10.0.0.0/24"}
    for names, expected in (
        (other, "unchanged" if is_same else "failed"),
        (f"{one},{other}", "unchanged" if is_same else "updated"),
    ):
        result = import_segments([(None, {**row, "cluster_name": names})], user="operator", enforce=False)
        assert result.results[0].status == expected, result.results[0]
    assert find_drift() == []


def test_adopt(pool, pair):
    one, other, is_same = pair
    allocate(one, pool=pool, user=make_user())
    vlan = VLAN.objects.create(group=pool.vlan_group, vid=110, name="web")
    Prefix.objects.create(prefix="10.0.10.0/24", vrf=pool.vrf, vlan=vlan)
    decision = Decision(cluster_name=other)
    result = adopt(pool, user="operator", enforce=False, decisions={None: decision})
    assert (result.adopted, result.failed) == ((0, 1) if is_same else (1, 0))


def test_link(pool, pair):
    one, other, is_same = pair
    kind = ClusterType.objects.create(name="K", slug="k")
    cluster = Cluster.objects.create(name=clean_cluster_name(one), type=kind)
    assert find_clusters([clean_cluster_name(other)]) == (
        {cluster_key(clean_cluster_name(other)): cluster.pk} if is_same else {}
    )


def test_statements(django_assert_num_queries):
    names = [f"straße-{number}" for number in range(100)]
    with django_assert_num_queries(1):
        keys = cluster_keys(names)
    assert len(keys) == 100
    with django_assert_num_queries(0):
        assert cluster_keys(names[:2]) == {name: keys[name] for name in names[:2]}
        assert cluster_key(names[0]) == keys[names[0]]
        assert cluster_keys([]) == {}


def test_names_that_are_one_take_turns():
    """Python makes the lock key without a query: different names may share a key, but equal names never differ."""
    letters = [
        chr(code) for code in range(1, sys.maxunicode) if unicodedata.category(chr(code)) not in ("Cs", "Cn", "Cc")
    ]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT upper(letter), array_agg(letter) FROM unnest(%s::text[]) AS letter GROUP BY 1", [letters]
        )
        groups = [same for _upper, same in cursor.fetchall() if len(same) > 1]
    assert len(groups) > 1000
    for same in groups:
        assert len({_cluster_number(1, letter, "") for letter in same}) == 1, same
