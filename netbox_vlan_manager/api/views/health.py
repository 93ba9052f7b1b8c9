import django_rq
from django.db import DatabaseError
from drf_spectacular.utils import extend_schema
from redis.exceptions import RedisError
from rest_framework.response import Response

from netbox.constants import RQ_QUEUE_DEFAULT

from ...services.statistics import count_low_pools
from ..serializers import HealthSerializer
from .base import PlainView

__all__ = ("HealthView",)


class HealthView(PlainView):
    """
    Whether the plugin can work: for load balancers and monitoring, which do not log in.
    """

    # Authentication would ask the database, which may be down.
    authentication_classes = ()
    permission_classes = ()

    @extend_schema(auth=[], responses={200: HealthSerializer, 503: HealthSerializer})
    def get(self, request):
        pools_low = self._count_low_pools()
        healthy = {"database": pools_low is not None, "queue": self._queue_answers()}
        ok = all(healthy.values())
        return Response(
            {
                "status": "ok" if ok else "unavailable",
                **{name: "ok" if up else "down" for name, up in healthy.items()},
                "pools_low": pools_low,
            },
            status=200 if ok else 503,
        )

    def _count_low_pools(self):
        try:
            return count_low_pools()
        except DatabaseError:
            return None

    def _queue_answers(self):
        try:
            return django_rq.get_connection(RQ_QUEUE_DEFAULT).ping()
        except RedisError:
            return False
