from rest_framework.routers import APIRootView

from ... import wings

__all__ = ("VLANManagerRootView",)


class VLANManagerRootView(APIRootView):
    """
    VLAN Manager API root view
    """

    # {name in the list: name of the URL}, in addition to the URLs of the router.
    plain_urls = {
        "allocate-vlan": "allocate-vlan",
        "drift": "drift",
        "drift/repair": "drift-repair",
        "export/segments": "export-segments",
        "export/statistics": "export-statistics",
        "health": "health",
        "migrate-first-generation": "migrate-first-generation",
        "release-vlan": "release-vlan",
        "segments/import": "segment-import",
        "statistics": "statistics",
    }

    def get_view_name(self):
        return "VLAN Manager"

    def get(self, request, *args, **kwargs):
        of_wings = {str(url.pattern).rstrip("/"): url.name for url in wings.collect("api.urls.urlpatterns")}
        self.api_root_dict = dict(sorted({**self.api_root_dict, **self.plain_urls, **of_wings}.items()))
        return super().get(request, *args, **kwargs)
