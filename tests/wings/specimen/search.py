from netbox.search import SearchIndex

from .models import Specimen


class SpecimenIndex(SearchIndex):
    model = Specimen
    fields = (("note", 100),)


indexes = [SpecimenIndex]
