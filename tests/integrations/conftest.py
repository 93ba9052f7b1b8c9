import os
from pathlib import Path

import pytest

from tests.packaging.conftest import uv

HERE = Path(__file__).parent

# The 34 migrations of netbox-aci-plugin take minutes. Its tables are made at once instead, and the migrations recorded.
MIGRATE = """
from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

ACI = "netbox_aci_plugin"
settings.MIGRATION_MODULES = {ACI: None}
call_command("migrate", interactive=False, run_syncdb=True)
settings.MIGRATION_MODULES = {}
for app, name in MigrationLoader(None).disk_migrations:
    if app == ACI:
        MigrationRecorder(connection).record_applied(app, name)
"""


@pytest.fixture(scope="session")
def other_plugins(tmp_path_factory):
    """A directory with the other plugins, which the development environment lacks."""
    directory = tmp_path_factory.mktemp("plugins")
    command = ["pip", "install", "--quiet", "--no-deps", "--require-hashes", "--target", directory]
    uv(*command, "--requirements", HERE / "requirements.txt")
    return directory


@pytest.fixture
def netbox_with_plugins(other_plugins, fresh_database):
    """A Database of a NetBox that had this plugin first, and then got the others."""
    database = fresh_database()
    database.env["NETBOX_CONFIGURATION"] = "tests.integrations.configuration"
    database.env["PYTHONPATH"] += os.pathsep + os.fspath(other_plugins)
    database.netbox("nbshell", "-c", MIGRATE)
    return database
