import pytest
from django.core.exceptions import PermissionDenied
from django.utils import timezone

from core.models import ObjectChange
from extras.models import CustomField
from ipam.models import Prefix
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool
from netbox_vlan_manager.services import (
    allocate,
    create_segment,
    disable_segment,
    release,
    share,
)
from netbox_vlan_manager.services.onboarding.first_generation.undoing import undo
from tests import first_generation_model as model
from tests.factories import permit
from tests.first_generation import make_prefix
from tests.services.onboarding.first_generation.base import AT, PLACE, answers_of, held_by_plugin, problems_of, run

pytestmark = pytest.mark.django_db


class TestUndo:
    def test_what_the_plugin_has_made_is_kept(self, group, tenant):
        make_prefix(group, 100, "10.0.0.0/24", cluster="a", tenant=tenant)
        make_prefix(group, 101, "10.0.1.0/24", tenant=tenant)
        run()
        pool = SegmentPool.objects.get()
        create_segment(pool, user="alice", vid=200, epg_name="new", prefix="10.0.9.0/24")
        allocate("b", user="alice", vid=200, **AT)
        history = Allocation.objects.count()
        run(undo)
        assert answers_of(["a", "b"]) == {"a": ("10.0.0.0/24", 100, "EPG_100"), "b": ("10.0.9.0/24", 200, "new")}
        assert Allocation.objects.count() == history
        one = Allocation.objects.get(cluster_name="b")
        assert (one.pool, one.segment, one.released_by.username, one.vid) == (None, None, "alice", 200)

    def test_disabled_and_overdue(self, group):
        for number in range(3):
            make_prefix(group, 100 + number, f"10.0.{number}.0/24", cluster="a" if number == 0 else None)
        run()
        disable_segment(Segment.objects.get(vid=101), user="alice")
        Allocation.objects.update(expires_at=timezone.now())
        run(undo)
        assert list(Prefix.objects.filter(vlan__isnull=False).order_by("prefix").values_list("status", flat=True)) == [
            "active",
            "reserved",
            "active",
        ]
        assert answers_of(["a"]) == {}
        assert Allocation.objects.get().release_reason == "expired"

    def test_migrated_by_an_older_version(self, group, tenant):
        """That version wrote no Cluster, left disabled prefixes active, and set tenant and scope of new containers."""
        held = make_prefix(group, 100, "192.168.0.0/24", cluster="a", tenant=tenant)
        make_prefix(group, 101, "192.168.2.0/24", status="reserved", tenant=tenant)
        make_prefix(group, 102, "192.168.4.0/24", tenant=tenant)
        run()
        SegmentPool.objects.update(first_generation="over")
        Prefix.objects.filter(vlan__vid=101).update(status="active")
        container = SegmentPool.objects.get().prefixes.get()
        ObjectChange.objects.all().delete()
        container.tenant, container.scope = tenant, held.scope
        container.save()
        with pytest.raises(model.OddData):
            answers_of(["a"])
        release("a", user="alice", **AT)
        allocate("b", user="alice", vid=102, **AT)
        assert model.cluster_of(Prefix.objects.get(pk=held.pk)) == "a"
        run(undo)
        assert answers_of(["a", "b"]) == {"b": ("192.168.4.0/24", 102, "EPG_102")}
        assert Prefix.objects.get(vlan__vid=101).status == "reserved"

    def test_made_containers_go_and_others_stay(self, group):
        make_prefix(group, 100, "10.0.0.0/24")
        make_prefix(group, 101, "192.168.0.0/24")
        (made,) = run().pools[0].containers
        assert ObjectChange.objects.get(object_repr=made, action="create").message.startswith("Made around")
        prefix = Prefix.objects.get(prefix=made)
        assert (prefix.tenant, prefix.scope) == (None, None)
        assert run(undo).pools[0].containers == [made]
        assert list(map(str, Prefix.objects.filter(status="container"))) == ["10.0.0.0/16"]

    def test_a_second_purpose_does_not_change_the_answer(self, group):
        for number in range(3):
            make_prefix(group, 100 + number, f"10.0.{number}.0/24", cluster="a" if number == 2 else None)
        run()
        allocate("a", user="alice", purpose="storage", **AT)
        assert answers_of(["a"])["a"][1] == 102
        run(undo)
        assert answers_of(["a"])["a"][1] == 102
        assert model.allocate(*PLACE, "b").vlan.vid == 101

    def test_what_cannot_be_answered_alike_is_reported(self, group):
        make_prefix(group, 100, "10.0.0.0/24", cluster="a,b")
        make_prefix(group, 101, "10.0.1.0/24", cluster="a")
        run()
        share(Segment.objects.get(vid=101), "c", user="alice")
        assert problems_of(run(undo)) == {
            "10.0.1.0/24": "Cluster a holds several segments: the first generation will answer 10.0.0.0/24."
        }
        assert answers_of(["a", "b", "c"])["c"][1] == 101

    def test_without_the_custom_field(self, group):
        make_prefix(group, 100, "10.0.0.0/24", cluster="a")
        run()
        CustomField.objects.filter(name="Cluster").delete()
        ending = run(undo)
        assert "no custom field Cluster" in ending.pools[0].error
        assert ending.failed == 1
        assert SegmentPool.objects.exists()

    def test_pools_of_no_first_generation_stay(self, group, pool):
        assert run(undo).pools == []
        assert SegmentPool.objects.get() == pool

    def test_permissions(self, group, user):
        make_prefix(group, 100, "10.0.0.0/24", cluster="a")
        run()
        with pytest.raises(PermissionDenied):
            undo(user=user)
        user = permit(user, Segment, "delete")
        user = permit(user, SegmentPool, "delete")
        user = permit(user, SegmentPool, "release")
        assert undo(user=user).pools == []
        user = permit(user, SegmentPool, "view")
        assert undo(user=user, dry_run=True).failed == 0

    @pytest.mark.parametrize(("target", "action"), [(Segment, "delete"), (SegmentPool, "release")])
    def test_constraints_hold(self, group, user, target, action):
        make_prefix(group, 100, "10.0.0.0/24", cluster="a")
        run()
        user = permit(user, SegmentPool, "view")
        for other, name in ((Segment, "delete"), (SegmentPool, "delete"), (SegmentPool, "release")):
            constraints = {"pk": 0} if (other, name) == (target, action) else None
            user = permit(user, other, name, constraints=constraints)
        ending = undo(user=user)
        assert f"You may not {action}" in ending.pools[0].error
        assert held_by_plugin().keys() == {"a"}
