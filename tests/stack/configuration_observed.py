"""The test configuration with metrics, and with the plugin's log as JSON lines in the file OPERATIONS_LOG."""

import os

from tests.stack.configuration import *  # noqa: F403

METRICS_ENABLED = True
PLUGINS_CONFIG = {"netbox_vlan_manager": {"metrics_per_pool": True, "health_rate": "40/hour"}}
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": "netbox_vlan_manager.logs.JSONFormatter"}},
    "handlers": {
        "operations": {
            "class": "logging.FileHandler",
            "filename": os.environ["OPERATIONS_LOG"],
            "formatter": "json",
        },
    },
    "loggers": {"netbox_vlan_manager": {"handlers": ["operations"], "level": "INFO"}},
}
