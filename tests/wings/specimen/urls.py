from django.urls import path

from .views import SpecimensView

urlpatterns = [path("specimens/", SpecimensView.as_view(), name="specimens")]
