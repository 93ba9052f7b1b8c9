"""The configuration in docs/signing-in.md works with the plugin's actions."""

import re

import pytest
from django.test import RequestFactory
from django.utils.module_loading import import_string

from core.models import ObjectType
from netbox.authentication import RemoteUserBackend
from netbox_vlan_manager.models import SegmentPool
from tests.factories import make_pool, make_user
from tests.stack.database import PROJECT
from users.models import Group, ObjectPermission, User

pytestmark = pytest.mark.django_db

BLOCKS = re.findall(r"```python\n(.*?)```", (PROJECT / "docs/signing-in.md").read_text(), re.DOTALL)


def find(text):
    """Return the definitions of the only block with `text`."""
    (block,) = [block for block in BLOCKS if text in block]
    names = {}
    exec(block, names)
    return names


def permit_group(group):
    permission = ObjectPermission.objects.create(name=group.name, actions=["allocate"])
    permission.object_types.add(ObjectType.objects.get_for_model(SegmentPool))
    permission.groups.add(group)


def may_allocate(name, pool):
    # Fetched again, because a User instance caches its permissions.
    return SegmentPool.objects.restrict(User.objects.get(username=name), "allocate").filter(pk=pool.pk).exists()


def test_blocks_are_python():
    assert len(BLOCKS) > 4
    for block in BLOCKS:
        compile(block, "signing-in.md", "exec")


def test_groups_of_a_claim():
    set_groups = find("def set_groups")["set_groups"]
    pool, user = make_pool(), make_user("dora")
    consumers, other = (Group.objects.create(name=name) for name in ("network-consumers", "other"))
    user.groups.add(other)
    permit_group(consumers)

    assert not may_allocate("dora", pool)
    set_groups({"groups": ["network-consumers", "somebody-else"]}, user=user)
    assert may_allocate("dora", pool)
    set_groups({}, user=user)
    assert not may_allocate("dora", pool)
    assert list(user.groups.all()) == [other]


def test_pipeline():
    steps = find("SOCIAL_AUTH_PIPELINE")["SOCIAL_AUTH_PIPELINE"]
    for step in steps:
        assert step == "netbox_groups.set_groups" or import_string(step)


def test_default_permissions(settings):
    asked = find("REMOTE_AUTH_DEFAULT_PERMISSIONS =")["REMOTE_AUTH_DEFAULT_PERMISSIONS"]
    settings.REMOTE_AUTH_DEFAULT_PERMISSIONS = asked
    settings.REMOTE_AUTH_AUTO_CREATE_USER = True
    settings.REMOTE_AUTH_GROUP_SYNC_ENABLED = False
    mine, other = make_pool(), make_pool("Network2", container="10.2.0.0/16")

    RemoteUserBackend().authenticate(RequestFactory().get("/"), remote_user="emil")

    assert may_allocate("emil", mine)
    assert not may_allocate("emil", other)


def test_synchronised_groups(settings):
    for name, value in find("REMOTE_AUTH_GROUP_SYNC_ENABLED").items():
        if name.startswith("REMOTE_AUTH"):
            setattr(settings, name, value)
    pool, group = make_pool(), Group.objects.create(name="network-consumers")
    permit_group(group)
    request = RequestFactory().get("/")

    RemoteUserBackend().authenticate(request, remote_user="fritz", remote_groups=["network-consumers", "unknown"])
    assert may_allocate("fritz", pool)
    RemoteUserBackend().authenticate(request, remote_user="fritz", remote_groups=[])
    assert not may_allocate("fritz", pool)
