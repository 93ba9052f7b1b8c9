import pytest
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader

from ipam.models import VLAN
from tests.factories import make_pool

APP = "netbox_vlan_manager"

# The newest migrations of NetBox 4.7.0, the oldest version that the plugin says it runs on.
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
    # NetBox makes and compares migrations for developers only.
    settings.DEVELOPER = True
    call_command("makemigrations", APP, check_changes=True, dry_run=True)
    assert "No changes detected" in capsys.readouterr().out


def test_dependencies_are_there_in_the_oldest_netbox(migrations):
    dependencies = {dependency for migration in migrations.values() for dependency in migration.dependencies}
    for app, name in dependencies:
        # The user model's app comes without a name, since it can be replaced.
        assert app == APP or name == "__first__" or name <= NEWEST[app]


def test_newest_migrations_of_the_oldest_netbox_are_there():
    assert NEWEST.items() <= MigrationLoader(None).disk_migrations.keys()


@pytest.mark.django_db
def test_database_is_migrated(migrations):
    applied = MigrationLoader(connection).applied_migrations
    assert {name for app, name in applied if app == APP} == set(migrations)


def objects():
    """Return the names of the plugin's tables, indexes, functions and triggers."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT relname FROM pg_class WHERE relname LIKE 'netbox_vlan_manager%'
            UNION SELECT proname FROM pg_proc WHERE proname LIKE 'netbox_vlan_manager%'
            UNION SELECT tgname FROM pg_trigger WHERE tgname LIKE 'netbox_vlan_manager%'
            """
        )
        return sorted(name for (name,) in cursor.fetchall())


@pytest.mark.django_db(transaction=True)
def test_migrating_back_and_forward_again(migrations):
    make_pool(segments=2)
    before = objects()
    assert len(before) > 30
    MigrationExecutor(connection).migrate([(APP, None)])
    assert objects() == []
    assert VLAN.objects.count() == 2
    MigrationExecutor(connection).migrate([(APP, max(migrations))])
    assert objects() == before
