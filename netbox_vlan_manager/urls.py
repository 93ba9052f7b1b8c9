from django.urls import include, path
from django.views.generic import RedirectView

from utilities.urls import get_model_urls

from . import views, wings

urlpatterns = (
    # The overview has a path of its own: NetBox's menu marks each item whose path is the beginning of the page's path.
    path("", RedirectView.as_view(pattern_name="plugins:netbox_vlan_manager:overview"), name="root"),
    path("overview/", views.OverviewView.as_view(), name="overview"),
    path("drift/", views.DriftView.as_view(), name="drift"),
    path("drift/repair/", views.DriftRepairView.as_view(), name="drift_repair"),
    path("resend/", views.ResendView.as_view(), name="resend"),
    path("drift/repair/jobs/<int:pk>/", views.DriftRepairJobView.as_view(), name="drift_repair_job"),
    path("help/", views.HelpView.as_view(), name="help"),
    path("pools/", include(get_model_urls("netbox_vlan_manager", "segmentpool", detail=False))),
    path("pools/<int:pk>/", include(get_model_urls("netbox_vlan_manager", "segmentpool"))),
    path("segments/migrate/", views.MigrationView.as_view(), name="migration"),
    path("segments/migrate/jobs/<int:pk>/", views.MigrationJobView.as_view(), name="migration_job"),
    path("segments/", include(get_model_urls("netbox_vlan_manager", "segment", detail=False))),
    path("segments/<int:pk>/", include(get_model_urls("netbox_vlan_manager", "segment"))),
    path("allocations/timeline/", views.TimelineView.as_view(), name="timeline"),
    path("allocations/", include(get_model_urls("netbox_vlan_manager", "allocation", detail=False))),
    path("allocations/<int:pk>/", include(get_model_urls("netbox_vlan_manager", "allocation"))),
    *wings.collect("urls.urlpatterns"),
)
