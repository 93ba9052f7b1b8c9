"""Makes the first generation's data in NetBox: VLAN groups, VLANs, and prefixes with custom fields."""

from dataclasses import dataclass, field
from itertools import cycle

from django.contrib.contenttypes.models import ContentType
from django.utils.text import slugify
from netaddr import IPNetwork

from core.models import ObjectType
from dcim.models import SiteGroup
from extras.models import CustomField
from ipam.models import VLAN, VRF, Prefix, Role, VLANGroup
from tenancy.models import Tenant


@dataclass
class World:
    """The prefixes, by the expected result of their migration."""

    available: list = field(default_factory=list)
    allocated: list = field(default_factory=list)
    shared: list = field(default_factory=list)
    disabled: list = field(default_factory=list)

    @property
    def good(self):
        return [*self.available, *self.allocated, *self.shared, *self.disabled]


def make_fields():
    """Make the custom fields of the first generation."""
    for name, kind in (("Cluster", "text"), ("DHCP", "boolean")):
        custom_field = CustomField.objects.get_or_create(name=name, defaults={"type": kind})[0]
        custom_field.object_types.add(ObjectType.objects.get_for_model(Prefix))


def name_group(vrf, site):
    """Return the name of the VLAN group of a VRF at a site."""
    return f"{vrf}-ClickCluster-{site}"


def make_group(vrf="Network1", site="Site1", container="10.0.0.0/16"):
    """Make a VRF, a site and their VLAN group, with a container prefix if wanted, and return the group."""
    vrf = VRF.objects.get_or_create(name=vrf)[0]
    scope = SiteGroup.objects.get_or_create(name=site, slug=slugify(site))[0]
    if container:
        Prefix.objects.get_or_create(prefix=IPNetwork(container), vrf=vrf, status="container")
    name = name_group(vrf, site)
    return VLANGroup.objects.create(name=name, slug=slugify(name), scope=scope)


def make_prefix(group, vid, network, *, cluster=None, dhcp=True, status=None, vlan_name=None, **fields):
    """Return a first-generation prefix, with a VLAN of its own unless one is given."""
    vrf_name, _infix, site = group.name.partition("-ClickCluster-")
    if "vlan" not in fields:
        fields["vlan"] = VLAN.objects.create(group=group, vid=vid, name=vlan_name or f"EPG_{vid}")
    return Prefix.objects.create(
        **{
            "prefix": IPNetwork(network),
            "vrf": VRF.objects.get(name=vrf_name),
            "scope": SiteGroup.objects.get(name=site),
            "status": status or ("reserved" if cluster else "active"),
            "custom_field_data": {"Cluster": cluster, "DHCP": dhcp},
            **fields,
        }
    )


def make_world(count=2000, vrfs=2, sites=2):
    """
    Return the World of a first generation with that many good prefixes; it has VRFs times sites pools.

    Of ten prefixes five are free, three held by one cluster each, one by two or three, and one reserved without any.
    """
    make_fields()
    world = World()
    tenant = Tenant.objects.get_or_create(name="Platform", slug="platform")[0]
    role = Role.objects.get_or_create(name="Cluster network", slug="cluster-network")[0]
    kinds = ("available",) * 5 + ("allocated",) * 3 + ("shared", "disabled")
    for vrf_number in range(vrfs):
        for site_number in range(sites):
            place = vrf_number * sites + site_number
            group = make_group(f"Network{vrf_number + 1}", f"Site{site_number + 1}", f"10.{place}.0.0/16")
            names = [f"EPG_Site{site_number + 1}_{vid}" for vid in range(100, 100 + count // (vrfs * sites))]
            vlans = VLAN.objects.bulk_create(
                [VLAN(group=group, vid=vid, name=name, tenant=tenant) for vid, name in enumerate(names, 100)]
            )
            prefixes = []
            for number, (vlan, kind) in enumerate(zip(vlans, cycle(kinds), strict=False)):
                cluster = {
                    "allocated": f"prod-{number}",
                    "shared": f"blue-{number}, green-{number}" + (f" ,red-{number}" if number % 20 > 9 else ""),
                }.get(kind)
                prefix = Prefix(
                    prefix=IPNetwork(f"10.{place}.{number // 2}.{number % 2 * 128}/25"),
                    vrf=VRF.objects.get(name=f"Network{vrf_number + 1}"),
                    scope_type=ContentType.objects.get_for_model(SiteGroup),
                    scope_id=group.scope_id,
                    _site_group_id=group.scope_id,
                    vlan=vlan,
                    tenant=tenant,
                    role=role,
                    status="active" if kind == "available" else "reserved",
                    description=f"Rack {number}" if number % 7 == 0 else "",
                    custom_field_data={"Cluster": cluster, "DHCP": number % 3 == 0},
                )
                prefixes.append(prefix)
                getattr(world, kind).append(prefix)
            Prefix.objects.bulk_create(prefixes)
    return world
