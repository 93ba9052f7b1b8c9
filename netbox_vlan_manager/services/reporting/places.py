"""Finds allocations for places that another pool serves now, because pools or places changed since they were made."""

from collections import Counter

from django.db.models import Count, Q
from django.db.models.functions import Upper

from dcim.models import Location, Region, Site, SiteGroup

from ...models import ANY_PLACE, Allocation, SegmentPool
from ..base.places import place_key
from ..base.resolution import visible_pools
from ..base.visibility import known_allocations, pools_permitting

__all__ = (
    "held_elsewhere",
    "holdings_elsewhere",
    "places_of",
)


class _Places:
    """
    Which pools serve places. It takes at most six queries, and none without places.

    Args:
        pools: A queryset of the SegmentPools that count, such as those that the user may view.
        keys: The keys of the places (see `base.places.place_key`).
    """

    def __init__(self, pools, keys):
        self._around = _around(keys - {ANY_PLACE})
        rows = pools.values_list("pk", "vrf", "scope_type", "scope_id") if self._around else ()
        self._scopes = {(vrf, place_key(scope)): pk for pk, vrf, *scope in rows}

    def serving(self, vrf, keys):
        """Return the ids of the pools that serve the places of these keys in a VRF."""
        nearest = (
            next((self._scopes[vrf, key] for key in self._around[place] if (vrf, key) in self._scopes), None)
            for place in {*keys} - {ANY_PLACE}
        )
        return {*nearest} - {None}

    def is_around(self, outer, inner):
        """Whether the place of the key `outer` is around that of `inner`."""
        return outer in self._around[inner]


def held_elsewhere(vrfs, user):
    """
    Return {pool id: how many active allocations of other pools of its VRF answer for places that it serves now}.

    Those of pools that `user` may not view are not counted. It takes one query if there are none, and else a fixed
    number, independent of the number of pools.

    Args:
        vrfs: {pool id: VRF id} of the pools.
        user: The User.
    """
    viewed = SegmentPool.objects.restrict(user, "view").filter(vrf__in={*vrfs.values()}).order_by()
    allocations = Allocation.objects.active().filter(pool__in=viewed.values("pk")).order_by()
    # Many allocations share few lists of places.
    rows = list(allocations.values_list("pool", "pool__vrf", "places").annotate(count=Count("pk")))
    places = _Places(viewed, {place for _pool, _vrf, places, _count in rows for place in places})
    # A pool that is not in `vrfs`, because it is new, does not count.
    counts = Counter(dict.fromkeys(vrfs, 0))
    for holder, vrf, keys, count in rows:
        for pool in places.serving(vrf, keys) & counts.keys() - {holder}:
            counts[pool] += count
    return counts


def holdings_elsewhere(pools, keys, user):
    """
    Return what clusters hold in other pools for places that `pools` serve now.

    An allocation whose places are not known answers for all that its pool is around. It takes one query where the
    clusters hold nothing in other pools, and a fixed number else.

    Args:
        pools: The SegmentPools, a set.
        keys: What the names of the clusters are compared by (see `cluster_keys`).
        user: The User, for whom only allocations count that they may know of, or that would answer if they allocated;
            None for all.

    Returns:
        {(pool id, key, purpose): [Allocation with its pool]}
    """
    scopes = {pool: place_key((pool.scope_type_id, pool.scope_id)) for pool in pools}
    visible = visible_pools(user).filter(vrf__in={pool.vrf_id for pool in pools}).order_by()
    allocations = Allocation.objects.active().annotate(key=Upper("cluster_name"))
    allocations = allocations.filter(key__in=keys, pool__in=visible.values("pk")).select_related("pool").order_by("pk")
    if user is not None:
        answering = pools_permitting(user, "allocate").order_by().values("pk")
        known = known_allocations(user).order_by().values("pk")
        allocations = allocations.filter(Q(pool__in=answering) | Q(pk__in=known))
    # An allocation in one pool matters to the other pools only.
    rows = [allocation for allocation in allocations if {*pools} - {allocation.pool}]
    places = _Places(visible, {place for row in rows for place in row.places} | {*scopes.values()} if rows else set())
    found = {}
    for row in rows:
        serving = places.serving(row.pool.vrf_id, row.places)
        outer = place_key((row.pool.scope_type_id, row.pool.scope_id))
        for pool, scope in scopes.items():
            is_anywhere = ANY_PLACE in row.places and row.pool.vrf_id == pool.vrf_id and places.is_around(outer, scope)
            if pool != row.pool and (pool.pk in serving or is_anywhere):
                found.setdefault((pool.pk, row.key, row.purpose), []).append(row)
    return found


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
    if not keys:
        return {}
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
