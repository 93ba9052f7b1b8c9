"""Pages say which parameters of their URL do not filter. NetBox ignores them, and its pages look filtered."""

from functools import partial

from django.contrib import messages
from django.shortcuts import redirect
from django.utils.translation import gettext as _

from utilities.htmx import htmx_partial

from ..api.names import find_near
from ..filtersets import PAGE_PARAMETERS

__all__ = (
    "CheckedFiltersMixin",
    "CheckedSelectionMixin",
    "describe_ignored",
)

# How many parameters the messages name, and how many characters of a name they show.
NAMED = 5
NAME_MAX = 50


class IgnoredFiltersError(Exception):
    """An export has parameters that do not filter."""


def describe_ignored(filterset):
    """Return a text for each parameter of a bound filter set that does not filter: an unknown one or a wrong value."""
    texts = []
    for name in filterset.data:
        if errors := filterset.errors.get(name):
            text = _("The filter {name} is ignored: {reason}").format(name=name, reason=" ".join(errors))
        elif name in filterset.filters or name in PAGE_PARAMETERS:
            continue
        else:
            text = _("The filter {name} is unknown and ignored.").format(name=name[:NAME_MAX])
            if near := find_near(name, filterset.filters):
                text += " " + _("Did you mean {meant}?").format(meant=near)
        texts.append(text)
    return texts[:NAMED]


class CheckedFiltersMixin:
    """
    Extends a view with a filtered table: tells the user which parameters are ignored, and exports nothing then.

    Place it before NetBox's view.
    """

    def get(self, request, *args, **kwargs):
        self.filterset = partial(self._get_checked, self.filterset)
        try:
            return super().get(request, *args, **kwargs)
        except IgnoredFiltersError:
            messages.error(request, _("Nothing was exported, because a filter is ignored."))
            query = request.GET.copy()
            query.pop("export")
            return redirect(f"{request.path}?{query.urlencode()}")

    def _get_checked(self, filterset_class, data, *args, **kwargs):
        filterset = filterset_class(data, *args, **kwargs)
        # htmx replaces the table only; its messages would appear on the next page.
        if not htmx_partial(self.request) and (ignored := describe_ignored(filterset)):
            if "export" in data:
                raise IgnoredFiltersError
            for text in ignored:
                messages.warning(self.request, text)
        return filterset


class CheckedSelectionMixin:
    """
    Extends a view of a bulk change: refuses "all that match" if a parameter would be ignored.

    A view with a post() of its own calls `refuse_selection` first.
    """

    def post(self, request, *args, **kwargs):
        return self.refuse_selection(request) or super().post(request, *args, **kwargs)

    def refuse_selection(self, request):
        """Return the response that refuses the selection, or None."""
        if request.POST.get("_all") and (ignored := describe_ignored(self.filterset(request.GET, request=request))):
            text = _("Nothing was changed, because not every filter of the selection works:")
            messages.error(request, " ".join([text, *ignored]))
            return redirect(self.get_return_url(request))
        return None
