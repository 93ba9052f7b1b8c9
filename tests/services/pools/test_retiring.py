import pytest
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from core.models import ObjectChange
from dcim.models import Interface
from extras.models import JournalEntry, Tag
from ipam.models import VLAN, Prefix
from netbox_vlan_manager.exceptions import PoolConflict, PoolPaused
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool
from netbox_vlan_manager.services import (
    allocate,
    allocate_stretched,
    create_segment,
    disable_segment,
    release,
    release_allocation,
    renew,
    share,
)
from netbox_vlan_manager.services.onboarding.importing import import_segments
from netbox_vlan_manager.services.pools.retiring import delete_drained, retire_pool
from tests.factories import make_pool, make_user
from tests.services.pools.world import check, make_device, state, texts

pytestmark = pytest.mark.django_db


class TestRetire:
    def test_an_empty_one_goes_at_once(self, user):
        pool = make_pool(segments=3)
        adopted = VLAN.objects.create(group=pool.vlan_group, vid=200, name="EPG_200")
        create_segment(pool, user=user, vid=200, epg_name="EPG_200", prefix="10.0.200.0/24")
        kept = Prefix.objects.create(prefix="10.0.201.0/24", vrf=pool.vrf)
        create_segment(pool, user=user, vid=201, epg_name="EPG_201", prefix="10.0.201.0/24")
        allocate("prod-01", pool=pool, user=user)
        release("prod-01", pool=pool, user=user)
        disable_segment(Segment.objects.get(vid=101), user=user)
        Segment.objects.filter(vid=102).update(status="quarantined")
        JournalEntry.objects.create(assigned_object=Segment.objects.get(vid=102), comments="Note")
        ObjectChange.objects.all().delete()

        result = retire_pool(pool, user=user, changelog_message="Ticket 7")

        assert (result.status, result.active_allocations, result.segments, result.deleted) == ("retiring", 0, 5, True)
        assert not SegmentPool.objects.exists()
        assert not Segment.objects.exists()
        assert list(VLAN.objects.all()) == [adopted]
        container, left = Prefix.objects.order_by("prefix")
        assert (str(container), container._children) == ("10.0.0.0/16", 1)
        assert (left, left.vlan) == (kept, None)
        history = Allocation.objects.get()
        assert (history.pool, history.segment) == (None, None)
        assert (history.pool_name, history.vid, history.epg_name) == ("Network1 Site1", 100, "EPG_100")
        assert str(history.prefix) == "10.0.0.0/24"
        logged = ObjectChange.objects.filter(action="delete")
        assert sorted(logged.values_list("changed_object_type__model", flat=True)) == sorted(
            ["segmentpool", "journalentry"] + ["segment"] * 5 + ["prefix"] * 4 + ["vlan"] * 4
        )
        assert set(logged.values_list("user_name", flat=True)) == {"root"}
        assert logged.get(changed_object_type__model="segmentpool").message == "Ticket 7"
        check()

    def test_what_is_logged_is_what_netbox_would_log(self, user):
        pool = make_pool(segments=2)
        tag = Tag.objects.create(name="Keep", slug="keep")
        for model in (Segment, VLAN, Prefix):
            for instance in model.objects.all():
                instance.tags.add(tag)
        plain = {}
        with transaction.atomic():
            from netbox_vlan_manager.services.base import audit

            with audit.change_tracking(user):
                Segment.objects.get(vid=100).delete()
            for change in ObjectChange.objects.filter(action="delete"):
                plain[change.changed_object_type.model] = (change.prechange_data, change.postchange_data)
            transaction.set_rollback(True)
        ObjectChange.objects.all().delete()
        retire_pool(pool, user=user)
        names = {"segment": "EPG_100 (100)", "vlan": "EPG_100 (100)", "prefix": "10.0.0.0/24"}
        for model, name in names.items():
            change = ObjectChange.objects.get(action="delete", changed_object_type__model=model, object_repr=name)
            assert (change.prechange_data, change.postchange_data) == plain[model]
        assert plain["segment"][0]["tags"] == ["Keep"]

    def test_it_drains_first(self, user):
        pool = make_pool(segments=2)
        held = allocate("prod-01", pool=pool, user=user).allocation
        result = retire_pool(pool, user=user)
        assert (result.status, result.active_allocations, result.segments, result.deleted) == ("retiring", 1, 2, False)
        assert delete_drained() == 0

        retiring = SegmentPool.objects.get()
        with pytest.raises(PoolPaused, match="is retiring"):
            allocate("prod-02", pool=retiring, user=user)
        with pytest.raises(PoolPaused):
            share(Segment.objects.get(vid=101), "prod-02", user=user)
        other = make_pool(scope="Site2", container="10.1.0.0/16", segments=1)
        with pytest.raises(PoolPaused):
            allocate_stretched("prod-02", pools=[retiring, other], user=user)
        assert allocate("prod-01", pool=retiring, user=user) == (held, False)
        renew(held, user=user, expires_at=None)

        release_allocation(held, user=user)
        ObjectChange.objects.exclude(changed_object_type__model="segmentpool").delete()
        assert delete_drained() == 1
        assert list(SegmentPool.objects.all()) == [other]
        # The change log names the user who retired the pool.
        gone = ObjectChange.objects.filter(action="delete")
        assert set(gone.values_list("user_name", flat=True)) == {"root"}
        held.refresh_from_db()
        assert (held.pool_name, held.vid) == ("Network1 Site1", 100)

    def test_active_again_it_stays(self, user):
        pool = make_pool(segments=1)
        allocate("prod-01", pool=pool, user=user)
        retire_pool(pool, user=user)
        pool = SegmentPool.objects.get()
        pool.status = "active"
        pool.full_clean()
        pool.save()
        release("prod-01", pool=pool, user=user)
        assert delete_drained() == 0
        assert allocate("prod-01", pool=SegmentPool.objects.get(), user=user).created

    def test_a_plain_edit_does_not_retire(self, user):
        pool = make_pool(segments=1)
        pool.status = "retiring"
        with pytest.raises(ValidationError, match="Use the action Retire"):
            pool.full_clean()
        pool.refresh_from_db()
        allocate("prod-01", pool=pool, user=user)
        retire_pool(pool, user=user)
        SegmentPool.objects.get().full_clean()

    def test_a_dry_run_changes_nothing(self, user):
        pool = make_pool(segments=2)
        before = state()
        assert retire_pool(pool, user=user, dry_run=True).deleted
        assert state() == before
        allocate("prod-01", pool=pool, user=user)
        before = state()
        assert not retire_pool(pool, user=user, dry_run=True).deleted
        assert state() == before

    def test_something_else_uses_a_vlan(self, user, caplog):
        pool = make_pool(segments=2)
        Prefix.objects.create(prefix="192.0.2.0/24", vlan=VLAN.objects.get(vid=101))
        before = state()
        with pytest.raises(PoolConflict) as caught:
            retire_pool(pool, user=user)
        assert texts(caught.value.conflicts) == ["prefix 192.0.2.0/24 uses it: detach or delete that first."]
        assert state() == before
        with pytest.raises(PoolConflict) as caught:
            retire_pool(pool, user=make_user("nobody"))
        assert texts(caught.value.conflicts) == [
            "Something that you may not view uses them: have it detached or deleted first."
        ]

        # The failed pool does not prevent the deletion of others.
        other = make_pool(scope="Site2", container="10.1.0.0/16", segments=1)
        SegmentPool.objects.update(status="retiring")
        assert delete_drained() == 1
        assert not SegmentPool.objects.filter(pk=other.pk).exists()
        assert "Network1 Site1" in caplog.text
        Prefix.objects.filter(prefix="192.0.2.0/24").delete()
        assert delete_drained() == 1

    def test_interfaces_on_its_vlans_are_detached_and_logged(self, user):
        pool = make_pool(segments=2)
        interface = Interface.objects.create(
            device=make_device(), name="eth0", type="virtual", mode="access", untagged_vlan=VLAN.objects.get(vid=100)
        )
        retire_pool(pool, user=user)
        interface.refresh_from_db()
        assert interface.untagged_vlan is None
        change = ObjectChange.objects.get(changed_object_type__model="interface")
        assert (change.action, change.user) == ("update", user)

    def test_nobody_is_known_to_have_retired_it(self, user, caplog):
        pool = make_pool(segments=2)
        JournalEntry.objects.create(assigned_object=Segment.objects.get(vid=101), comments="Note")
        Interface.objects.create(
            device=make_device(), name="eth0", type="virtual", mode="access", untagged_vlan=VLAN.objects.get(vid=100)
        )
        SegmentPool.objects.update(status="retiring")
        assert delete_drained() == 0
        assert "Other objects refer to" in caplog.text
        Interface.objects.update(untagged_vlan=None)
        assert delete_drained() == 1
        gone = ObjectChange.objects.filter(action="delete")
        assert set(gone.values_list("user_name", flat=True)) == {"system"}
        assert gone.filter(changed_object_type__model="journalentry").exists()
        assert not pool.__class__.objects.exists()

    @pytest.mark.parametrize("is_known", [True, False])
    def test_prefixes_below_keep_their_depth(self, user, is_known):
        pool = make_pool(segments=2)
        below = Prefix.objects.create(prefix="10.0.0.0/28", vrf=pool.vrf)
        if is_known:
            retire_pool(pool, user=user)
        else:
            SegmentPool.objects.update(status="retiring")
            assert delete_drained() == 1
        below.refresh_from_db()
        container = Prefix.objects.get(prefix="10.0.0.0/16")
        assert (below._depth, container._children) == (1, 1)

    def test_statements_do_not_multiply(self, user):
        counts = []
        for number in (3, 9):
            pool = make_pool(scope=f"Site{number}", segments=number, container=f"10.{number}.0.0/16")
            retire_pool(pool, user=user, dry_run=True)
            with CaptureQueriesContext(connection) as queries:
                retire_pool(pool, user=user)
            counts.append(len(queries))
        assert counts[0] == counts[1]


def test_one_thousand_segments(user):
    """The number of statements to retire or merge a pool does not grow with all of its objects."""
    pool = make_pool(vid_ranges=((1, 4094),))
    rows = [
        (None, {"site": "Site1", "vrf": "Network1", "vlan_id": n, "epg_name": f"E_{n}", "segment": f"10.0.{n}.0/24"})
        for n in range(1, 201)
    ]
    import_segments(rows, user=user, atomic=True, enforce=False)
    with CaptureQueriesContext(connection) as queries:
        assert retire_pool(pool, user=user).deleted
    assert len(queries) < 100
