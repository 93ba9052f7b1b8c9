from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone

from core.models import ObjectChange
from extras.models import Tag
from netbox_vlan_manager.exceptions import LimitReached, PoolPaused, VIDUnavailable
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool
from netbox_vlan_manager.services import allocate, hand_over, release, share, undo_release
from netbox_vlan_manager.services.drift.findings import find_drift

pytestmark = pytest.mark.django_db


def hold(pool, user, cluster_name="prod-01", **asked):
    return allocate(cluster_name, pool=pool, user=user, **asked).allocation


def released(pool, user, **asked):
    """Return the allocation of prod-01, which it has released."""
    held = hold(pool, user, **asked)
    release("prod-01", pool=pool, purpose=held.purpose, user=user)
    return Allocation.objects.select_related("pool__vrf", "segment").get(pk=held.pk)


def holders(segment):
    return sorted(Allocation.objects.active().filter(segment=segment).values_list("cluster_name", flat=True))


class TestHandOver:
    def test_the_segment_changes_hands_at_once(self, pool, user):
        SegmentPool.objects.update(cooldown=3600)
        expires_at = timezone.now() + timedelta(days=3)
        old = hold(pool, user, purpose="storage", expires_at=expires_at, description="For storage")
        old.tags.add(Tag.objects.create(name="Blue", slug="blue"))

        new, created = hand_over(old, " prod-02", user=user, changelog_message="Renamed.")

        old.refresh_from_db()
        assert created
        assert (old.status, old.release_reason, old.released_by) == ("released", "handed-over", user)
        assert (new.status, new.segment, new.cluster_name) == ("active", old.segment, "prod-02")
        for name in ("pool", "vid", "prefix", "purpose", "places", "expires_at", "description", "shared"):
            assert getattr(new, name) == getattr(old, name), name
        assert [tag.name for tag in new.tags.all()] == ["Blue"]
        assert Segment.objects.get(pk=old.segment_id).status == "allocated"
        assert not list(find_drift())

    def test_the_change_logs_name_the_other_cluster(self, pool, user):
        old = hold(pool, user)
        new = hand_over(old, "prod-02", user=user, changelog_message="Ticket 7").allocation

        changes = ObjectChange.objects.filter(changed_object_type__model="allocation")
        ended = changes.get(changed_object_id=old.pk, action="update")
        made = changes.get(changed_object_id=new.pk)
        assert ended.message == "Handed over to cluster prod-02. Ticket 7"
        assert made.message == "Handed over from cluster prod-01. Ticket 7"
        assert ended.request_id == made.request_id

    def test_made_again_it_changes_nothing(self, pool, user):
        old = hold(pool, user)
        new = hand_over(old, "prod-02", user=user).allocation
        old.refresh_from_db()

        assert hand_over(old, "PROD-02", user=user) == (new, False)
        assert hand_over(new, "Prod-02", user=user) == (new, False)
        assert Allocation.objects.count() == 2
        with pytest.raises(ValidationError):
            hand_over(old, "prod-03", user=user)

    def test_the_new_cluster_gets_it_for_its_place(self, pool, user):
        old = allocate("prod-01", site="Site1", vrf="Network1", user=user).allocation
        new = hand_over(old, "prod-02", user=user).allocation

        assert allocate("prod-02", site="Site1", vrf="Network1", user=user) == (new, False)
        assert allocate("prod-01", site="Site1", vrf="Network1", user=user).allocation.vid != old.vid

    def test_a_cluster_that_holds_another_one_is_refused(self, pool, user):
        old, other = hold(pool, user), hold(pool, user, "prod-02")

        with pytest.raises(VIDUnavailable, match="Cluster prod-02 holds VLAN ID 101"):
            hand_over(old, "prod-02", user=user)
        assert (holders(old.segment), holders(other.segment)) == (["prod-01"], ["prod-02"])

    def test_a_shared_segment_stays_that_of_the_others(self, pool, user):
        old = hold(pool, user)
        share(old.segment, "prod-02", user=user)
        hand_over(old, "prod-03", user=user)
        assert holders(old.segment) == ["prod-02", "prod-03"]

        old = Allocation.objects.active().get(cluster_name="prod-03")
        assert not hand_over(old, "prod-02", user=user).created
        assert holders(old.segment) == ["prod-02"]

    def test_dry_run(self, pool, user):
        old = hold(pool, user)
        new, created = hand_over(old, "prod-02", user=user, dry_run=True)

        assert (created, new.pk, new.vid) == (True, None, old.vid)
        assert holders(old.segment) == ["prod-01"]

    @pytest.mark.parametrize("status", ["paused", "retiring"])
    def test_pool_that_makes_no_allocations(self, pool, user, status):
        old = hold(pool, user)
        SegmentPool.objects.update(status=status)
        old = Allocation.objects.get()

        with pytest.raises(PoolPaused):
            hand_over(old, "prod-02", user=user)
        assert holders(old.segment) == ["prod-01"]

    def test_limits(self, pool, user):
        old = hold(pool, user)
        hold(pool, user, "prod-02", purpose="storage")
        SegmentPool.objects.update(max_per_cluster=1)
        old = Allocation.objects.get(pk=old.pk)

        with pytest.raises(LimitReached):
            hand_over(old, "prod-02", user=user)
        assert hand_over(old, "prod-03", user=user).created

    def test_one_that_is_not_active(self, pool, user):
        past = released(pool, user)
        over = hold(pool, user, "prod-09")
        Allocation.objects.filter(pk=over.pk).update(expires_at=timezone.now() - timedelta(minutes=1))

        for old in (past, Allocation.objects.get(pk=over.pk)):
            with pytest.raises(ValidationError, match="not active"):
                hand_over(old, "prod-02", user=user)


class TestUndoRelease:
    @pytest.mark.parametrize("cooldown", [0, 3600])
    def test_the_cluster_holds_it_again(self, pool, user, cooldown):
        SegmentPool.objects.update(cooldown=cooldown)
        pool.refresh_from_db()
        expires_at = timezone.now() + timedelta(days=3)
        hold(pool, user, "prod-09")
        old = released(pool, user, purpose="storage", expires_at=expires_at, description="For storage")
        assert old.segment.status == ("quarantined" if cooldown else "available")

        new, created = undo_release(old, user=user, changelog_message="A typo.")

        assert created
        for name in ("segment", "cluster_name", "purpose", "places", "expires_at", "description"):
            assert getattr(new, name) == getattr(old, name), name
        change = ObjectChange.objects.get(changed_object_type__model="allocation", changed_object_id=new.pk)
        assert change.message == "Undid the release. A typo."
        old = Allocation.objects.get(pk=old.pk)
        assert undo_release(old, user=user) == (new, False)
        assert old.released_at is not None
        assert not list(find_drift())

    def test_another_cluster_has_or_had_it(self, pool, user):
        old = released(pool, user)
        hold(pool, user, "prod-02", vid=old.vid)
        for _ in range(2):
            old = Allocation.objects.get(pk=old.pk)
            with pytest.raises(VIDUnavailable, match="handed out"):
                undo_release(old, user=user)
            Allocation.objects.active().exists() and release("prod-02", pool=pool, user=user)

    def test_the_cluster_holds_another_one(self, pool, user):
        old = released(pool, user)
        hold(pool, user, vid=103)

        with pytest.raises(VIDUnavailable, match="holds VLAN ID 103"):
            undo_release(old, user=user)

    def test_one_that_did_not_end_by_a_release(self, pool, user):
        held = hold(pool, user)
        with pytest.raises(ValidationError, match="not released"):
            undo_release(held, user=user)
        hand_over(held, "prod-02", user=user)
        with pytest.raises(ValidationError, match="another way"):
            undo_release(Allocation.objects.get(pk=held.pk), user=user)
