import uuid
from unittest.mock import patch

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from core.events import OBJECT_CREATED, OBJECT_UPDATED
from core.models import Job, ObjectChange, ObjectType
from extras.models import CachedValue, EventRule, Notification, Subscription
from ipam.models import VLAN, Prefix
from netbox.context_managers import event_tracking
from netbox.signals import post_clean
from netbox_vlan_manager.models import Allocation, Segment
from netbox_vlan_manager.services import allocate
from netbox_vlan_manager.services.onboarding.import_files import parse_csv
from netbox_vlan_manager.services.onboarding.importing import import_segments
from tests.drift import find_drift
from tests.factories import make_pool, make_segment, make_user, permit
from utilities.request import NetBoxFakeRequest

pytestmark = pytest.mark.django_db

HEADER = "site,vlan_id,epg_name,segment,vrf,dhcp,description\n"
GOOD = "Site1,100,EPG_100,10.0.0.0/24,Network1,true,first\n"


@pytest.fixture
def pool():
    return make_pool(vid_ranges=((1, 4094),), container="10.0.0.0/8")


def load(text, **kwargs):
    return import_segments(parse_csv(text), user=make_user(), enforce=False, **kwargs)


def rows_of(count, first=0):
    """Return the CSV of that many new segments."""
    return HEADER + "".join(
        f"Site1,{number + 100},EPG_{number + 100},10.{number // 256}.{number % 256}.0/24,Network1,true,\n"
        for number in range(first, first + count)
    )


def only_error(result):
    """Return the errors of the only failed row."""
    (failed,) = (row for row in result.results if row.status == "failed")
    return failed.errors


def test_creates_the_segment_of_a_row(pool):
    (row,) = load(HEADER + GOOD).results

    segment = Segment.objects.get()
    assert (row.index, row.line, row.status, row.segment, row.errors) == (0, 2, "created", segment.pk, {})
    assert (segment.pool, segment.vid, segment.epg_name, segment.dhcp) == (pool, 100, "EPG_100", True)
    assert (segment.description, str(segment.prefix)) == ("first", "10.0.0.0/24")
    assert segment.prefix.vlan == segment.vlan
    assert segment.owns_vlan
    assert segment.owns_prefix


def test_importing_again_changes_nothing(pool):
    load(HEADER + GOOD)
    changes = ObjectChange.objects.count()

    assert load(HEADER + GOOD).count("unchanged") == 1
    assert ObjectChange.objects.count() == changes


def test_row_of_a_segment_that_is_there_updates_it(pool):
    load(HEADER + GOOD)
    result = load(HEADER + "site1,100,EPG_web,10.0.7.0/24,network1,no,second\n")

    assert result.count("updated") == 1
    segment = Segment.objects.get()
    assert (segment.epg_name, segment.dhcp, segment.description) == ("EPG_web", False, "second")
    assert str(segment.prefix) == "10.0.7.0/24"
    assert VLAN.objects.count() == 1


def test_columns_left_out_are_left_alone(pool):
    load(HEADER + GOOD)
    result = load("site,vlan_id,epg_name,segment,vrf\nSite1,100,EPG_new,10.0.0.0/24,Network1\n")

    assert result.count("updated") == 1
    segment = Segment.objects.get()
    assert (segment.dhcp, segment.description) == (True, "first")


def test_allocated_segment_keeps_its_prefix(pool):
    load(HEADER + GOOD)
    allocate("prod-01", pool=pool, user=make_user())
    result = load(HEADER + "Site1,100,EPG_100,10.0.7.0/24,Network1,true,first\n")

    assert "release it" in only_error(result)["segment"][0]
    assert str(Segment.objects.get().prefix) == "10.0.0.0/24"


def test_good_rows_land_and_bad_ones_are_listed_by_line(pool):
    result = load(
        HEADER + GOOD + "Site1,4095,EPG 1,10.0.1.1/24,Network1,maybe,\n" + "Site1,102,EPG_102,10.0.2.0/24,Network1,,\n"
    )

    assert [(row.line, row.status) for row in result.results] == [(2, "created"), (3, "failed"), (4, "created")]
    assert only_error(result).keys() == {"dhcp", "vlan_id", "epg_name", "segment"}
    assert Segment.objects.count() == 2


def test_every_wrong_value_of_a_row_is_told_at_once(pool):
    errors = only_error(load(HEADER + "Site1,4095,EPG 1,10.0.1.1/24,Network1,,\n"))

    assert errors.keys() == {"vlan_id", "epg_name", "segment"}
    assert "10.0.1.0/24" in errors["segment"][0]


def test_atomic_import_changes_nothing_when_a_row_fails(pool):
    before = ObjectChange.objects.count(), VLAN.objects.count(), Prefix.objects.count()
    result = load(HEADER + GOOD + "Site1,4095,EPG_1,10.0.1.0/24,Network1,,\n", atomic=True)

    assert [(row.status, row.segment) for row in result.results] == [("skipped", None), ("failed", None)]
    assert Segment.objects.count() == 0
    assert before == (ObjectChange.objects.count(), VLAN.objects.count(), Prefix.objects.count())


def test_atomic_import_changes_nothing_if_the_database_fails(pool):
    make_segment(pool, 500, prefix="10.5.0.0/24")
    result = load(HEADER + GOOD + "Site1,101,EPG_101,10.5.0.0/25,Network1,,\n", atomic=True)

    assert [row.status for row in result.results] == ["skipped", "failed"]
    assert "overlaps" in only_error(result)["segment"][0]
    assert Segment.objects.count() == 1


@pytest.mark.parametrize(
    ("row", "column"),
    [
        ("Site1,100,EPG_1,10.0.9.0/24,Network1,,", "vlan_id"),
        ("Site1,101,EPG_100,10.0.9.0/24,Network1,,", "epg_name"),
        ("Site1,101,EPG_101,10.0.0.128/25,Network1,,", "segment"),
        ("Site1,101,EPG_101,10.0.0.0/16,Network1,,", "segment"),
    ],
)
def test_rows_of_one_file_that_collide(pool, row, column):
    result = load(HEADER + GOOD + row + "\n")

    assert [row.status for row in result.results] == ["created", "failed"]
    assert column in only_error(result)


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + HEADER + GOOD,
        (HEADER + GOOD).replace("\n", "\r\n"),
        (HEADER + GOOD).replace("\n", "\r"),
        (HEADER + GOOD).replace(",", ";"),
        (HEADER + GOOD).replace(",", "\t"),
        (HEADER + GOOD).upper().replace("TRUE", "True"),
        "\n\n" + HEADER + "\n" + GOOD + "\n,,,,,,\n",
        HEADER.replace(",", " , ") + '"Site1"," 100 ","EPG_100","10.0.0.0/24","Network1","1","first"',
    ],
    ids=["bom", "crlf", "cr", "semicolons", "tabs", "upper case", "blank lines", "quotes and spaces"],
)
def test_every_spelling_of_a_csv_file(pool, text):
    assert load(text).count("created") == 1


def test_lines_are_counted_as_an_editor_counts_them(pool):
    result = load(HEADER + "\n" + GOOD.replace("first", '"two\nlines"') + "Site1,bad,EPG_1,10.0.1.0/24,Network1,,\n")

    assert [row.line for row in result.results] == [3, 5]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("\ufeff \n", "empty"),
        (HEADER, "no line under it"),
        (GOOD, "no header"),
        ("site,vlan_id\nSite1,100\n", "Missing column: epg_name, segment, vrf"),
        (HEADER.replace("dhcp", "colour") + GOOD, "Unknown column: colour"),
        (HEADER.replace("dhcp", "site") + GOOD, "given twice: site"),
        ("site\0,vlan_id", "zero bytes"),
    ],
)
def test_file_that_is_no_import_at_all(text, says):
    with pytest.raises(ValidationError) as error:
        parse_csv(text)
    assert says in " ".join(error.value.message_dict["csv"])


def test_line_with_the_wrong_number_of_values(pool):
    result = load(HEADER + GOOD + "Site1,101,EPG_101\n")

    assert [row.status for row in result.results] == ["created", "failed"]
    assert "3 values, the header 7" in only_error(result)["row"][0]


def test_unknown_pool_names_those_that_exist(pool):
    result = load(HEADER + "Site9,101,EPG_101,10.0.1.0/24,Network1,,\n")

    assert "Site1 in Network1" in only_error(result)["site"][0]


@pytest.mark.parametrize(
    "row", [None, "text", [], 7, {}, {"site": None}, {"site": {}, "vlan_id": [1]}, {"color": "red"}]
)
def test_rows_of_any_shape_are_reported(pool, row):
    (result,) = import_segments([(None, row)], user=make_user(), enforce=False).results

    assert result.status == "failed"
    assert result.errors


def test_too_many_rows(pool):
    with (
        override_settings(PLUGINS_CONFIG={"netbox_vlan_manager": {"import_max_rows": 1}}),
        pytest.raises(ValidationError),
    ):
        load(HEADER + GOOD + GOOD)


def test_user_is_held_to_their_permissions(pool):
    other = make_pool("Network2", vid_ranges=((1, 4094),), container="10.0.0.0/8")
    user = make_user("bob")
    permit(user, pool, "view")
    permit(user, Segment, "add", constraints={"vid__lt": 200})
    rows = parse_csv(
        HEADER
        + GOOD
        + "Site1,300,EPG_300,10.0.3.0/24,Network1,,\n"
        + f"Site1,101,EPG_101,10.0.1.0/24,{other.vrf.name},,\n"
    )
    result = import_segments(rows, user=user)

    assert [row.status for row in result.results] == ["created", "failed", "failed"]
    assert "permission" in result.results[1].errors["vlan_id"][0]
    assert "Network2" not in str(result.results[2].errors).replace("'Network2'", "")
    assert list(Segment.objects.values_list("vid", flat=True)) == [100]
    assert not VLAN.objects.filter(vid=300).exists()


def test_changes_are_logged_as_the_user_s_under_one_request(pool):
    user = make_user("carol")
    import_segments(parse_csv(HEADER + GOOD), user=user, enforce=False)
    changes = ObjectChange.objects.filter(user=user)

    assert sorted(changes.values_list("changed_object_type__model", flat=True)) == ["prefix", "segment", "vlan"]
    assert changes.values("request_id").distinct().count() == 1


@pytest.mark.parametrize(("model", "column"), [(VLAN, "vlan_id"), (Prefix, "segment"), (Segment, "vlan_id")])
def test_custom_validation_sees_each_object_once(pool, model, column):
    seen = []

    def refuse_the_second(instance, **kwargs):
        seen.append(vars(instance).copy())
        if len(seen) == 2:
            raise ValidationError("Not that one.")

    post_clean.connect(refuse_the_second, sender=model)
    try:
        result = load(rows_of(3))
    finally:
        post_clean.disconnect(refuse_the_second, sender=model)

    assert [row.status for row in result.results] == ["created", "failed", "created"]
    assert only_error(result) == {column: ["Not that one."]}
    assert len(seen) == 3
    assert Segment.objects.count() == VLAN.objects.count() == Prefix.objects.filter(vlan__isnull=False).count() == 2
    if model is Prefix:
        assert (seen[0]["vrf_id"], seen[0]["scope_id"], seen[0]["_site_id"]) == (pool.vrf.pk, *2 * [pool.scope.pk])
        assert {"get_duplicates", "_replicated_base"}.isdisjoint(seen[0])


def test_row_says_all_that_custom_validators_refuse(pool):
    validators = {
        "ipam.prefix": [{"scope.slug": {"neq": "site1"}}],
        "ipam.vlan": [{"name": {"regex": "^PROD_"}}],
        "netbox_vlan_manager.segment": [{"description": {"required": True}}],
    }
    with override_settings(CUSTOM_VALIDATORS=validators):
        errors = only_error(load(rows_of(1)))

    assert {column: len(texts) for column, texts in errors.items()} == {"segment": 1, "vlan_id": 2}


def test_depths_and_child_counts_are_those_of_netbox(pool):
    for prefix in ("10.0.0.0/16", "10.0.0.0/16", "10.0.3.0/28", "10.0.3.0/29", "10.1.0.0/16", "fd00::/32"):
        Prefix.objects.create(prefix=prefix, vrf=pool.vrf, status="container" if prefix.endswith("/16") else "active")
    Prefix.objects.create(prefix="10.0.0.0/12")
    make_segment(pool, 4000, prefix="10.1.7.0/24")

    assert load(rows_of(30)).count("created") == 30
    counted = Prefix.objects.annotate_hierarchy().order_by()
    assert [(str(prefix), prefix.depth, prefix.children) for prefix in counted] == [
        (str(prefix), prefix.hierarchy_depth, prefix.hierarchy_children) for prefix in counted
    ]
    assert Prefix.objects.get(prefix="10.0.3.0/24").depth == 2


MIXED = (
    HEADER
    + "Site1,100,EPG_web,10.0.7.0/24,Network1,yes,new\n"
    + "Site1,101,EPG_101,10.0.1.0/24,Network1,,\n"
    + "Site1,200,EPG_200,10.0.20.0/24,Network1,,\n"
    + "Site1,4095,EPG_201,10.0.21.0/24,Network1,,\n"
    + "Site1,202,EPG_200,10.0.22.0/24,Network1,,\n"
)


def test_dry_run_says_what_the_import_then_does(pool):
    make_segment(pool, 100, 0)
    make_segment(pool, 101, 1)
    tried = load(MIXED, dry_run=True).results

    assert [row.status for row in tried] == ["updated", "unchanged", "created", "failed", "failed"]
    assert [row.segment for row in tried[2:]] == [None] * 3
    assert tried[0].changes == {
        "epg_name": {"old": "EPG_100", "new": "EPG_web"},
        "segment": {"old": "10.0.0.0/24", "new": "10.0.7.0/24"},
        "dhcp": {"old": False, "new": True},
        "description": {"old": "", "new": "new"},
    }
    done = load(MIXED).results
    tried[2].segment = done[2].segment = None
    assert done == tried


def test_dry_run_of_an_atomic_import_skips_what_that_would(pool):
    statuses = [row.status for row in load(MIXED, dry_run=True, atomic=True).results]

    assert statuses == ["skipped", "skipped", "skipped", "failed", "failed"]


def test_dry_run_leaves_nothing_behind(pool, django_capture_on_commit_callbacks):
    segment = make_segment(pool, 100, 0)
    rule = EventRule.objects.create(
        name="All", event_types=[OBJECT_CREATED, OBJECT_UPDATED], action_type="notification", action_object_id=1
    )
    rule.object_types.set(ObjectType.objects.get_for_models(Segment, VLAN, Prefix).values())
    Subscription.objects.create(user=make_user(), object=segment)
    tables = (Segment, VLAN, Prefix, ObjectChange, Job, CachedValue, Notification)
    before = [list(model.objects.order_by("pk").values()) for model in tables]

    with (
        patch("netbox_vlan_manager.services.base.audit.tracking.flush_events") as flushed,
        patch("netbox.context_managers.flush_events") as flushed_at_the_end,
        django_capture_on_commit_callbacks(execute=True) as callbacks,
    ):
        load(MIXED, dry_run=True)

    assert [list(model.objects.order_by("pk").values()) for model in tables] == before
    # The flushed queue has no events.
    assert [callback.args for callback in callbacks] == [([],)]
    assert [call.args for call in flushed.call_args_list] == [([],)]
    assert not flushed_at_the_end.called


def test_dry_run_keeps_what_the_request_had_done_before(pool):
    request = NetBoxFakeRequest({"id": uuid.uuid4(), "user": make_user()})
    with patch("netbox.context_managers.flush_events") as flushed, event_tracking(request):
        pool.scope.snapshot()
        pool.scope.save()
        load(HEADER + GOOD, dry_run=True)

    (events,) = flushed.call_args.args
    assert [event["object_id"] for event in events] == [pool.scope.pk]


def test_dry_run_holds_the_user_to_their_permissions(pool):
    make_segment(pool, 100, 0)
    user = permit(make_user("bob"), pool, "view")
    permit(user, Segment, "add", constraints={"vid__lt": 200})
    rows = parse_csv(MIXED + "Site1,103,EPG_103,10.0.3.0/24,Network1,,\n")
    tried = import_segments(rows, user=user, dry_run=True).results

    assert [row.status for row in tried] == ["failed", "created", "failed", "failed", "failed", "created"]
    # The result shows no values that bob may not view, including the old values of an update.
    assert "EPG_100" not in str(tried)
    assert Segment.objects.count() == 1


def test_progress_is_told_outside_the_transaction(pool, transactional_db):
    phases = []
    load(HEADER + GOOD, report=lambda phase: phases.append((phase, connection.in_atomic_block)))

    assert phases == [("checks", False), ("write", False)]


def test_statements_do_not_grow_with_the_rows(pool):
    counts = []
    for first in (0, 30, 130):
        with CaptureQueriesContext(connection) as queries:
            load(rows_of(30 if first < 130 else 300, first))
        counts.append(len(queries))

    assert counts[2] <= counts[1] + 5


@pytest.mark.slow("10,000 rows")
def test_ten_thousand_rows(pool):
    pools = [pool, *(make_pool(f"Network{n}", vid_ranges=((1, 4094),), container="10.0.0.0/8") for n in (2, 3))]
    text = HEADER.replace("\n", ",cluster_name\n") + "".join(
        f"Site1,{n + 1},EPG_{n + 1},10.{n // 256}.{n % 256}.0/24,{pool.vrf.name},true,,{f'c{n}' if n % 9 else ''}\n"
        for pool in pools
        for n in range(3334)
    )

    assert load(text).count("created") == 10002
    assert Allocation.objects.active().count() == 3 * 2963
    changes = ObjectChange.objects.count()
    assert load(text).count("unchanged") == 10002
    assert ObjectChange.objects.count() == changes
    with connection.cursor() as cursor:
        # Autovacuum does this within a minute of a commit, but the test never commits.
        cursor.execute("ANALYZE")
    assert find_drift() == []
    assert Prefix.objects.get(prefix="10.0.0.0/8", vrf=pool.vrf).children == 3334
    assert set(Prefix.objects.filter(vlan__isnull=False).values_list("_depth", flat=True)) == {1}
