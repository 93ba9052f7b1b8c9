from django.urls import path

from netbox.api.routers import NetBoxRouter

from .. import wings
from . import views

router = NetBoxRouter()
router.APIRootView = views.VLANManagerRootView
router.register("pools", views.SegmentPoolViewSet)
router.register("segments", views.SegmentViewSet)
router.register("allocations", views.AllocationViewSet)
for prefix, viewset in wings.collect("api.urls.viewsets"):
    router.register(prefix, viewset)

app_name = "netbox_vlan_manager-api"

urlpatterns = [
    path("allocate-vlan/", views.AllocateVLANView.as_view(), name="allocate-vlan"),
    path("release-vlan/", views.ReleaseVLANView.as_view(), name="release-vlan"),
    # Clients of the first generation omit the slash, and a redirect would lose the body.
    path("allocate-vlan", views.AllocateVLANView.as_view(schema=None)),
    path("release-vlan", views.ReleaseVLANView.as_view(schema=None)),
    path("segments/import/", views.SegmentImportView.as_view(), name="segment-import"),
    path("drift/", views.DriftView.as_view(), name="drift"),
    path("drift/repair/", views.DriftRepairView.as_view(), name="drift-repair"),
    path("migrate-first-generation/", views.MigrationView.as_view(), name="migrate-first-generation"),
    path("statistics/", views.StatisticsView.as_view(), name="statistics"),
    path("export/segments/", views.SegmentExportView.as_view(), name="export-segments"),
    path("export/statistics/", views.StatisticsExportView.as_view(), name="export-statistics"),
    path("health/", views.HealthView.as_view(), name="health"),
    *wings.collect("api.urls.urlpatterns"),
    *router.urls,
]
