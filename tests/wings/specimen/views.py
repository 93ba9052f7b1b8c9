from django.http import JsonResponse
from django.views.generic import View

from .models import Specimen


class SpecimensView(View):
    def get(self, request):
        specimens = Specimen.objects.restrict(request.user, "view")
        return JsonResponse({"notes": [specimen.note for specimen in specimens]})
