"""NetBox's configuration where the environment variable WINGS says which wings are on."""

import os

from tests.stack.configuration import *  # noqa: F403

PLUGINS_CONFIG = {"netbox_vlan_manager": {"wings": os.environ["WINGS"].split()}}
