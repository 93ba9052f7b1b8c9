from django.utils.translation import gettext_lazy as _
from rest_framework import serializers

__all__ = (
    "ForecastSerializer",
    "HealthSerializer",
    "PoolStatisticsSerializer",
)


class PoolStatisticsSerializer(serializers.Serializer):
    pool = serializers.IntegerField()
    pool_name = serializers.CharField()
    site = serializers.CharField()
    vrf = serializers.CharField()
    total_segments = serializers.IntegerField(source="usage.total_segments")
    allocated = serializers.IntegerField(source="usage.allocated")
    available = serializers.IntegerField(source="usage.available")
    quarantined = serializers.IntegerField(source="usage.quarantined")
    disabled = serializers.IntegerField(source="usage.disabled")
    utilization = serializers.FloatField(source="usage.utilization", help_text=_("Percent"))
    held_elsewhere = serializers.SerializerMethodField(
        help_text=_("Active allocations of other pools that answer for places which this pool serves now")
    )

    def get_held_elsewhere(self, row) -> int:
        return self.context["held_elsewhere"][row.pool]


class HealthSerializer(serializers.Serializer):
    status = serializers.ChoiceField(
        choices=("ok", "degraded", "unavailable"), help_text=_("The status code is 503 for “unavailable” only")
    )
    database = serializers.ChoiceField(choices=("ok", "down"))
    migrations = serializers.ChoiceField(choices=("ok", "pending", "unknown"))
    jobs = serializers.ChoiceField(
        choices=("ok", "late", "unknown"), help_text=_("The job that runs every minute; unknown if it never ran")
    )
    cache = serializers.ChoiceField(
        choices=("ok", "down"), help_text=_("The cache; without it, NetBox answers no other call")
    )
    queue = serializers.ChoiceField(choices=("ok", "down"))
    workers = serializers.ChoiceField(
        choices=("ok", "down", "unknown"), help_text=_("Whether a worker takes jobs from the queue")
    )
    pools_low = serializers.IntegerField(allow_null=True, help_text=_("Pools that run short of available segments"))


class ForecastSerializer(serializers.Serializer):
    days_until_exhausted = serializers.IntegerField(
        allow_null=True, help_text=_("Null where the pool does not fill up, 0 where it is exhausted")
    )
    confidence = serializers.FloatField(help_text=_("From 0 to 1: how well a straight line fits the counted days"))
    samples = serializers.IntegerField(help_text=_("How many days the forecast is made from"))
