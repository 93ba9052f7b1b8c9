import pytest
from django.core.exceptions import ValidationError

from ipam.models import VLAN
from netbox_vlan_manager.exceptions import AllocationNotFound, NotMigrated
from netbox_vlan_manager.models import Allocation, SegmentPool
from netbox_vlan_manager.services import (
    allocate,
    create_segment,
    generate_segments,
    release,
)
from netbox_vlan_manager.services.onboarding.first_generation.undoing import finish
from tests.drift import find_drift
from tests.first_generation import make_group, make_prefix
from tests.services.onboarding.first_generation.base import AT, run

pytestmark = pytest.mark.django_db


class TestUnmigrated:
    """Prefixes that could not be migrated are still in use."""

    @pytest.fixture
    def held(self, group):
        make_prefix(group, 100, "10.0.0.0/24")
        make_prefix(group, 101, "10.0.1.0/24")
        prefix = make_prefix(group, 102, "10.0.2.0/24", cluster="a", vlan_name="EPG/102")
        assert run().failed == 1
        return prefix

    def test_its_cluster_gets_nothing_else(self, held):
        for name in ("a", "A"):
            with pytest.raises(NotMigrated):
                allocate(name, user="alice", **AT)
        with pytest.raises(NotMigrated):
            allocate("a", user="alice", dry_run=True, **AT)
        with pytest.raises(AllocationNotFound):
            release("a", user="alice", **AT)
        assert allocate("ab", user="alice", **AT).created

    def test_it_is_reported(self, held):
        (drift,) = (drift for drift in find_drift() if drift.kind == "prefix_unmigrated")
        assert (drift.object, drift.severity) == (held, "error")
        assert "held in the first generation by a" in drift.message

    def test_nobody_gets_it(self, held):
        pool = SegmentPool.objects.get()
        for vid, network in ((102, "10.0.9.0/24"), (300, "10.0.2.0/24"), (301, "10.0.2.0/25"), (302, "10.0.0.0/22")):
            with pytest.raises(ValidationError):
                create_segment(pool, user="alice", vid=vid, epg_name="EPG_102", prefix=network)
        result = generate_segments(pool, user="alice", count=8, prefix_length=24, enforce=False)
        assert "10.0.2.0/24" not in {str(segment.prefix.prefix) for segment in result.segments}
        assert 102 not in {segment.vid for segment in result.segments}

    @pytest.mark.parametrize(
        "fields",
        [
            {"vlan": None},
            {"vlan": None, "scope": None},
            {"vlan": None, "custom_field_data": {"Cluster": "x, a"}},
            {"status": "active", "vlan_name": "EPG/103"},
            {"cluster": None, "status": "reserved", "description": "Cluster: a", "vlan_name": "EPG/103"},
        ],
    )
    def test_every_form(self, group, fields):
        make_prefix(group, 100, "10.0.0.0/24")
        make_prefix(group, 103, "10.0.3.0/24", **{"cluster": "a", **fields})
        run()
        with pytest.raises(NotMigrated):
            allocate("a", user="alice", **AT)
        assert {drift.kind for drift in find_drift()} >= {"prefix_unmigrated"}

    def test_mended_it_is_answered(self, held):
        VLAN.objects.filter(vid=102).update(name="EPG_102")
        assert run().failed == 0
        assert allocate("a", user="alice", **AT).allocation.vid == 102
        assert find_drift() == []

    def test_the_trial_goes_on_until_then(self, held):
        ending = run(finish)
        assert "1 prefixes that clusters hold" in ending.pools[0].error
        assert SegmentPool.objects.get().is_on_trial

    def test_other_site(self, held):
        make_prefix(make_group(site="Site2"), 100, "10.0.8.0/24")
        run()
        assert allocate("a", user="alice", vrf="Network1", site="Site2").created

    def test_unmigrated_answer_is_not_given_by_another_prefix(self, group):
        make_prefix(group, 100, "10.0.0.0/24", cluster="a", vlan_name="EPG/100")
        make_prefix(group, 101, "10.0.1.0/24", cluster="b,a")
        run()
        assert Allocation.objects.get(cluster_name="a").purpose == "2"
        with pytest.raises(NotMigrated):
            allocate("a", user="alice", **AT)
        VLAN.objects.filter(vid=100).update(name="EPG_100")
        run()
        assert allocate("a", user="alice", **AT).allocation.vid == 100

    def test_pools_of_no_first_generation_are_not_asked_about(self, pool, user, django_assert_num_queries):
        from netbox_vlan_manager.services.segments.unmigrated import find_unmigrated

        with django_assert_num_queries(0):
            assert find_unmigrated([pool], cluster_name="a") == []
