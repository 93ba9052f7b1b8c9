from django_filters.rest_framework import DjangoFilterBackend
from rest_framework.permissions import SAFE_METHODS

from ..filtersets import PAGE_PARAMETERS
from .names import check_names, check_query

__all__ = ("NamedFilterBackend",)


class NamedFilterBackend(DjangoFilterBackend):
    """
    Refuses unknown filters in reads.

    NetBox ignores them: a client that misspells a filter would get more objects than it asked for. The view's
    `list_parameters` are the names of query parameters that are no filters.
    """

    def get_filterset(self, request, queryset, view):
        filterset = super().get_filterset(request, queryset, view)
        if filterset is not None and request.method in SAFE_METHODS:
            known = (*filterset.filters, *view.list_parameters)
            check_query(request, known)
            # A saved filter adds its parameters, which may include those of the page that it was saved on.
            added = [name for name in filterset.data if name not in request.query_params]
            check_names([name for name in added if name not in PAGE_PARAMETERS], known)
        return filterset
