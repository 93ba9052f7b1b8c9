from django.urls import path
from rest_framework.response import Response
from rest_framework.serializers import CharField, ModelSerializer
from rest_framework.views import APIView

from netbox.api.viewsets import NetBoxReadOnlyModelViewSet

from ..models import Specimen


class SpecimenSerializer(ModelSerializer):
    note = CharField()

    class Meta:
        model = Specimen
        fields = ("id", "note")


class SpecimenViewSet(NetBoxReadOnlyModelViewSet):
    queryset = Specimen.objects.all()
    serializer_class = SpecimenSerializer


class CountView(APIView):
    def get(self, request):
        return Response({"count": Specimen.objects.restrict(request.user, "view").count()})


viewsets = [("specimens", SpecimenViewSet)]
urlpatterns = [path("specimen-count/", CountView.as_view(), name="specimen-count")]
