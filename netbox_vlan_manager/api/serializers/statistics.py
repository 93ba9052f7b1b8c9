from rest_framework import serializers

__all__ = (
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
