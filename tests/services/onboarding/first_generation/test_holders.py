import pytest

from core.models import ObjectChange
from ipam.models import VLAN, Prefix
from netbox_vlan_manager.exceptions import NotMigrated
from netbox_vlan_manager.models import Allocation, Segment
from netbox_vlan_manager.services import (
    allocate,
)
from netbox_vlan_manager.services.onboarding.first_generation.undoing import undo
from tests import first_generation_model as model
from tests.first_generation import make_group, make_prefix
from tests.services.onboarding.first_generation.base import AT, answers_of, problems_of, run

pytestmark = pytest.mark.django_db


class TestRules:
    def test_exact_name_comes_before_a_list(self, group):
        make_prefix(group, 10, "10.0.0.0/24", cluster="owner,member")
        make_prefix(group, 11, "10.0.1.0/24", cluster="member")
        text = problems_of(run())["10.0.0.0/24"]
        assert "Without a purpose it gets 10.0.1.0/24" in text
        assert allocate("member", user="alice", **AT).allocation.vid == 11
        assert answers_of(["member"])["member"][1] == 11

    def test_names_that_differ_in_case(self, group):
        make_prefix(group, 10, "10.0.0.0/24", cluster="Prod")
        make_prefix(group, 11, "10.0.1.0/24", cluster="prod")
        make_prefix(group, 12, "10.0.2.0/24", cluster="x,X")
        texts = problems_of(run())
        assert "Cluster prod differs from Prod, which holds 10.0.0.0/24, in case only" in texts["10.0.1.0/24"]
        assert "Cluster X differs from x in case only" in texts["10.0.2.0/24"]
        assert allocate("prod", user="alice", purpose="2", **AT).allocation.vid == 11
        run(undo)
        assert {name: found[1] for name, found in answers_of(["Prod", "prod", "x", "X"]).items()} == {
            "Prod": 10,
            "prod": 11,
            "x": 12,
            "X": 12,
        }

    def test_older_form(self, group):
        make_prefix(group, 10, "10.0.0.0/24", status="reserved", description="Rack 7. Cluster: legacy-01")
        make_prefix(group, 11, "10.0.1.0/24", description="Cluster: gone")
        run()
        assert allocate("legacy-01", user="alice", **AT).allocation.vid == 10
        assert allocate("new", user="alice", **AT).allocation.vid == 11
        run(undo)
        assert answers_of(["legacy-01", "gone", "new"]).keys() == {"legacy-01", "new"}

    @pytest.mark.parametrize(
        ("description", "comments", "expected"),
        [
            ("Rack 7", "", ("Rack 7", "")),
            ("", "Rack 7", ("Rack 7", "")),
            ("Rack 7", "More", ("Rack 7", "More")),
            ("", "x" * 500, ("x" * 199 + "…", "x" * 500)),
            ("", "One\n\nTwo", ("One Two", "One\n\nTwo")),
        ],
    )
    def test_descriptions(self, group, description, comments, expected):
        make_prefix(group, 10, "10.0.0.0/24", description=description, comments=comments)
        run()
        segment = Segment.objects.get()
        assert (segment.description, segment.comments) == expected
        prefix = Prefix.objects.get(vlan__vid=10)
        assert (prefix.description, prefix.comments) == (description, comments)

    def test_each_name_of_a_list_has_its_own_time(self, group):
        prefix = make_prefix(group, 10, "10.0.0.0/24")
        for names in ("a", "a,b", "a,b,c", "b,c", "b,c,a"):
            model.write(prefix, "reserved", names)
        changes = ObjectChange.objects.filter(changed_object_id=prefix.pk, action="update").order_by("pk")
        times = list(changes.values_list("time", flat=True))
        run()
        found = dict(Allocation.objects.values_list("cluster_name", "allocated_at"))
        assert found == {"a": times[4], "b": times[1], "c": times[2]}

    def test_segment_moved_to_another_site(self, group):
        other = make_group(site="Site2")
        make_prefix(other, 50, "10.0.9.0/24")
        moved = make_prefix(group, 100, "10.0.0.0/24", cluster="a")
        VLAN.objects.filter(pk=moved.vlan_id).update(group=other)
        make_prefix(group, 101, "10.0.1.0/24")
        text = problems_of(run())["10.0.0.0/24"]
        assert "Move VLAN EPG_100 (100) into VLAN group Network1-ClickCluster-Site1" in text
        with pytest.raises(NotMigrated):
            allocate("a", user="alice", **AT)
        VLAN.objects.filter(pk=moved.vlan_id).update(group=group)
        assert run().failed == 0
        assert allocate("a", user="alice", **AT).allocation.vid == 100
