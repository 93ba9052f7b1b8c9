import gzip
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import psycopg
import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection, transaction
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from psycopg import sql

from core.models import ObjectType
from ipam.models import VLANGroup
from netbox_vlan_manager.models import Allocation, SegmentPool
from netbox_vlan_manager.services import release
from netbox_vlan_manager.services.drift.findings import find_drift
from tests.factories import make_pool
from tests.stack import StackError
from tests.stack.database import Database
from tests.upgrade.database import catalog, other_tables, plugin_rows, run_program
from tests.upgrade.filling import fill

pytestmark = pytest.mark.slow("Migrates databases there and back")

APP = "netbox_vlan_manager"
RELEASES = sorted(Path(__file__).parent.glob("upgrade/releases/*.sql.gz"))
ALL = object()

# The newest migrations of NetBox 4.7.0, the oldest supported version.
NEWEST = {
    "contenttypes": "0002_remove_content_type_name",
    "dcim": "0250_cooling_infrastructure",
    "extras": "0144_customfield_status",
    "ipam": "0097_merge_ipaddress_host_index_and_multi_protocol_services",
    "tenancy": "0026_consolidate_unique_constraints",
    "users": "0016_default_ordering_indexes",
    "virtualization": "0060_consolidate_unique_constraints",
}


@pytest.fixture
def migrations():
    """The plugin's migrations, by name."""
    loader = MigrationLoader(None)
    return {name: migration for (app, name), migration in loader.disk_migrations.items() if app == APP}


@pytest.mark.django_db
def test_models_and_migrations_agree(settings, capsys):
    # NetBox allows makemigrations for developers only.
    settings.DEVELOPER = True
    call_command("makemigrations", APP, check_changes=True, dry_run=True)
    assert "No changes detected" in capsys.readouterr().out


def test_dependencies_are_there_in_the_oldest_netbox(migrations):
    dependencies = {dependency for migration in migrations.values() for dependency in migration.dependencies}
    for app, name in dependencies:
        # The migration of the replaceable user model has no name.
        assert app == APP or name == "__first__" or name <= NEWEST[app]


def test_newest_migrations_of_the_oldest_netbox_are_there():
    assert NEWEST.items() <= MigrationLoader(None).disk_migrations.keys()


@pytest.mark.django_db
def test_database_is_migrated(migrations):
    applied = MigrationLoader(connection).applied_migrations
    assert {name for app, name in applied if app == APP} == set(migrations)


# Data that reversing a migration loses: columns with their values, and tables. NetBox's tables do not change.
LOST = {
    "0011_gateways": {
        "allocation": {"gateway", "ipv6_gateway"},
        "segment": {"gateway", "gateway_ip_address_id", "ipv6_gateway", "ipv6_gateway_ip_address_id"},
        "segmentpool": {"create_gateways", "dns_servers", "domain_name", "gateway_offset", "gateway_rule", "mtu"},
    },
    "0010_first_generation": {"segmentpool": {"first_generation"}},
    "0009_release_in_use": {"segmentpool": {"release_in_use"}},
    "0008_deletion": {},
    "0007_places": {"allocation": {"places"}},
    "0006_custom_fields": {
        "segmentpool": {"segment_custom_fields", "vlan_custom_fields", "prefix_custom_fields"},
    },
    "0005_supply": {
        "segmentpool": {"auto_grow", "epg_template", "grow_ipv6_prefix_length", "grow_limit", "grow_prefix_length"},
    },
    "0004_life_cycle": {
        "allocation": {"expires_at", "expiry_warned", "ipv6_prefix", "release_reason", "shared"},
        "segment": {"ipv6_prefix_id", "last_released_at", "owns_ipv6_prefix", "quarantined_until"},
        "segmentpool": {
            "allocation_order",
            "cooldown",
            "level",
            "max_per_cluster",
            "max_per_request",
            "max_per_tenant",
        },
        "idempotencykey": ALL,
    },
    "0003_thresholds_and_snapshots": {
        "segment": {"disabled_reason"},
        "segmentpool": {"critical_threshold", "warning_threshold"},
        "poolsnapshot": ALL,
    },
    "0002_triggers": {},
    "0001_initial": {"allocation": ALL, "segment": ALL, "segmentpool": ALL, "segmentpool_prefixes": ALL},
}


def migrate(name):
    MigrationExecutor(connection).migrate([(APP, name)])


def without(rows, lost):
    """Return `rows` without the tables and columns of `lost`."""
    kept = {}
    for table, entries in rows.items():
        gone = lost.get(table.removeprefix(f"{APP}_"), set())
        if gone is not ALL:
            kept[table] = {
                pk: {name: value for name, value in row.items() if name not in gone} for pk, row in entries.items()
            }
    return kept


@pytest.fixture
def filled(transactional_db):
    """A database with one of everything, in which no two clusters share a segment."""
    fill()
    # The second cluster remains as the only holder.
    release("prod-02", site="Site1", vrf="Network1", user="operator")


def test_every_migration_says_what_it_loses(migrations):
    assert set(migrations) == set(LOST)
    assert all(operation.reversible for migration in migrations.values() for operation in migration.operations)


def test_branches_pass_every_migration_by(migrations):
    """netbox-branching would otherwise run them again for each branch, on tables that only main has."""
    assert all(sys.modules[migration.__module__].fake_on_branch is True for migration in migrations.values())


@pytest.mark.usefixtures("filled")
def test_migrating_back_and_forth_loses_only_what_is_announced():
    # NetBox adds the object type of the migrations' table on its first write.
    ObjectType.objects.get_for_model(MigrationRecorder.Migration)
    others = other_tables(connection)
    catalogs = {}
    rows = plugin_rows(connection)
    for name, previous in pairwise([*LOST, None]):
        catalogs[name] = catalog(connection)
        rows = without(rows, LOST[name])
        if name == "0004_life_cycle":
            # The previous version has no cool-downs, so nothing would end them.
            segments = rows[f"{APP}_segment"].values()
            assert {row["status"] for row in segments} == {"quarantined", "disabled", "allocated", "available"}
            for row in segments:
                row["status"] = row["status"].replace("quarantined", "available")
        with transaction.atomic():
            migrate(previous)
            assert plugin_rows(connection) == rows, name
            assert other_tables(connection) == others, name
            assert bool(catalog(connection)) == bool(previous)
            # Migrating forward again needs all data except that of the last step.
            transaction.set_rollback(previous is None)
    kept = plugin_rows(connection)

    for name in list(LOST)[-2::-1]:
        migrate(name)
        assert catalog(connection) == catalogs[name], name
    assert other_tables(connection) == others
    lost = {
        table: set().union(*(step.get(table, set()) for step in LOST.values() if step.get(table) is not ALL))
        for table in ("allocation", "segment", "segmentpool")
    }
    now = plugin_rows(connection)
    assert without(now, lost | {"poolsnapshot": ALL, "idempotencykey": ALL}) == kept
    assert now[f"{APP}_poolsnapshot"] == now[f"{APP}_idempotencykey"] == {}
    assert {one.release_reason for one in Allocation.objects.all()} == {"", "released"}
    # NetBox still has the IPv6 prefixes on the segments' VLANs, but the segments no longer do: drift reports them.
    assert {found.kind for found in find_drift()} == {"prefix_orphan", "segment_in_use"}


@pytest.mark.django_db(transaction=True)
def test_shared_segments_keep_holders_and_stop_the_way_back():
    fill()
    migrate("0004_life_cycle")
    before = catalog(connection), plugin_rows(connection)
    with pytest.raises(CommandError) as refused:
        migrate("0003_thresholds_and_snapshots")
    assert "Network1 Site1, VLAN 101: prod-02; Network1 Site1, VLAN 101: shared-01" in str(refused.value)
    assert (catalog(connection), plugin_rows(connection)) == before


@pytest.fixture
def empty_database(stack):
    """A Database without tables."""
    database = Database(f"netbox_empty_{os.getpid()}", {**stack.env, "DB_NAME": f"netbox_empty_{os.getpid()}"})
    with Database("postgres", stack.env).connect() as server:
        server.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(database.name)))
    yield database
    database.drop()


@pytest.mark.parametrize("release", RELEASES, ids=lambda path: path.name)
def test_an_old_releases_database_is_migrated_and_used(release, empty_database, fresh_database):
    with empty_database.connect() as old:
        old.execute(gzip.decompress(release.read_bytes()))
    forward = [sys.executable, "-m", "tests.upgrade.forward"]
    process = subprocess.run(forward, env=empty_database.env, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    with empty_database.connect() as old, fresh_database().connect() as new:
        assert catalog(old) == catalog(new)


@pytest.fixture
def restored(empty_database, tmp_path, transactional_db):
    """A connection to a database that pg_restore made from a pg_dump of a filled one."""
    fill()
    dump = tmp_path / "netbox.dump"
    try:
        run_program("pg_dump", "--format=custom", f"--file={dump}", env=os.environ)
        run_program(
            "pg_restore", "--exit-on-error", f"--dbname={empty_database.name}", str(dump), env=empty_database.env
        )
    except StackError as e:
        pytest.skip(str(e))
    with empty_database.connect() as restored:
        yield restored


def test_dump_and_restore_keep_rows_constraints_and_triggers(restored):
    assert catalog(restored) == catalog(connection)
    assert plugin_rows(restored) == plugin_rows(connection)
    assert other_tables(restored) == other_tables(connection)

    held = "(SELECT segment_id FROM netbox_vlan_manager_allocation WHERE cluster_name = 'prod-01' AND purpose = '')"
    columns = (
        "created, last_updated, custom_field_data, description, comments, expiry_warned, release_reason, pool_name, "
        "vrf_name, vid, epg_name, prefix, allocated_at, pool_id, places"
    )
    copy = f"INSERT INTO netbox_vlan_manager_allocation ({columns}, segment_id, cluster_name, purpose, shared)"
    source = "FROM netbox_vlan_manager_allocation WHERE cluster_name = 'prod-01' AND purpose = ''"
    refuses = [
        ("allocation_unique_segment", f"{copy} SELECT {columns}, segment_id, 'other', '', false {source}"),
        ("allocation_one_active", f"{copy} SELECT {columns}, segment_id, 'PROD-01', '', true {source}"),
        ("allocation_active_has_segment", f"{copy} SELECT {columns}, NULL, 'other', '', false {source}"),
        ("segment_unique_pool_vid", "UPDATE netbox_vlan_manager_segment SET vid = 101 WHERE vid = 100"),
        ("segment_vid_range", "UPDATE netbox_vlan_manager_segment SET vid = 4095 WHERE vid = 100"),
        ("segment_status_known", "UPDATE netbox_vlan_manager_segment SET status = 'free' WHERE vid = 100"),
        ("segmentpool_thresholds_ordered", "UPDATE netbox_vlan_manager_segmentpool SET warning_threshold = 99"),
        (
            "idempotencykey_unique_user_key",
            "INSERT INTO netbox_vlan_manager_idempotencykey (user_id, key, fingerprint, status_code, headers, created) "
            "SELECT user_id, key, '', 200, '{}', now() FROM netbox_vlan_manager_idempotencykey",
        ),
    ]
    for name, statement in refuses:
        with pytest.raises(psycopg.errors.IntegrityError) as refused:
            restored.execute(statement)
        assert refused.value.diag.constraint_name == f"{APP}_{name}"

    for statement in (
        f"UPDATE netbox_vlan_manager_segment SET status = 'available' WHERE id = {held}",
        f"UPDATE netbox_vlan_manager_allocation SET released_at = now() WHERE segment_id = {held}",
        f"DELETE FROM netbox_vlan_manager_allocation WHERE segment_id = {held}",
    ):
        restored.execute("BEGIN")
        # The constraint is deferred: the commit refuses.
        restored.execute(statement)
        with pytest.raises(psycopg.errors.CheckViolation) as refused:
            restored.execute("COMMIT")
        assert refused.value.diag.constraint_name == "netbox_vlan_manager_segment_status"

    restored.execute("UPDATE dcim_site SET group_id = NULL WHERE name = 'Site1'")
    places = restored.execute("SELECT DISTINCT _site_group_id FROM netbox_vlan_manager_segmentpool").fetchall()
    assert places == [(None,)]


@pytest.mark.django_db(transaction=True)
def test_pools_of_the_first_generation_are_not_on_trial():
    make_pool()
    make_pool("Network2", "Site2")
    VLANGroup.objects.filter(name="Network1-Site1").update(name="Network1-ClickCluster-Site1")
    migrate("0009_release_in_use")
    migrate("0010_first_generation")
    pools = SegmentPool.objects.order_by("name").values_list("name", "first_generation")
    assert list(pools) == [("Network1 Site1", "over"), ("Network2 Site2", "")]
