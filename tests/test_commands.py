import io
import json
import subprocess
from itertools import pairwise
from types import SimpleNamespace

import pytest
from django.core.management import CommandError, call_command

from core.models import ObjectChange
from dcim.models import SiteGroup
from ipam.models import VLAN, IPAddress, Prefix
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool
from netbox_vlan_manager.services import allocate, release, update_pool
from netbox_vlan_manager.services.reporting.snapshots import usage_history
from tenancy.models import Tenant
from tests.factories import make_pool, make_segment, make_user

pytestmark = pytest.mark.django_db

HEADER = "site,vlan_id,epg_name,segment,vrf,dhcp,description\n"
PLACE = ("--site", "Site1", "--vrf", "Network1")


@pytest.fixture
def user():
    return make_user("alice")


@pytest.fixture
def pool(user):
    return make_pool(segments=2)


def run(command, *args):
    """Run a command, and return the lines of its output and of its errors."""
    stdout, stderr = io.StringIO(), io.StringIO()
    call_command(f"vlan_manager_{command}", *args, stdout=stdout, stderr=stderr)
    return SimpleNamespace(lines=stdout.getvalue().splitlines(), errors=stderr.getvalue().splitlines())


def error(command, *args):
    """Run a command that must fail, and return the only line of its error."""
    with pytest.raises(CommandError) as caught:
        run(command, *args)
    assert caught.value.returncode == 1
    assert "\n" not in str(caught.value)
    return str(caught.value)


def changes():
    """Return alice's changes as (action, object type) pairs; check that they are one request's."""
    found = ObjectChange.objects.filter(user_name="alice").order_by("pk")
    assert len({change.request_id for change in found}) == 1
    return [(change.action, change.changed_object_type.model) for change in found]


# allocate and release


def test_allocate(pool):
    assert run("allocate", "prod-01", *PLACE, "--user", "alice").lines == [
        "Allocated to prod-01: VLAN 100, 10.0.0.0/24, EPG EPG_100"
    ]


def test_dual_stack(user):
    pool = update_pool(make_pool(), user=user, prefixes=["10.0.0.0/16", "2001:db8::/48"])
    make_segment(pool, 100, ipv6_prefix="2001:db8:0:1::/64")
    says = "prod-01: VLAN 100, 10.0.0.0/24, 2001:db8:0:1::/64, EPG EPG_100"
    for command, verb in (("allocate", "Allocated to"), ("release", "Released from")):
        assert run(command, "prod-01", *PLACE, "--user", "alice").lines == [f"{verb} {says}"]


def test_allocate_again(pool):
    run("allocate", "prod-01", *PLACE, "--user", "alice")
    assert run("allocate", "PROD-01", *PLACE, "--user", "alice").lines == [
        "Already allocated to prod-01: VLAN 100, 10.0.0.0/24, EPG EPG_100"
    ]


def test_allocate_for_another_purpose(pool):
    run("allocate", "prod-01", *PLACE, "--user", "alice")
    run("allocate", "prod-01", *PLACE, "--user", "alice", "--purpose", "storage")
    assert set(Allocation.objects.values_list("purpose", flat=True)) == {"", "storage"}


def test_allocation_is_logged_as_the_user_s_and_one_request(pool, user):
    run("allocate", "prod-01", *PLACE, "--user", "alice")
    assert sorted(changes()) == [("create", "allocation"), ("update", "prefix"), ("update", "segment")]
    assert Allocation.objects.get().allocated_by == user


def test_release(pool):
    allocate("prod-01", pool=pool, user=make_user())
    assert run("release", "Prod-01", *PLACE, "--user", "alice").lines == [
        "Released from prod-01: VLAN 100, 10.0.0.0/24, EPG EPG_100"
    ]
    assert not Allocation.objects.active().exists()


def test_release_is_logged_as_the_user_s_and_one_request(pool, user):
    allocate("prod-01", pool=pool, user=make_user())
    run("release", "prod-01", *PLACE, "--user", "alice")
    assert sorted(changes()) == [("update", "allocation"), ("update", "prefix"), ("update", "segment")]
    assert Allocation.objects.get().released_by == user


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("prod-01", *PLACE, "--user", "nobody"), "user: There is no user 'nobody'."),
        (("", *PLACE, "--user", "alice"), "Cluster name is empty: name the cluster that asks for the segment."),
        (
            ("prod-01", "--site", "Site9", "--vrf", "Network1", "--user", "alice"),
            "No pool serves site 'Site9' in VRF 'Network1'. These exist: Site1 in Network1.",
        ),
        (("prod-01", "--site", "", "--vrf", "Network1", "--user", "alice"), "site: Name the site"),
        (("prod-01", *PLACE, "--user", "alice", "--purpose", "a b"), "Purpose 'a b' is not valid"),
    ],
)
def test_allocate_tells_what_is_wrong_in_a_line(pool, args, message):
    assert error("allocate", *args).startswith(message)
    assert not Allocation.objects.exists()


def test_allocate_from_an_exhausted_pool(pool):
    for number in range(2):
        allocate(f"prod-{number}", pool=pool, user=make_user())
    assert error("allocate", "prod-9", *PLACE, "--user", "alice").startswith(
        "Pool Network1 Site1 has no available segment."
    )


def test_allocate_from_a_paused_pool(pool):
    SegmentPool.objects.update(status="paused")
    assert "is paused" in error("allocate", "prod-01", *PLACE, "--user", "alice")


def test_release_what_is_not_held(pool):
    assert error("release", "prod-01", *PLACE, "--user", "alice") == (
        "Cluster prod-01 holds no segment in pool Network1 Site1."
    )


def test_release_as_an_unknown_user(pool):
    allocate("prod-01", pool=pool, user=make_user())
    assert error("release", "prod-01", *PLACE, "--user", "nobody") == "user: There is no user 'nobody'."
    assert Allocation.objects.active().exists()


@pytest.mark.parametrize("missing", ["cluster_name", "--site", "--vrf", "--user"])
def test_all_arguments_are_needed(pool, missing):
    args = {"cluster_name": ["prod-01"], "--site": ["--site", "a"], "--vrf": ["--vrf", "b"], "--user": ["--user", "c"]}
    del args[missing]
    with pytest.raises(CommandError, match=missing):
        run("allocate", *(arg for values in args.values() for arg in values))


def test_nbshell_takes_plain_names(pool, user):
    allocation, created = allocate("prod-01", site="Site1", vrf="Network1", user="alice")
    assert created
    assert allocation.allocated_by == user
    assert release("prod-01", site="Site1", vrf="Network1", user="alice").released
    assert ObjectChange.objects.filter(user=user).values("request_id").distinct().count() == 2


# import


@pytest.fixture
def write(tmp_path):
    """A function that writes a CSV file and returns its path."""

    def write(content, encoding="utf-8"):
        path = tmp_path / "segments.csv"
        path.write_bytes(content.encode(encoding) if isinstance(content, str) else content)
        return str(path)

    return write


ROWS = "Site1,200,EPG_200,10.0.20.0/24,Network1,true,First\nSite1,201,EPG_201,10.0.21.0/24,Network1,,\n"


def test_import(pool, write):
    assert run("import", write(HEADER + ROWS), "--user", "alice").lines == [
        "2 created, 0 updated, 0 unchanged, 0 failed"
    ]
    segment = Segment.objects.get(vid=200)
    assert (segment.epg_name, str(segment.prefix), segment.dhcp, segment.description) == (
        "EPG_200",
        "10.0.20.0/24",
        True,
        "First",
    )


def test_import_again(pool, write):
    run("import", write(HEADER + ROWS), "--user", "alice")
    assert run("import", write(HEADER + ROWS.replace("First", "Second")), "--user", "alice").lines == [
        "0 created, 1 updated, 1 unchanged, 0 failed"
    ]


def test_import_is_logged_as_the_user_s_and_one_request(pool, write):
    run("import", write(HEADER + ROWS), "--user", "alice")
    assert sorted(changes()) == sorted([("create", "vlan"), ("create", "prefix"), ("create", "segment")] * 2)


def test_import_from_standard_input(pool, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO((HEADER + ROWS).encode())))
    assert run("import", "-", "--user", "alice").lines == ["2 created, 0 updated, 0 unchanged, 0 failed"]


def test_import_with_a_byte_order_mark(pool, write):
    assert run("import", write(HEADER + ROWS, "utf-8-sig"), "--user", "alice").lines[0].startswith("2 created")


def test_import_of_a_bad_row_lands_the_others(pool, write):
    path = write(HEADER + ROWS + "Site1,4095,EPG 1,10.0.22.0/24,Network1,,\n")
    stdout, stderr = io.StringIO(), io.StringIO()
    with pytest.raises(CommandError) as caught:
        call_command("vlan_manager_import", path, "--user", "alice", stdout=stdout, stderr=stderr)
    assert str(caught.value) == "2 created, 0 updated, 0 unchanged, 1 failed"
    assert stderr.getvalue().splitlines() == [
        "Line 4: vlan_id: VLAN ID '4095' is not valid: use a whole number from 1 to 4094.",
        "Line 4: epg_name: EPG name 'EPG 1' is not valid: use 1 to 64 letters (A-Z, a-z), digits and _ . : -.",
    ]
    assert Segment.objects.count() == 4


def test_atomic_import_of_a_bad_row_lands_nothing(pool, write):
    path = write(HEADER + ROWS + "Site1,4095,EPG_1,10.0.22.0/24,Network1,,\n")
    assert error("import", path, "--user", "alice", "--atomic") == (
        "0 created, 0 updated, 0 unchanged, 1 failed; nothing was changed"
    )
    assert Segment.objects.count() == 2
    assert not ObjectChange.objects.filter(user_name="alice").exists()


def test_dry_run_of_an_import_says_what_each_row_would_do(pool, write):
    path = write(
        HEADER + ROWS + "Site1,100,EPG_web,10.0.0.0/24,Network1,,New\n" + "Site1,101,EPG_101,10.0.1.0/24,Network1,,\n"
    )
    assert run("import", path, "--user", "alice", "--dry-run").lines == [
        "Line 2: create EPG_200 (200)",
        "Line 3: create EPG_201 (201)",
        "Line 4: update epg_name 'EPG_100' to 'EPG_web', description '' to 'New'",
        "2 created, 1 updated, 1 unchanged, 0 failed; nothing was changed",
    ]
    assert set(Segment.objects.values_list("vlan__name", flat=True)) == {"EPG_100", "EPG_101"}
    assert not ObjectChange.objects.filter(user_name="alice").exists()


def test_dry_run_of_an_import_fails_where_the_import_would(pool, write):
    path = write(HEADER + ROWS + "Site1,4095,EPG_1,10.0.22.0/24,Network1,,\n")
    assert error("import", path, "--user", "alice", "--dry-run") == (
        "2 created, 0 updated, 0 unchanged, 1 failed; nothing was changed"
    )
    assert Segment.objects.count() == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "csv: The file is empty"),
        ("\n \n", "csv: The file is empty"),
        (HEADER, "csv: There is a header but no line under it"),
        ("a,b\n1,2\n", "csv: The first line is no header"),
        ("site,vlan_id\nSite1,200\n", "csv: Missing column: epg_name, segment, vrf."),
        (HEADER.replace("dhcp", "colour") + ROWS, "csv: Unknown column: colour."),
        (HEADER + ROWS.replace("First", '"First'), "csv: Line 3: unexpected end of data."),
        ("\0", "csv: This is no text"),
        ("é".encode("latin-1"), "csv: This is neither XLSX nor UTF-8"),
        (b"PK\x03\x04\x14\x00\x08\x08", "xlsx: The workbook is broken"),
    ],
)
def test_import_of_a_file_that_is_none(pool, write, content, message):
    assert message in error("import", write(content), "--user", "alice")


def test_import_of_a_missing_file(pool, tmp_path):
    assert (
        error("import", f"{tmp_path}/none.csv", "--user", "alice") == f"{tmp_path}/none.csv: No such file or directory"
    )


def test_import_of_a_directory(pool, tmp_path):
    assert error("import", str(tmp_path), "--user", "alice") == f"{tmp_path}: Is a directory"


def test_import_as_an_unknown_user(pool, write):
    assert error("import", write(HEADER + ROWS), "--user", "nobody") == "user: There is no user 'nobody'."
    assert Segment.objects.count() == 2


# generate

GENERATE = ("generate", "network1-site1", "--user", "alice")


def test_generate(pool):
    done = run(*GENERATE, "--vid-min", "100", "--vid-max", "103", "--prefix-length", "26", "--dhcp")
    assert done.lines == ["Passed over VLAN IDs that are taken or out of range: 100-101", "2 segments made"]
    made = Segment.objects.filter(vid__gte=102).order_by("vid")
    assert [(one.vid, str(one.prefix), one.epg_name, one.dhcp) for one in made] == [
        (102, "10.0.2.0/26", "EPG_Site1_102", True),
        (103, "10.0.2.64/26", "EPG_Site1_103", True),
    ]
    assert {model for _action, model in changes()} == {"segment", "vlan", "prefix"}


def test_dry_run_of_generate(pool):
    done = run(*GENERATE, "--count", "2", "--prefix-length", "24", "--epg-template", "web-{vid}", "--dry-run")
    assert done.lines == [
        "VLAN 102, 10.0.2.0/24, EPG web-102",
        "VLAN 103, 10.0.3.0/24, EPG web-103",
        "2 segments would be made; nothing was changed",
    ]
    assert Segment.objects.count() == 2


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("generate", "nowhere", "--user", "alice", "--count", "1"), "There is no pool with the slug 'nowhere'."),
        ((*GENERATE, "--prefix-length", "24"), "count: Give the number of segments"),
        ((*GENERATE, "--count", "1"), "prefix_length: Give the prefix length"),
        ((*GENERATE, "--count", "1", "--prefix-length", "-5"), "prefix_length: Length /-5 is out of bounds"),
        ((*GENERATE, "--count", "0", "--prefix-length", "24"), "count: Make 1 to 4094 segments at a time."),
        ((*GENERATE, "--count", "300", "--prefix-length", "24"), "prefix_length: The containers of pool"),
        (
            ("generate", "network1-site1", "--user", "nobody", "--count", "1", "--prefix-length", "24"),
            "user: There is no user 'nobody'.",
        ),
    ],
)
def test_generate_tells_what_is_wrong_in_a_line(pool, args, message):
    assert message in error(*args)
    assert Segment.objects.count() == 2


# adopt

ADOPT = ("adopt", "network1-site1", "--user", "alice")


@pytest.fixture
def candidates(pool):
    for vid, status in ((105, "active"), (106, "reserved"), (107, "active")):
        vlan = VLAN.objects.create(group=pool.vlan_group, vid=vid, name=f"web_{vid}", status=status)
        Prefix.objects.create(prefix=f"10.0.{vid}.0/24", vrf=pool.vrf, vlan=vlan)
    IPAddress.objects.create(address="10.0.107.7/24", vrf=pool.vrf)


def test_adopt(candidates):
    dry = run(*ADOPT, "--dry-run").lines
    assert dry == [
        "VLAN 105, 10.0.105.0/24, EPG web_105: available",
        "VLAN 106, 10.0.106.0/24, EPG web_106: disabled, When it was made: VLAN reserved",
        "VLAN 107, 10.0.107.0/24, EPG web_107: disabled, When it was made: in use",
        "3 segments would be made; nothing was changed",
    ]
    assert Segment.objects.count() == 2
    assert run(*ADOPT).lines == [*dry[:3], "3 segments made"]
    assert Segment.objects.filter(status="disabled").count() == 2
    assert run(*ADOPT).lines == ["0 segments made"]


def test_adopt_as_available(candidates):
    run(*ADOPT, "--as", "available")
    assert not Segment.objects.exclude(status="available").exists()


def test_adopt_tells_what_is_wrong_in_a_line(pool):
    assert error("adopt", "nowhere", "--user", "alice") == "There is no pool with the slug 'nowhere'."
    assert error("adopt", "network1-site1", "--user", "nobody") == "user: There is no user 'nobody'."


# check


def test_check_of_healthy_data(pool):
    assert run("check").lines == ["Everything fits"]
    assert json.loads("".join(run("check", "--json").lines)) == []


@pytest.fixture
def drift(pool):
    VLAN.objects.filter(vid=101).update(name="EPG 101")
    Prefix.objects.filter(segment__vid=101).update(status="reserved")
    return Segment.objects.get(vid=101)


def test_check_of_drift(drift):
    stdout = io.StringIO()
    with pytest.raises(CommandError) as caught:
        call_command("vlan_manager_check", stdout=stdout)
    assert str(caught.value) == "2 found"
    assert caught.value.returncode == 1
    assert stdout.getvalue().splitlines() == [
        "epg_name_invalid: The VLAN name 'EPG 101' of segment 101 in pool Network1 Site1 is no valid EPG name",
        "prefix_status: Prefix 10.0.1.0/24 has status Reserved, but its segment EPG 101 (101) is Available",
    ]


def test_check_of_drift_as_json(drift):
    stdout = io.StringIO()
    with pytest.raises(CommandError):
        call_command("vlan_manager_check", "--json", stdout=stdout)
    first, second = json.loads(stdout.getvalue())
    assert first["kind"] == "epg_name_invalid"
    assert second == {
        "item": f"prefix_status:netbox_vlan_manager.segment:{drift.pk}",
        "kind": "prefix_status",
        "severity": "warning",
        "pool": "Network1 Site1",
        "object_type": "netbox_vlan_manager.segment",
        "object_id": drift.pk,
        "message": "Prefix 10.0.1.0/24 has status Reserved, but its segment EPG 101 (101) is Available",
        "repair": "Set the status of prefix 10.0.1.0/24 to Active.",
        "advice": "",
    }


def test_check_repairs(drift):
    item = f"prefix_status:netbox_vlan_manager.segment:{drift.pk}"
    stdout = io.StringIO()
    with pytest.raises(CommandError) as caught:
        call_command("vlan_manager_check", "--repair", "--dry-run", stdout=stdout)
    assert str(caught.value) == "2 left"
    assert f"would_repair: {item}: Set the status of prefix 10.0.1.0/24 to Active." in stdout.getvalue()

    results = json.loads("".join(run("check", "--repair", "--json").lines))
    assert {result["item"]: result["status"] for result in results} == {
        f"epg_name_invalid:netbox_vlan_manager.segment:{drift.pk}": "repaired",
        item: "repaired",
    }
    assert set(ObjectChange.objects.filter(changed_object_id=drift.prefix_id).values_list("user_name", flat=True)) >= {
        "system"
    }
    assert run("check", "--repair").lines == ["Everything fits"]


def test_check_with_what_is_merely_worth_knowing(pool):
    IPAddress.objects.create(address="10.0.1.7/24", vrf=pool.vrf)
    assert run("check").lines == ["segment_in_use: Segment EPG_101 (101) is available, but in use"]


def test_check_options_that_go_with_repair(pool):
    assert error("check", "--dry-run") == "--dry-run and --user go with --repair."
    assert error("check", "--repair", "--user", "nobody") == "There is no user 'nobody'."


# demo


def test_demo(user):
    assert run("demo", "--user", "alice").lines == ["Made 9 pools"]
    assert Segment.objects.count() == 60
    assert Allocation.objects.active().exists()
    assert Allocation.objects.filter(released_at__isnull=False).exists()
    changes()


def test_demo_has_a_history_that_leads_to_what_is_now(user):
    run("demo", "--user", "alice")
    history = usage_history(SegmentPool.objects.all(), 90)
    allocated = [point.usage.allocated for point in history]
    assert len(history) == 91
    assert {point.usage.total_segments for point in history} == {60}
    assert allocated[0] < allocated[-1] == Allocation.objects.active().count()
    assert max(abs(after - before) for before, after in pairwise(allocated)) <= 5


def test_demo_pools_have_the_level_that_fits_their_use(user):
    run("demo", "--user", "alice")
    levels = {pool.name: pool.level for pool in SegmentPool.objects.all()}
    assert levels["Network1 Site1"] == "normal"
    assert levels["Network1 Site2"] == "warning"
    assert levels["Network3 Site3"] == "exhausted"


def test_demo_leaves_pools_that_are_there_alone(pool):
    assert run("demo", "--user", "alice").lines == ["There are pools already: nothing was changed"]
    assert SegmentPool.objects.get() == pool


def test_demo_as_an_unknown_user():
    assert error("demo", "--user", "nobody") == "user: There is no user 'nobody'."


def test_demo_that_cannot_be_finished_makes_nothing(user):
    SiteGroup.objects.create(name="Site3", slug="site3")
    with pytest.raises(CommandError, match="already exists"):
        run("demo", "--user", "alice")
    assert not Tenant.objects.exists()


# In a process, as users run them


@pytest.mark.slow("Starts NetBox for each command")
@pytest.mark.django_db(transaction=True)
def test_commands_in_a_terminal(fresh_database):
    database = fresh_database()
    fine = database.netbox("vlan_manager_check")
    assert fine.stdout == "Everything fits\n"
    with pytest.raises(subprocess.CalledProcessError) as caught:
        database.netbox("vlan_manager_allocate", "prod-01", *PLACE, "--user", "alice")
    assert caught.value.returncode == 1
    assert caught.value.stdout == ""
    assert caught.value.stderr == (
        "CommandError: No pool serves site 'Site1' in VRF 'Network1'. There is no pool that you may use.\n"
    )
