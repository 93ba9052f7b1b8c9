from rest_framework.filters import OrderingFilter

__all__ = ("NamedOrderingFilter",)


class NamedOrderingFilter(OrderingFilter):
    """
    Orders by the fields that the view names in `ordering_fields`, a dict of field name and what the database calls it.

    REST framework's default takes any field of the serializer, also those that the database cannot order by. The id
    comes last: rows that are equal in the rest would change places from page to page.
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
