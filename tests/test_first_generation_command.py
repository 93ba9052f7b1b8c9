import io

import pytest
from django.core.management import CommandError, call_command

from core.models import ObjectChange
from extras.models import CustomField
from ipam.models import Prefix, VLANGroup
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
    lines, errors, error = run("--user", "alice")
    assert errors == []
    heading, line = lines[0], lines[3]
    assert heading.startswith("Network1 Site1 (new): 2 migrated, 0 unchanged, 1 failed")
    assert line.startswith(f"  10.0.2.0/24 (id {prefix.pk}): failed: EPG name 'no name' is not valid")
    assert "no_name is one." in line
    assert "2 migrated, 0 unchanged, 1 failed" in error
    assert Allocation.objects.count() == 2


def test_without_a_user_the_first_superuser_is_named(group):
    assert run()[2] == "There is no superuser: say with --user whom the change log shall name."
    make_user("root", is_superuser=True)
    assert run()[2] is None
    assert set(ObjectChange.objects.values_list("user_name", flat=True)) == {"root"}
    assert run("--user", "nobody")[2] == "user: There is no user 'nobody'."


def test_undo_with_a_preview(group):
    make_user("alice")
    before = list(Prefix.objects.order_by("pk").values_list("pk", "status", "custom_field_data"))
    run("--user", "alice")
    lines, errors, error = run("--undo", "--dry-run", "--user", "alice")
    assert (errors, error) == ([], None)
    assert lines == [
        "Network1 Site1: 2 segments; 1 allocated, 0 available, 1 disabled; 0 prefixes written",
        "  Containers deleted: 192.168.0.0/23",
        "1 pools, 0 failed; 2 segments: 1 allocated, 0 available, 1 disabled; 0 prefixes written; nothing was changed",
    ]
    assert SegmentPool.objects.exists()
    lines, errors, error = run("--undo", "--user", "alice")
    assert (errors, error) == ([], None)
    assert not SegmentPool.objects.exists()
    assert not Allocation.objects.active().exists()
    assert list(Prefix.objects.order_by("pk").values_list("pk", "status", "custom_field_data")) == before
    assert set(ObjectChange.objects.values_list("user_name", flat=True)) == {"alice"}
    assert run("--undo", "--user", "alice")[0][-1].startswith("0 pools")


def test_finish(group):
    make_user("alice")
    run("--user", "alice")
    assert run("--finish", "--dry-run", "--user", "alice")[2] is None
    assert SegmentPool.objects.get().is_on_trial
    assert run("--finish", "--user", "alice")[2] is None
    assert not SegmentPool.objects.get().is_on_trial
    assert "not allowed with" in run("--finish", "--undo")[2]


def test_undo_that_fails(group):
    make_user("alice")
    run("--user", "alice")
    CustomField.objects.filter(name="Cluster").delete()
    lines, _errors, error = run("--undo", "--user", "alice")
    assert "no custom field Cluster" in lines[1]
    assert error.startswith("0 pools, 1 failed")


def test_check_tells_what_could_not_be_migrated(group):
    make_user("alice")
    make_prefix(VLANGroup.objects.get(), 102, "10.0.2.0/24", cluster="prod-03", vlan_name="no name")
    run("--user", "alice")
    stdout = io.StringIO()
    with pytest.raises(CommandError):
        call_command("vlan_manager_check", stdout=stdout)
    assert "prefix_unmigrated: Prefix 10.0.2.0/24 is held in the first generation by prod-03" in stdout.getvalue()
