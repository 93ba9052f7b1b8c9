"""Pools and segments for tests, made through the services as a user would make them."""

import netaddr
from django.contrib.auth import get_user_model
from django.utils.text import slugify

from core.models import ObjectType
from dcim.models import Site
from ipam.models import VRF
from netbox_vlan_manager.services import create_pool, create_segment, generate_segments
from tests.recording import recorded
from users.models import ObjectPermission


def make_user(username="operator", **kwargs):
    return get_user_model().objects.get_or_create(username=username, defaults=kwargs)[0]


def make_site(name="Site1", **kwargs):
    return Site.objects.get_or_create(name=name, slug=slugify(name), defaults=kwargs)[0]


def make_vrf(name="Network1", **kwargs):
    return VRF.objects.get_or_create(name=name, defaults=kwargs)[0]


def make_pool(
    vrf="Network1", scope="Site1", *, segments=0, container="10.0.0.0/16", vid_ranges=((100, 999),), **fields
):
    """
    Return a pool with that many /24 segments: VLAN IDs from its first range on, EPG names EPG_<vid>.

    The services make it once in a test run; see `recording`.
    """
    fields = {"vid_ranges": vid_ranges, "container": container, "segments": segments, **fields}
    return _make_pool(vrf, scope, user=make_user(), **fields)


@recorded
def _make_pool(vrf, scope, *, user, segments, container, vid_ranges, **fields):
    vrf = make_vrf(vrf) if isinstance(vrf, str) else vrf
    scope = make_site(scope) if isinstance(scope, str) else scope
    pool = create_pool(
        user=user,
        vrf=vrf,
        scope=scope,
        prefixes=[container],
        vid_ranges=None if "vlan_group" in fields else vid_ranges,
        **fields,
    )
    if segments:
        vid = vid_ranges[0][0]
        generate_segments(
            pool,
            user=user,
            count=segments,
            vid_min=vid,
            vid_max=vid + segments - 1,
            prefix_length=24,
            epg_template="EPG_{vid}",
            enforce=False,
        )
    return pool


def make_segment(pool, vid, index=0, **fields):
    """Return a segment of `pool` on the /24 number `index` of its first container."""
    container = pool.prefixes.order_by("prefix").first().prefix
    network = netaddr.IPNetwork((container.first + index * 256, 24))
    return create_segment(
        pool,
        user=make_user(),
        vid=vid,
        epg_name=fields.pop("epg_name", f"EPG_{vid}"),
        prefix=fields.pop("prefix", str(network)),
        **fields,
    )


def permit(user, target, *actions, constraints=None):
    """
    Grant `user` the actions on `target`: a model, or an instance that the permission is limited to. Returns a new
    instance of the user, since Django caches permissions on the old one.
    """
    model = target if isinstance(target, type) else type(target)
    if not isinstance(target, type):
        constraints = {"pk": target.pk}
    permission = ObjectPermission.objects.create(
        name=f"{user.username}: {', '.join(actions)} {model.__name__} {ObjectPermission.objects.count()}",
        actions=list(actions),
        constraints=constraints,
    )
    permission.users.add(user)
    permission.object_types.add(ObjectType.objects.get_for_model(model))
    return type(user).objects.get(pk=user.pk)
