"""Links to the endpoint groups of netbox-aci-plugin, where it is installed."""

from functools import cached_property

from django.apps import apps
from django.db.models import Count, Min
from django.urls import reverse
from django.utils.http import urlencode

__all__ = (
    "EPGLinksMixin",
    "epg_urls",
)

PLUGIN = "netbox_aci_plugin"


def epg_urls(names, user):
    """
    Return the URLs of the endpoint groups that have these names and that `user` may view, as {name: URL}.

    If several groups have one name, its URL is that of their list. Without netbox-aci-plugin the result is empty.
    """
    if not apps.is_installed(PLUGIN):
        return {}
    groups = apps.get_model(PLUGIN, "ACIEndpointGroup").objects.restrict(user, "view").filter(name__in=set(names))
    counts = groups.order_by().values_list("name").annotate(count=Count("pk"), pk=Min("pk"))
    return {name: _url(name, count, pk) for name, count, pk in counts}


def _url(name, count, pk):
    view = f"plugins:{PLUGIN}:aciendpointgroup"
    return reverse(view, args=[pk]) if count == 1 else f"{reverse(f'{view}_list')}?{urlencode({'name': name})}"


class EPGLinksMixin:
    """Extends a table: finds the `epg_urls` of the EPG names on its page in one query."""

    @cached_property
    def epg_urls(self):
        if not hasattr(self, "request"):
            return {}
        return epg_urls((row.record.epg_name for row in self.paginated_rows), self.request.user)
