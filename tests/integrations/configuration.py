"""NetBox's configuration with this plugin and the others, by their documentation."""

from netbox_branching.utilities import DynamicSchemaDict

from tests.stack import configuration
from tests.stack.configuration import *  # noqa: F403

DATABASES = DynamicSchemaDict(configuration.DATABASES)
DATABASE_ROUTERS = ["netbox_branching.database.BranchAwareRouter"]
# netbox-branching must be the last plugin.
PLUGINS = ["netbox_vlan_manager", "netbox_aci_plugin", "netbox_branching"]
PLUGINS_CONFIG = {"netbox_branching": {"provision_workers": 1}}
