"""NetBox's configuration with the other plugins beside ours, as their documentation has it."""

from netbox_branching.utilities import DynamicSchemaDict

from tests.stack import configuration
from tests.stack.configuration import *  # noqa: F403

DATABASES = DynamicSchemaDict(configuration.DATABASES)
DATABASE_ROUTERS = ["netbox_branching.database.BranchAwareRouter"]
# netbox-branching wants to be the last.
PLUGINS = ["netbox_vlan_manager", "netbox_aci_plugin", "netbox_branching"]
PLUGINS_CONFIG = {"netbox_branching": {"provision_workers": 1}}
