"""NetBox's configuration for tests and the demo. The servers come from the environment, see tests.stack."""

import os

ALLOWED_HOSTS = ["*"]

DATABASES = {
    "default": {
        "NAME": os.environ["DB_NAME"],
        "USER": os.environ["DB_USER"],
        "PASSWORD": os.environ["DB_PASSWORD"],
        "HOST": os.environ["DB_HOST"],
        "PORT": os.environ["DB_PORT"],
        "CONN_MAX_AGE": 300,
        # A server-side cursor may outlive its transaction, but a pooler assigns a connection for one transaction only.
        "DISABLE_SERVER_SIDE_CURSORS": os.environ.get("DB_POOLER") == "pgbouncer",
    }
}


def _redis(database):
    return {
        "HOST": os.environ["REDIS_HOST"],
        "PORT": int(os.environ["REDIS_PORT"]),
        "PASSWORD": os.environ["REDIS_PASSWORD"],
        "DATABASE": int(os.environ.get("REDIS_DATABASE", "0")) + database,
    }


REDIS = {"tasks": _redis(0), "caching": _redis(1)}

SECRET_KEY = "for-tests-and-the-demo-only-for-tests-and-the-demo-only"
API_TOKEN_PEPPERS = {1: "for-tests-and-the-demo-only-for-tests-and-the-demo-only"}

# The variable is empty while the template database gets NetBox's own tables.
PLUGINS = os.environ.get("NETBOX_PLUGINS", "netbox_vlan_manager").split()

# Settings for tests of optional parts, of which a copy of the plugin may have one more.
PLUGINS_CONFIG = {}
if "WINGS" in os.environ:
    PLUGINS_CONFIG["netbox_vlan_manager"] = {"wings": os.environ["WINGS"].split()}

CENSUS_REPORTING_ENABLED = False
ISOLATED_DEPLOYMENT = True
DEVELOPER = os.environ.get("DEVELOPER") == "true"
