from drf_spectacular.utils import extend_schema
from rest_framework.response import Response

from ... import filtersets
from ...models import SegmentPool
from ...services.reporting.places import held_elsewhere
from ...services.reporting.statistics import pool_statistics
from ..filtering import NamedFilterBackend
from ..schema import FORBIDDEN, INVALID
from ..serializers import PoolStatisticsSerializer
from .base import PlainView

__all__ = (
    "FilteredView",
    "StatisticsView",
)


class FilteredView(PlainView):
    """A view of the objects that the user may view and that match the filters in the query string."""

    queryset = None
    filterset_class = None
    filter_backends = (NamedFilterBackend,)
    # The filter backend checks them: the filters of custom fields come from the database.
    query_names = None
    list_parameters = filtersets.SAVED_FILTER

    def get_filtered_queryset(self):
        queryset = self.queryset.restrict(self.request.user, "view")
        return NamedFilterBackend().filter_queryset(self.request, queryset, self)


class StatisticsView(FilteredView):
    """
    List how many segments each pool has, by status, and how many allocations other pools hold for its places.
    """

    queryset = SegmentPool.objects.all()
    filterset_class = filtersets.PoolStatisticsFilterSet

    @extend_schema(responses={200: PoolStatisticsSerializer(many=True), **INVALID, **FORBIDDEN}, filters=True)
    def get(self, request):
        pools = self.get_filtered_queryset()
        held = held_elsewhere(dict(pools.order_by().values_list("pk", "vrf")), request.user)
        context = {"held_elsewhere": held}
        return Response(PoolStatisticsSerializer(pool_statistics(pools), many=True, context=context).data)
