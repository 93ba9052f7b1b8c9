"""No successful call of the plugin or edit in NetBox causes drift."""

import os

import pytest
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import ProtectedError
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from netaddr import IPNetwork

from dcim.models import Region, Site, SiteGroup
from ipam.models import VLAN, VRF, IPAddress, Prefix, VLANGroup
from netbox_vlan_manager.choices import DriftSeverityChoices
from netbox_vlan_manager.exceptions import VLANManagerError
from netbox_vlan_manager.models import Segment, SegmentPool
from netbox_vlan_manager.services import (
    allocate,
    create_segment,
    delete_segment,
    disable_segment,
    enable_segment,
    generate_segments,
    release,
    share,
    update_pool,
    update_segment,
)
from netbox_vlan_manager.services.onboarding.adoption import Decision, adopt
from netbox_vlan_manager.services.onboarding.importing import import_segments
from netbox_vlan_manager.services.pools.merging import merge_pool
from netbox_vlan_manager.services.pools.resizing import resize_pool
from netbox_vlan_manager.services.pools.retiring import retire_pool
from tests.api.base import client_of
from tests.drift import find_drift
from tests.factories import make_pool, make_user
from utilities.exceptions import AbortRequest

pytestmark = pytest.mark.django_db

# A longer run: PROPERTY_EXAMPLES=2000 pytest tests/property/test_no_drift.py
EXAMPLES = int(os.environ.get("PROPERTY_EXAMPLES", 40))
USER = "operator"
POOLS = ("Network1 Site1", "Network1 Site2")
REFUSALS = (ValidationError, VLANManagerError, AbortRequest, ProtectedError)


def pool_of(number):
    return SegmentPool.objects.select_related("vrf", "vlan_group").get(name=POOLS[number])


def some(model, number, **filters):
    """Return one of the objects, the same for the same number."""
    found = list(model.objects.filter(**filters).order_by("pk"))
    if not found:
        raise ValidationError("There is none")
    return found[number % len(found)]


class Refused(Exception):
    pass


class Caller:
    """The operations of callers of the services, and of users of NetBox's REST API."""

    def __init__(self):
        self.client = client_of(make_user("root", is_superuser=True))

    def create(self, pool, vid, name, network, ipv6, status):
        asked = {"vid": vid, "epg_name": name, "prefix": network, "ipv6_prefix": ipv6, "status": status}
        create_segment(pool_of(pool), user=USER, **asked)

    def import_(self, pool, vid, name, network, cluster):
        row = {"site": f"Site{pool + 1}", "vrf": "Network1", "vlan_id": vid, "epg_name": name, "segment": network}
        row |= {"cluster_name": cluster} if cluster else {}
        import_segments([(None, row)], user=USER, enforce=False)

    def generate(self, pool, count, length):
        generate_segments(pool_of(pool), user=USER, count=count, prefix_length=length, enforce=False)

    def adopt(self, pool, status, cluster):
        decision = Decision(cluster_name=cluster) if cluster else Decision(status)
        adopt(pool_of(pool), user=USER, enforce=False, decisions={None: decision})

    def patch(self, number, values):
        update_segment(some(Segment, number), user=USER, **values)

    def allocate(self, pool, cluster):
        allocate(cluster, pool=pool_of(pool), user=USER)

    def release(self, pool, cluster):
        release(cluster, pool=pool_of(pool), user=USER)

    def share(self, number, cluster):
        share(some(Segment, number), cluster, user=USER)

    def disable(self, number):
        disable_segment(some(Segment, number), user=USER)

    def enable(self, number):
        enable_segment(some(Segment, number), user=USER)

    def delete(self, number):
        delete_segment(some(Segment, number), user=USER)

    def configure(self, pool, values):
        update_pool(pool_of(pool), user=USER, **values)

    def resize(self, pool, ranges, prefixes, remove):
        resize_pool(pool_of(pool), user=USER, vid_ranges=ranges, prefixes=prefixes, remove_segments=remove)

    def merge(self, pool):
        merge_pool(pool_of(pool), pool_of(1 - pool), user=USER)

    def retire(self, pool):
        retire_pool(pool_of(pool), user=USER)

    def netbox_prefix(self, network, status, number, is_in_vrf):
        vlan = some(VLAN, number).pk if number is not None else None
        vrf = VRF.objects.get(name="Network1").pk if is_in_vrf else None
        self.send("post", "ipam/prefixes/", {"prefix": network, "status": status, "vlan": vlan, "vrf": vrf})

    def netbox_vlan(self, vid, name, status, pool):
        group = pool_of(pool).vlan_group_id
        self.send("post", "ipam/vlans/", {"vid": vid, "name": name, "status": status, "group": group})

    def netbox_address(self, network):
        address = IPNetwork(network)
        vrf = VRF.objects.get(name="Network1")
        IPAddress.objects.create(address=f"{address.ip + 5}/{address.prefixlen}", vrf=vrf)

    def edit_prefix(self, number, values):
        values = {**values, **({"vrf": VRF.objects.get(name="Network1").pk} if values.get("vrf") else {})}
        self.send("patch", f"ipam/prefixes/{some(Prefix, number).pk}/", values)

    def edit_vlan(self, number, values):
        if "group" in values:
            values = {**values, "group": some(VLANGroup, values["group"]).pk}
        self.send("patch", f"ipam/vlans/{some(VLAN, number).pk}/", values)

    def edit_ranges(self, pool, ranges):
        ranges = [[first, last + 1] for first, last in ranges]
        self.send("patch", f"ipam/vlan-groups/{pool_of(pool).vlan_group_id}/", {"vid_ranges": ranges})

    def edit_site(self, number, values):
        model = {"group": SiteGroup, "region": Region}
        values = {name: some(model[name], 0).pk if value else None for name, value in values.items()}
        self.send("patch", f"dcim/sites/{some(Site, number).pk}/", values)

    def delete_prefix(self, number):
        self.send("delete", f"ipam/prefixes/{some(Prefix, number).pk}/", None)

    def delete_vlan(self, number):
        self.send("delete", f"ipam/vlans/{some(VLAN, number).pk}/", None)

    def send(self, method, path, data):
        response = getattr(self.client, method)(f"/api/{path}", data, format="json")
        assert response.status_code < 500, response.content
        if response.status_code >= 400:
            raise Refused(response.content)


pools = st.sampled_from((0, 1))
numbers = st.integers(0, 11)
vids = st.sampled_from((100, 101, 102, 103, 200))
names = st.sampled_from(("EPG_100", "EPG_101", "web", "no EPG"))
networks = st.sampled_from(
    (
        "10.0.0.0/24",
        "10.0.1.0/24",
        "10.0.0.0/23",
        "10.0.0.0/26",
        "10.0.0.0/16",
        "10.1.0.0/24",
        "10.1.0.0/25",
        "10.9.0.0/24",
    )
)
ipv6_networks = st.sampled_from(("2001:db8:0:1::/64", "2001:db8:0:2::/64", "2001:db8::/48"))
either = st.one_of(networks, ipv6_networks)
clusters = st.sampled_from(("a", "A", "straße", "STRASSE"))
statuses = st.sampled_from(("active", "active", "reserved", "deprecated", "container"))
vlan_statuses = st.sampled_from(("active", "reserved", "deprecated"))
decided = st.sampled_from(("", "", "available", "disabled"))
ranges = st.sampled_from((((100, 103),), ((101, 102),), ((100, 999),), ((100, 100), (102, 200))))


def maybe(strategy):
    return st.one_of(st.none(), strategy)


def call(name, /, **strategies):
    return st.tuples(st.just(name), st.fixed_dictionaries(strategies))


def some_of(**strategies):
    return st.fixed_dictionaries({}, optional=strategies)


calls = st.one_of(
    call("create", pool=pools, vid=vids, name=names, network=either, ipv6=maybe(ipv6_networks), status=decided),
    call("import_", pool=pools, vid=vids, name=names, network=either, cluster=maybe(clusters)),
    call("generate", pool=pools, count=st.integers(1, 3), length=st.sampled_from((24, 26))),
    call("adopt", pool=pools, status=decided, cluster=maybe(clusters)),
    call("adopt", pool=pools, status=st.just(""), cluster=st.none()),
    call(
        "patch",
        number=numbers,
        values=some_of(vid=vids, epg_name=names, prefix=either, ipv6_prefix=maybe(ipv6_networks)),
    ),
    call("allocate", pool=pools, cluster=clusters),
    call("allocate", pool=pools, cluster=clusters),
    call("release", pool=pools, cluster=clusters),
    call("share", number=numbers, cluster=clusters),
    call("disable", number=numbers),
    call("enable", number=numbers),
    call("delete", number=numbers),
    call(
        "configure",
        pool=pools,
        values=some_of(
            auto_grow=st.booleans(),
            grow_prefix_length=st.sampled_from((24, 26)),
            cooldown=st.sampled_from((0, 60)),
            prefixes=st.lists(either, min_size=1, max_size=2),
        ),
    ),
    call(
        "resize", pool=pools, ranges=maybe(ranges), prefixes=maybe(st.lists(either, min_size=1)), remove=st.booleans()
    ),
    call("merge", pool=pools),
    call("retire", pool=pools),
    call("netbox_prefix", network=either, status=statuses, number=maybe(numbers), is_in_vrf=st.booleans()),
    call("netbox_prefix", network=either, status=statuses, number=maybe(numbers), is_in_vrf=st.just(True)),
    call("netbox_vlan", vid=vids, name=names, status=vlan_statuses, pool=pools),
    call("netbox_address", network=either),
    call(
        "edit_prefix",
        number=numbers,
        values=some_of(prefix=either, status=statuses, vlan=st.none(), vrf=maybe(st.just(1))),
    ),
    call("edit_vlan", number=numbers, values=some_of(vid=vids, name=names, status=vlan_statuses, group=numbers)),
    call("edit_ranges", pool=pools, ranges=ranges),
    call("edit_site", number=numbers, values=some_of(group=st.booleans(), region=st.booleans())),
    call("delete_prefix", number=numbers),
    call("delete_vlan", number=numbers),
)


@pytest.fixture
def caller():
    SiteGroup.objects.create(name="Group", slug="group")
    Region.objects.create(name="Region", slug="region")
    one = make_pool(container="10.0.0.0/16", vid_ranges=((100, 103),), segments=2)
    update_pool(one, user=USER, prefixes=[*one.prefixes.all(), "2001:db8::/48"])
    make_pool(scope="Site2", container="10.1.0.0/16", vid_ranges=((100, 103),))
    return Caller()


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize="PROPERTY_EXAMPLES" not in os.environ,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)
@given(is_unique=st.booleans(), drawn=st.lists(calls, min_size=4, max_size=12))
def test_what_succeeds_is_no_drift(caller, is_unique, drawn):
    with transaction.atomic():
        VRF.objects.update(enforce_unique=is_unique)
        done = []
        for name, arguments in drawn:
            try:
                with transaction.atomic():
                    getattr(caller, name)(**arguments)
            except (Refused, SegmentPool.DoesNotExist, *REFUSALS):
                continue
            done.append((name, arguments))
            found = [drift for drift in find_drift() if drift.severity != DriftSeverityChoices.INFO]
            assert not found, (done, [f"{drift.kind}: {drift.message}" for drift in found])
        transaction.set_rollback(True)
