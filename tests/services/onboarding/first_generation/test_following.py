from datetime import timedelta

import pytest
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.utils import timezone

from core.models import ObjectChange
from ipam.models import VLAN, IPAddress, Prefix
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool
from netbox_vlan_manager.services import (
    allocate,
    create_segment,
    disable_segment,
    enable_segment,
    release,
    update_pool,
)
from netbox_vlan_manager.services.onboarding.first_generation.undoing import finish, undo
from tests import first_generation_model as model
from tests.drift import find_drift
from tests.first_generation import make_prefix
from tests.services.onboarding.first_generation.base import AT, PLACE, answers_of, held_by_plugin, run
from utilities.exceptions import AbortRequest

pytestmark = pytest.mark.django_db


class TestTrial:
    def test_disabled_segments_are_not_free_there(self, group):
        make_prefix(group, 100, "10.0.0.0/24", status="reserved")
        make_prefix(group, 101, "10.0.1.0/24")
        run()
        assert model.allocate(*PLACE, "a").vlan.vid == 101
        assert model.allocate(*PLACE, "b") is None
        segment = Segment.objects.get(vid=100)
        enable_segment(segment, user="alice")
        assert find_drift() == []
        assert model.allocate(*PLACE, "b").vlan.vid == 100
        release("b", user="alice", **AT)
        disable_segment(segment, user="alice")
        assert Prefix.objects.get(vlan__vid=100).status == "reserved"
        model.write(Prefix.objects.get(vlan__vid=100), "active", "")
        assert Segment.objects.get(vid=100).status == "available"
        model.write(Prefix.objects.get(vlan__vid=100), "reserved", "")
        assert Segment.objects.get(vid=100).status == "disabled"
        assert find_drift() == []

    def test_older_reading_does_not_take_a_network_away(self, group):
        prefix = make_prefix(group, 100, "10.0.0.0/24")
        run()
        allocate("a", user="alice", **AT)
        # The first generation read ten minutes ago that the prefix was free.
        with pytest.raises(ValidationError, match="Another cluster holds the prefix"):
            model.write(prefix, "reserved", "b")
        stale = Prefix.objects.get(pk=prefix.pk)
        stale.status, stale.custom_field_data["Cluster"] = "reserved", "b"
        with pytest.raises(AbortRequest, match="Another cluster holds the prefix"):
            stale.save()
        assert held_by_plugin().keys() == {"a"}

    @pytest.mark.parametrize(("status", "cluster"), [("deprecated", "a"), ("reserved", "x" * 101), ("container", "")])
    def test_what_cannot_be_followed(self, group, status, cluster):
        prefix = make_prefix(group, 100, "10.0.0.0/24")
        run()
        with pytest.raises(ValidationError):
            model.write(prefix, status, cluster)
        assert held_by_plugin() == {}

    def test_name_left_behind(self, group):
        prefix = make_prefix(group, 100, "10.0.0.0/24", cluster="a")
        run()
        model.write(prefix, "active", "a")
        assert held_by_plugin() == {}
        assert model.cluster_of(Prefix.objects.get(pk=prefix.pk)) == ""
        assert find_drift() == []

    def test_change_log(self, group):
        prefix = make_prefix(group, 100, "10.0.0.0/24")
        run()
        model.write(prefix, "reserved", "a")
        one = Allocation.objects.get()
        assert one.allocated_by.username == "alice"
        change = ObjectChange.objects.get(
            changed_object_id=one.pk, action="create", changed_object_type__model="allocation"
        )
        assert change.message == "Written by the first generation"

    def test_other_edits_are_no_allocations(self, group):
        prefix = make_prefix(group, 100, "10.0.0.0/24", cluster="a")
        run()
        prefix = Prefix.objects.get(pk=prefix.pk)
        prefix.description = "new"
        prefix.full_clean()
        prefix.save()
        assert held_by_plugin().keys() == {"a"}

    def test_finish(self, group, user):
        make_prefix(group, 100, "10.0.0.0/24", status="reserved")
        prefix = make_prefix(group, 101, "10.0.1.0/24")
        run()
        assert run(finish, dry_run=True).failed == 0
        assert SegmentPool.objects.get().is_on_trial
        with pytest.raises(PermissionDenied):
            finish(user=user)
        assert run(finish).as_json()["done"] == 1
        assert find_drift() == []
        allocate("a", user="alice", **AT)
        assert model.cluster_of(Prefix.objects.get(pk=prefix.pk)) == ""
        with pytest.raises(ValidationError):
            model.write(prefix, "active", "")
        assert run(finish).pools == []
        # Undo the migration.
        run(undo)
        assert answers_of(["a"])["a"][1] == 101
        assert Prefix.objects.get(vlan__vid=100).status == "reserved"

    def test_vlan_that_is_reserved_is_not_free_there(self, group):
        prefix = make_prefix(group, 100, "10.0.0.0/24")
        run()
        vlan = VLAN.objects.get(vid=100)
        vlan.status = "reserved"
        vlan.save()
        assert Segment.objects.get().status == "disabled"
        assert Prefix.objects.get(pk=prefix.pk).status == "reserved"
        assert find_drift() == []

    def test_release_there_of_a_vlan_that_is_reserved_disables_it(self, group):
        prefix = make_prefix(group, 100, "10.0.0.0/24", cluster="a")
        run()
        vlan = VLAN.objects.get(vid=100)
        vlan.status = "reserved"
        vlan.save()
        model.release(*PLACE, "a")
        assert Segment.objects.get().status == "disabled"
        assert VLAN.objects.get(vid=100).status == "reserved"
        prefix = Prefix.objects.get(pk=prefix.pk)
        assert (prefix.status, model.cluster_of(prefix)) == ("reserved", "")
        assert find_drift() == []

    def test_new_segment_that_is_in_use_is_not_free_there(self, group):
        make_prefix(group, 100, "10.0.0.0/24", cluster="a")
        run()
        pool = SegmentPool.objects.get()
        IPAddress.objects.create(address="10.0.9.7/24", vrf=pool.vrf)
        segment = create_segment(pool, user="alice", vid=200, epg_name="new", prefix="10.0.9.0/24")
        assert (segment.status, segment.prefix.status) == ("disabled", "reserved")
        assert find_drift() == []

    def test_what_is_over_by_the_clock_is_free_for_another(self, group):
        prefix = make_prefix(group, 100, "10.0.0.0/24", cluster="a")
        run()
        Allocation.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
        model.write(prefix, "reserved", "b")
        assert held_by_plugin().keys() == {"b"}
        assert Allocation.objects.get(cluster_name="a").release_reason == "expired"
        assert model.cluster_of(Prefix.objects.get(pk=prefix.pk)) == "b"
        assert find_drift() == []

    def test_cluster_that_is_named_again_when_it_is_over_holds_on(self, group):
        prefix = make_prefix(group, 100, "10.0.0.0/24", cluster="a")
        run()
        Allocation.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
        model.write(prefix, "reserved", "a,b")
        assert set(Allocation.objects.active().values_list("cluster_name", "expires_at")) == {("a", None), ("b", None)}
        assert find_drift() == []

    def test_cluster_whose_time_is_over_gets_one_segment_there(self, group):
        first = make_prefix(group, 100, "10.0.0.0/24", cluster="a")
        second = make_prefix(group, 101, "10.0.1.0/24")
        run()
        Allocation.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
        model.write(second, "reserved", "a")
        assert held_by_plugin()["a"][1] == 101
        first = Prefix.objects.get(pk=first.pk)
        assert (first.status, model.cluster_of(first)) == ("active", "")
        assert not allocate("a", user="alice", **AT).created

    def test_pool_that_keeps_used_segments_refuses_the_release(self, group):
        prefix = make_prefix(group, 100, "10.0.0.0/24", cluster="a")
        run()
        update_pool(SegmentPool.objects.get(), user="alice", release_in_use="refuse")
        address = IPAddress.objects.create(address="10.0.0.7/24", vrf=prefix.vrf)
        with pytest.raises(AbortRequest, match="still used by"), transaction.atomic():
            model.write(prefix, "active", "")
        assert held_by_plugin().keys() == {"a"}
        address.delete()
        model.write(prefix, "active", "")
        assert held_by_plugin() == {}

    def test_other_words_for_a_status_have_no_trial(self, group, settings):
        settings.PLUGINS_CONFIG["netbox_vlan_manager"]["prefix_status_allocated"] = "deprecated"
        try:
            make_prefix(group, 100, "10.0.0.0/24", cluster="a")
            run()
            assert SegmentPool.objects.get().first_generation == "over"
            run(undo)
            assert Prefix.objects.get(vlan__vid=100).status == "reserved"
        finally:
            settings.PLUGINS_CONFIG["netbox_vlan_manager"]["prefix_status_allocated"] = "reserved"
