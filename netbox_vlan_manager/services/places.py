"""What clusters hold for places that another pool serves, since pools came and places moved after they asked."""

from django.db.models import Count

from dcim.models import Location, Region, Site, SiteGroup

from ..models import ANY_PLACE, Allocation, SegmentPool
from .resolution import place_key

__all__ = (
    "held_elsewhere",
    "places_of",
)


def held_elsewhere(vrfs, user):
    """
    Return {pool id: how many active allocations of other pools of its VRF answer for places that it serves now}.

    Those of pools that `user` may not view are not counted. It takes one query where there are none, and a fixed number
    else, for however many pools.

    Args:
        vrfs: {pool id: VRF id} of the pools.
        user: The User.
    """
    viewed = SegmentPool.objects.restrict(user, "view").filter(vrf__in={*vrfs.values()}).order_by()
    allocations = Allocation.objects.active().filter(pool__in=viewed.values("pk")).order_by()
    # There are few lists of places, however many allocations have them.
    rows = list(allocations.values_list("pool", "pool__vrf", "places").annotate(count=Count("pk")))
    counts = dict.fromkeys(vrfs, 0)
    around = _around({place for _pool, _vrf, places, _count in rows for place in places} - {ANY_PLACE})
    if not around:
        return counts
    # What serves a place to this user, to whom no other pool is there.
    scopes = {
        (vrf, place_key(scope)): pk for pk, vrf, *scope in viewed.values_list("pk", "vrf", "scope_type", "scope_id")
    }
    for holder, vrf, places, count in rows:
        serving = {
            next((scopes[vrf, key] for key in around[place] if (vrf, key) in scopes), None)
            for place in {*places} - {ANY_PLACE}
        }
        for pool in serving & counts.keys() - {holder}:
            counts[pool] += count
    return counts


def places_of(allocation, user):
    """Return those places that `allocation` was asked for which `user` may view, in at most four queries."""
    places = []
    for model, ids in _by_model(set(allocation.places) - {ANY_PLACE}).items():
        if ids:
            places += model.objects.restrict(user, "view").filter(pk__in=ids).order_by("name")
    return places


def _by_model(keys):
    """Return {model: ids} of the places that `keys` name."""
    ids = {model: set() for model in (Location, Site, SiteGroup, Region)}
    labels = {model._meta.label_lower: model for model in ids}
    for label, pk in (key.split(":") for key in keys):
        ids[labels[label]].add(int(pk))
    return ids


def _around(keys):
    """Return {key: the keys of the place itself and of those around it, the nearest first}, in at most five queries."""
    ids = _by_model(keys)
    keys = [(model, pk) for model in ids for pk in ids[model]]
    locations = {}
    if ids[Location]:
        sites = Location.objects.filter(pk__in=ids[Location]).order_by().values("site")
        rows = Location.objects.filter(site__in=sites).order_by().values_list("pk", "parent", "site")
        locations = {pk: (parent, site) for pk, parent, site in rows}
        ids[Site] |= {site for _parent, site in locations.values()}
    rows = Site.objects.filter(pk__in=ids[Site]).order_by().values_list("pk", "group", "region")
    sites = {pk: (group, region) for pk, group, region in rows}
    parents = {model: dict(model.objects.order_by().values_list("pk", "parent")) for model in (SiteGroup, Region)}

    def chain(model, pk):
        while pk is not None:
            yield f"{model._meta.label_lower}:{pk}"
            pk = locations.get(pk, (None,))[0] if model is Location else parents[model].get(pk)

    def around(model, pk):
        if model in parents:
            yield from chain(model, pk)
            return
        if model is Location:
            yield from chain(model, pk)
            pk = locations.get(pk, (None, None))[1]
        if pk in sites:
            yield f"{Site._meta.label_lower}:{pk}"
            for outer, outer_pk in zip((SiteGroup, Region), sites[pk], strict=True):
                yield from chain(outer, outer_pk)

    return {f"{model._meta.label_lower}:{pk}": list(around(model, pk)) for model, pk in keys}
