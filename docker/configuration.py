"""
NetBox's configuration in the container. What differs between installations is in the environment; a secret NAME may be
in a file instead, which NAME_FILE names, as Docker and Kubernetes mount them.
"""

import os
from pathlib import Path


def _secret(name):
    if path := os.environ.get(f"{name}_FILE"):
        return Path(path).read_text().strip()
    return os.environ.get(name, "")


ALLOWED_HOSTS = os.environ.get("ALLOWED_HOSTS", "localhost").split()
CSRF_TRUSTED_ORIGINS = os.environ.get("CSRF_TRUSTED_ORIGINS", "").split()

DATABASES = {
    "default": {
        "NAME": os.environ.get("DB_NAME", "netbox"),
        "USER": os.environ.get("DB_USER", "netbox"),
        "PASSWORD": _secret("DB_PASSWORD"),
        "HOST": os.environ.get("DB_HOST", "postgres"),
        "PORT": os.environ.get("DB_PORT", "5432"),
        "CONN_MAX_AGE": 300,
    }
}


def _redis(database):
    return {
        "HOST": os.environ.get("REDIS_HOST", "valkey"),
        "PORT": int(os.environ.get("REDIS_PORT", "6379")),
        "PASSWORD": _secret("REDIS_PASSWORD"),
        "DATABASE": database,
    }


REDIS = {"tasks": _redis(0), "caching": _redis(1)}

SECRET_KEY = _secret("SECRET_KEY")
# NetBox refuses API tokens of version 2 without a pepper.
API_TOKEN_PEPPERS = {1: pepper} if (pepper := _secret("API_TOKEN_PEPPER")) else {}

PLUGINS = ["netbox_vlan_manager"]
PLUGINS_CONFIG = {"netbox_vlan_manager": {}}

METRICS_ENABLED = os.environ.get("METRICS_ENABLED", "false").lower() == "true"
TIME_ZONE = os.environ.get("TIME_ZONE", "UTC")
