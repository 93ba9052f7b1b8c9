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
    utilization = serializers.FloatField(source="usage.utilization", help_text="Percent")


class HealthSerializer(serializers.Serializer):
    status = serializers.ChoiceField(choices=("ok", "unavailable"))
    database = serializers.ChoiceField(choices=("ok", "down"))
    queue = serializers.ChoiceField(choices=("ok", "down"))
    pools_low = serializers.IntegerField(allow_null=True, help_text="Pools that run short of available segments")


class ForecastSerializer(serializers.Serializer):
    days_until_exhausted = serializers.IntegerField(
        allow_null=True, help_text="Null where the pool does not fill up, 0 where it is exhausted"
    )
    confidence = serializers.FloatField(help_text="From 0 to 1: how well a straight line tells what has been")
    samples = serializers.IntegerField(help_text="How many days the forecast is made from")
