"""Uses each socket of the services."""

from django.utils.translation import gettext_lazy as _
from prometheus_client.core import GaugeMetricFamily

from netbox_vlan_manager.choices import DriftSeverityChoices
from netbox_vlan_manager.models import SegmentPool
from netbox_vlan_manager.services.base import hooks
from netbox_vlan_manager.services.base.locators import register_locator
from netbox_vlan_manager.services.base.resolution import ResolvedPool
from netbox_vlan_manager.services.drift import findings
from netbox_vlan_manager.services.reporting import gauges, health

from .models import Specimen

# (name of the signal, ids of segments), in the order in which they came.
heard = []


def _listen(name):
    def hear(segments, **kwargs):
        heard.append((name, segments))

    getattr(hooks, f"segments_{name}").connect(hear, weak=False)


for name in ("held", "released", "changed", "deleted"):
    _listen(name)


def refuse(change, segments):
    """Refuse all changes of segments that have a note."""
    noted = Specimen.objects.filter(segment__in=segments).values_list("segment", flat=True)
    return {pk: hooks.Vetoed(f"Take the note off before you {change} segment {pk}.", "specimen_there") for pk in noted}


hooks.register_veto(refuse)


def find_lost(pk):
    specimens = Specimen.objects.filter(note="lost", **({} if pk is None else {"pk": pk}))
    for specimen in specimens.select_related("segment__pool"):
        yield findings.Drift(
            "specimen_lost", specimen.segment.pool, specimen.segment, "The note is lost.", advice="Go."
        )


findings.register("specimen_lost", _("Lost notes"), DriftSeverityChoices.WARNING, find_lost)


@health.register("specimens")
def check():
    return "late" if Specimen.objects.filter(note="late").exists() else "ok"


@gauges.register
def read():
    family = GaugeMetricFamily(f"{gauges.PREFIX}specimens", "Notes")
    family.add_metric([], Specimen.objects.count())
    yield family


def locate(value, vrf, user):
    """Return the pools of the VRF in the order of the names in `value`."""
    pools = {pool.name: pool for pool in SegmentPool.objects.filter(vrf__name=vrf, name__in=value)}
    return [ResolvedPool(pools[name], name) for name in value if name in pools]


register_locator("near", locate)
