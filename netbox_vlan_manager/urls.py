from django.urls import include, path

from utilities.urls import get_model_urls

from . import views  # noqa: F401

urlpatterns = (
    path("pools/", include(get_model_urls("netbox_vlan_manager", "segmentpool", detail=False))),
    path("pools/<int:pk>/", include(get_model_urls("netbox_vlan_manager", "segmentpool"))),
    path("segments/", include(get_model_urls("netbox_vlan_manager", "segment", detail=False))),
    path("segments/<int:pk>/", include(get_model_urls("netbox_vlan_manager", "segment"))),
    path("allocations/", include(get_model_urls("netbox_vlan_manager", "allocation", detail=False))),
    path("allocations/<int:pk>/", include(get_model_urls("netbox_vlan_manager", "allocation"))),
)
