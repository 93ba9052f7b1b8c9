from rest_framework.filters import OrderingFilter

__all__ = ("NamedOrderingFilter",)


class NamedOrderingFilter(OrderingFilter):
    """
    Orders by the view's `ordering_fields`, a dict of {field of the serializer: field of the query}.

    REST framework's default takes any field of the serializer, also those that the database cannot order by. The id
    comes last: without it, equal rows would change places from page to page.
    """

    def get_valid_fields(self, queryset, view, context=None):
        return [(name, name) for name in view.ordering_fields]

    def get_ordering(self, request, queryset, view):
        ordering = super().get_ordering(request, queryset, view)
        if not ordering:
            return ordering
        return [
            *(f"{'-' * term.startswith('-')}{view.ordering_fields[term.lstrip('-')]}" for term in ordering),
            "pk",
        ]
