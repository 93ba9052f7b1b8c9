import io

import pytest
from django.core.management import CommandError, call_command

from core.models import ObjectChange
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool
from tests.factories import make_user
from tests.first_generation import make_fields, make_group, make_prefix

pytestmark = pytest.mark.django_db


@pytest.fixture
def group():
    make_fields()
    group = make_group()
    make_prefix(group, 100, "10.0.0.0/24", cluster="prod-01, prod-02")
    make_prefix(group, 101, "192.168.0.0/24", status="reserved")
    return group


def run(*args):
    stdout, stderr = io.StringIO(), io.StringIO()
    try:
        call_command("vlan_manager_migrate_first_generation", *args, stdout=stdout, stderr=stderr)
        error = None
    except CommandError as caught:
        error = str(caught)
    return stdout.getvalue().splitlines(), stderr.getvalue().splitlines(), error


def test_migrates_and_then_finds_nothing_to_do(group):
    make_user("alice")
    lines, errors, error = run("--user", "alice")
    assert (errors, error) == ([], None)
    assert lines[0] == ("Network1 Site1 (new): 2 migrated, 0 unchanged, 0 failed; 1 allocated, 0 available, 1 disabled")
    assert lines[1] == "  Containers made: 192.168.0.0/23"
    assert "reserved without a cluster" in lines[2]
    assert lines[3] == (
        "1 pools created; prefixes and segments: 2 migrated, 0 unchanged, 0 failed, 1 allocated, 0 available, "
        "1 disabled, 2 allocations"
    )
    assert Segment.objects.count() == 2
    assert set(ObjectChange.objects.values_list("user_name", flat=True)) == {"alice"}
    lines, errors, error = run("--user", "alice")
    assert (errors, error) == ([], None)
    assert "0 migrated, 2 unchanged, 0 failed" in lines[-1]


def test_dry_run(group):
    make_user("alice")
    lines, errors, error = run("--dry-run", "--user", "alice")
    assert (errors, error) == ([], None)
    assert lines[-1].endswith("2 allocations; nothing was changed")
    assert not SegmentPool.objects.exists()


def test_tells_what_failed_and_ends_with_an_error(group):
    make_user("alice")
    prefix = make_prefix(group, 102, "10.0.2.0/24", vlan_name="no name")
    _lines, errors, error = run("--user", "alice")
    assert len(errors) == 1
    assert errors[0].startswith(f"  10.0.2.0/24 (id {prefix.pk}): EPG name 'no name' is not valid")
    assert "2 migrated, 0 unchanged, 1 failed" in error
    assert Allocation.objects.count() == 2


def test_without_a_user_the_first_superuser_is_named(group):
    assert run()[2] == "There is no superuser: say with --user whom the change log shall name."
    make_user("root", is_superuser=True)
    assert run()[2] is None
    assert set(ObjectChange.objects.values_list("user_name", flat=True)) == {"root"}
    assert run("--user", "nobody")[2] == "user: There is no user 'nobody'."
