from rest_framework.serializers import CharField, ModelSerializer

from ..models import Specimen


class SpecimenSerializer(ModelSerializer):
    note = CharField()

    class Meta:
        model = Specimen
        fields = ("id", "note")
