from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured

from netbox.plugins import PluginConfig

__version__ = "0.1.0"


class VLANManagerConfig(PluginConfig):
    name = "netbox_vlan_manager"
    verbose_name = "VLAN Manager"
    description = "Hands out network segments (a VLAN, its prefix and its EPG name) to clusters, never one twice"
    version = __version__
    base_url = "vlan-manager"
    min_version = "4.7.0"
    max_version = "4.7.99"
    middleware = (
        "netbox_vlan_manager.middleware.MetricsMiddleware",
        "netbox_vlan_manager.middleware.BranchMiddleware",
    )
    serializer_resolver = "wings.find_serializer"
    graphql_schema = "graphql.schema.schema"
    graphql_type_extensions = "graphql.extensions.type_extensions"
    graphql_filter_extensions = "graphql.extensions.filter_extensions"
    default_settings = {
        # Status of a segment's prefix while a cluster holds the segment, and while no cluster does.
        "prefix_status_allocated": "reserved",
        "prefix_status_available": "active",
        # Bounds on a segment's prefix length where its pool sets none.
        "ipv4_prefix_lengths": (16, 31),
        "ipv6_prefix_lengths": (48, 127),
        # How allocate-vlan and release-vlan name the place in their answers: its "slug", its "name", or as "asked".
        "site_in_answers": "slug",
        # Characters of EPG names besides letters, digits and "_". Cisco ACI takes these; without ACI, "/" may be added.
        "epg_name_characters": ".:-",
        # How long a call waits for a lock before it answers "busy", in milliseconds.
        "lock_timeout": 5000,
        # How long a call waits for the last available segment if another transaction locks it, in milliseconds.
        "last_segment_timeout": 1000,
        # How many rows one import takes.
        "import_max_rows": 20000,
        # Health counts an active pool as low when less than this share of its segments is available, in percent.
        "low_available_percent": 10,
        # An allocation, release, import or new segment that takes longer is logged, in milliseconds; 0 logs none.
        "slow_operation_threshold": 1000,
        # Whether /metrics, which NetBox shows to everybody, has numbers for each pool, labelled with its slug.
        "metrics_per_pool": False,
        # How often one IP address may ask a worker process for health, such as "120/min"; None for no limit.
        "health_rate": "120/min",
        # How long before an allocation expires its event is sent, in seconds.
        "lease_warning": 86400,
        # How many days the daily snapshots of pools are kept.
        "snapshot_retention": 730,
        # The optional parts of the plugin that are on.
        "wings": (),
    }

    def import_models(self):
        super().import_models()
        from . import wings

        wings.import_models()

    def ready(self):
        super().ready()
        # These modules register on import, which NetBox allows only once the models are loaded.
        from . import branching, jobs, permissions, signals, widgets, wings  # noqa: F401
        from .events import offer_event_types, register_event_types
        from .settings import check_settings

        if errors := check_settings() + wings.find_errors():
            raise ImproperlyConfigured("; ".join(errors))
        register_event_types()
        wings.ready()
        offer_event_types()
        branching.connect()
        # First, so that it runs even if NetBox's own middleware fails. NetBox would put it last.
        django_settings.MIDDLEWARE.insert(0, "netbox_vlan_manager.middleware.HealthMiddleware")


config = VLANManagerConfig
