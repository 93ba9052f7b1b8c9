from django.urls import path
from rest_framework.response import Response
from rest_framework.views import APIView

from netbox.api.viewsets import NetBoxReadOnlyModelViewSet

from ..models import Specimen
from .serializers import SpecimenSerializer


class SpecimenViewSet(NetBoxReadOnlyModelViewSet):
    queryset = Specimen.objects.all()
    serializer_class = SpecimenSerializer


class CountView(APIView):
    def get(self, request):
        return Response({"count": Specimen.objects.restrict(request.user, "view").count()})


viewsets = [("specimens", SpecimenViewSet)]
urlpatterns = [path("specimen-count/", CountView.as_view(), name="specimen-count")]
