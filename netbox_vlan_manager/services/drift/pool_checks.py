"""
Checks of pools: scope and places, containers, and values.
"""

from copy import copy

from django.contrib.contenttypes.prefetch import GenericPrefetch
from django.db.models import Exists, F, OuterRef
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from dcim.models import Location, Region, Site, SiteGroup
from ipam.choices import PrefixStatusChoices
from ipam.models import Prefix

from ...choices import DriftSeverityChoices
from ...models import SegmentPool
from ...validators import pool_errors
from .findings import Drift, narrow, register, repair_or_advice

CONTAINER = PrefixStatusChoices.STATUS_CONTAINER


def broken_pools(pk):
    """Find pools whose containers, scope or values do not fit."""
    scopes = GenericPrefetch(
        "scope",
        [
            Location.objects.select_related("site__region", "site__group"),
            Site.objects.select_related("region", "group"),
            SiteGroup.objects.all(),
            Region.objects.all(),
        ],
    )
    pools = narrow(SegmentPool.objects.select_related("scope_type", "vrf", "vlan_group"), pk)
    twins = Prefix.objects.filter(vrf=OuterRef("segmentpool__vrf"), prefix=OuterRef("prefix__prefix"))
    # The containers that cannot move into the VRF of their pool: it has another prefix of this network.
    blocked = set(
        SegmentPool.prefixes.through.objects.exclude(prefix__vrf=F("segmentpool__vrf"))
        .filter(Exists(twins))
        .values_list("segmentpool", "prefix")
    )
    for pool in pools.prefetch_related(scopes, "prefixes"):
        if pool.scope is None:
            yield Drift(
                "pool_scope",
                pool,
                pool,
                _("The scope of pool {pool} was deleted").format(pool=pool),
                advice=_("Decide which place the pool serves: edit the pool and choose it."),
            )
        elif stale := _stale_places(pool):
            yield Drift(
                "pool_places",
                pool,
                pool,
                _("The places that pool {pool} is found by are not those of its scope {scope}").format(
                    pool=pool, scope=pool.scope
                ),
                repair=_("Set the places that the pool is found by to those of {scope}.").format(scope=pool.scope),
                changes=((pool, stale),),
            )
        yield from _broken_containers(pool, blocked)
        yield from _unusable_values(pool)


def _stale_places(pool):
    """Return {field: place} of those cached places of `pool` that are outdated."""
    true = copy(pool)
    true.cache_related_objects()
    names = ("_location", "_site", "_site_group", "_region")
    return {name: getattr(true, name) for name in names if getattr(pool, f"{name}_id") != getattr(true, f"{name}_id")}


def _broken_containers(pool, blocked):
    containers = list(pool.prefixes.all())
    if not containers:
        yield Drift(
            "container_missing",
            pool,
            pool,
            _("Pool {pool} has no container").format(pool=pool),
            advice=_("Decide which networks the pool hands out: edit the pool and add a container."),
        )
    if moved := [prefix for prefix in containers if prefix.vrf_id != pool.vrf_id]:
        advice = ""
        if any((pool.pk, prefix.pk) in blocked for prefix in moved):
            advice = _("VRF {vrf} has another prefix of this network: delete it, then repair this.").format(
                vrf=pool.vrf
            )
        yield Drift(
            "container_vrf",
            pool,
            pool,
            _("Container {prefix} of pool {pool} is not in VRF {vrf}").format(
                prefix=", ".join(map(str, moved)), pool=pool, vrf=pool.vrf
            ),
            **repair_or_advice(
                advice,
                _("Put {prefix} back into VRF {vrf}.").format(prefix=", ".join(map(str, moved)), vrf=pool.vrf),
                *((prefix, {"vrf": pool.vrf}) for prefix in moved),
            ),
        )
    if changed := [prefix for prefix in containers if prefix.status != CONTAINER]:
        yield Drift(
            "container_status",
            pool,
            pool,
            _("Container {prefix} of pool {pool} has status {status}").format(
                prefix=", ".join(map(str, changed)),
                pool=pool,
                status=", ".join(sorted({str(prefix.get_status_display()) for prefix in changed})),
            ),
            repair=_("Set the status of {prefix} to Container.").format(prefix=", ".join(map(str, changed))),
            changes=tuple((prefix, {"status": CONTAINER}) for prefix in changed),
        )


def _unusable_values(pool):
    errors = pool_errors(pool, [prefix.prefix for prefix in pool.prefixes.all()])
    # A pool without containers is a finding of its own.
    if pool.prefixes.all() and errors:
        yield Drift(
            "pool_values",
            pool,
            pool,
            _("Pool {pool} has values that it cannot use: {reasons}").format(
                pool=pool, reasons=" ".join(text for texts in errors.values() for text in texts)
            ),
            advice=_("Decide what it should be: edit the pool."),
        )


register("pool_scope", gettext_lazy("Scope gone"), DriftSeverityChoices.ERROR, broken_pools)
register("pool_places", gettext_lazy("Places of the pool"), DriftSeverityChoices.ERROR, broken_pools)
register("container_missing", gettext_lazy("No container"), DriftSeverityChoices.ERROR, broken_pools)
register("container_vrf", gettext_lazy("VRF of a container"), DriftSeverityChoices.ERROR, broken_pools)
register("container_status", gettext_lazy("Status of a container"), DriftSeverityChoices.WARNING, broken_pools)
register("pool_values", gettext_lazy("Values of the pool"), DriftSeverityChoices.WARNING, broken_pools)
