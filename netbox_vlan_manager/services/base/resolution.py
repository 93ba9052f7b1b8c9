"""
The pool for the names that a caller gives, and the check that the user may use it.

`site` and `vrf` match an id, slug, name or RD without case. An id alone is a site's; "location:5", "site:2",
"site_group:7" and "region:3" name any place by its id. A place with no pool of its own has the pool of the nearest
enclosing place: location, site, site group, region. Two matches are an error that names both, never a guess. Errors
name only pools that the user may view.
"""

import logging
from collections import Counter
from difflib import get_close_matches
from functools import reduce
from operator import or_
from typing import NamedTuple

from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Exists, OuterRef, Q, Value
from django.utils.translation import gettext as _

from ipam.models import VRF

from ...exceptions import AmbiguousPool, PoolNotFound
from ...models import SegmentPool
from ...settings import get_setting
from ...validators import UNSTORABLE
from . import operations
from .places import (
    PLACE_ID,
    PLACE_TYPES,
    clean_id,
    enclosing_places,
    key_of,
    place_key,
    places_of,
    type_id_of,
    typed_name,
)
from .prepared_queries import fetch_objects, fetch_rows, placeholder
from .visibility import pools_permitting

__all__ = (
    "ResolvedPool",
    "check_pool_permission",
    "combinations",
    "not_permitted",
    "resolve_pool",
    "resolve_pool_by_name",
    "serving_pools",
    "usable_pools",
    "visible_pools",
)

# The most combinations that an error lists.
COMBINATIONS_LISTED = 50
# The most of them that its text names.
COMBINATIONS_NAMED = 5
# Comparing long texts is slow.
COMPARED = 100

SITE, VRF_NAME = placeholder("site", "text"), placeholder("vrf", "text")
SITE_ID, VRF_ID = placeholder("id of the site", "bigint"), placeholder("id of the VRF", "bigint")
SCOPE_TYPE_ID, SCOPE_ID = placeholder("type of the scope", "integer"), placeholder("id of the scope", "bigint")


class ResolvedPool(NamedTuple):
    """
    The pool that answers a request, and the places that the request names.

    `site` is the name of the place in answers (see the setting `site_in_answers`). `places` are the texts of the keys
    of the places (see `place_key`), none if the request names the pool itself. `serves` is False if the pool does not
    serve the places, and answers because a cluster holds a segment of it for them.
    """

    pool: SegmentPool
    site: str
    places: tuple = ()
    serves: bool = True


class Place(NamedTuple):
    """A place that a name matches."""

    name: str
    slug: str


def resolve_pool(site, vrf, user=None, action=None, holding=None):
    """
    Return the ResolvedPool that serves `site` in `vrf`.

    Args:
        site: Id of a site (an int), or id, slug or name (text) of a location, site, site group or region; the id of
            another place than a site as in "location:5".
        vrf: Id (an int), or id, name or RD (text), of a VRF.
        user: Whose view decides which pools exist; None sees all.
        action: "allocate" or "release", which the user must be permitted to do in the pool; for a release that means
            some of its allocations (see `visibility.may_release`).
        holding: A function that is called before one of the last three errors is raised, with the texts of the places'
            keys, the ids of the VRFs, the user and the action. It returns the pool that answers, or None.

    Raises:
        ValidationError: A value is missing, or is neither an id nor a name.
        PoolNotFound: No pool that the user may see serves the two.
        AmbiguousPool: Several do.
        PermissionDenied: The user may see the pool, but not do `action` in it.
    """
    # At level DEBUG: it changes nothing, and a line for each call would be too many.
    with operations.track("resolve", level=logging.DEBUG, site=site, vrf=vrf, user=user):
        site, vrf = _clean_names(site=site, vrf=vrf)
        if user is not None and user.is_active and user.is_superuser:
            # NetBox restricts nothing for them.
            user = action = None
        places, vrfs = _matches(site, vrf)
        try:
            return _resolve(site, vrf, places, vrfs, user, action)
        except (PoolNotFound, AmbiguousPool, PermissionDenied) as error:
            meant = error.found if isinstance(error, AmbiguousPool) else {None: _innermost(places)}
            keys = [*dict.fromkeys(key for keys in meant.values() for key in keys)]
            if None not in meant:
                vrfs = {pool.vrf_id for pool in meant}
            pool = holding([*map(place_key, keys)], vrfs, user, action) if holding and keys else None
            if pool is None:
                raise
            return _resolved(pool, places, keys, site, serves=False)


def _resolve(site, vrf, places, vrfs, user, action):
    visible, permitted = visible_pools(user), SegmentPool.objects.all()
    if action is not None:
        permitted = pools_permitting(user, action)
    pools, is_restricted = SegmentPool.objects.filter(vrf__in=vrfs).select_related("vrf"), False
    if not (_is_everything(visible) and _is_everything(permitted)):
        pools, is_restricted = pools.annotate(visible=_among(visible), permitted=_among(permitted)), True
    found = _serving(pools, places, vrfs, is_restricted)
    if is_restricted:
        found = {pool: keys for pool, keys in found.items() if pool.visible}
    if len(found) > 1:
        raise AmbiguousPool(
            _(
                "Site {site!r} and VRF {vrf!r} match more than one pool: {pools}. Use the names or the id of "
                "one of them."
            ).format(
                site=site, vrf=vrf, pools=", ".join(sorted(_describe_match(pool, keys) for pool, keys in found.items()))
            ),
            found,
        )
    if not found:
        known = combinations(user)
        raise PoolNotFound(
            _("No pool serves site {site!r} in VRF {vrf!r}. {known}").format(
                site=site, vrf=vrf, known=_describe_combinations(known, site, vrf)
            ),
            known,
        )
    ((pool, keys),) = found.items()
    if is_restricted and not pool.permitted:
        raise not_permitted(pool, action)
    return _resolved(pool, places, keys, site)


def _resolved(pool, places, keys, asked, serves=True):
    """Return the ResolvedPool of those of `places` that `keys` name."""
    place = places[keys[0]]
    return ResolvedPool(pool, _called(place.name, place.slug, asked), tuple(map(place_key, keys)), serves)


def _innermost(places):
    """Return the keys of those of `places` that are around no other of them."""
    if len(places) < 2:
        return list(places)
    around = {key_of(outer) for place in places_of(places) for outer in enclosing_places(place)}
    return [key for key in places if key not in around]


def _called(name, slug, asked):
    """Return the name of a place in answers."""
    return {"slug": slug, "name": name, "asked": str(asked)}[get_setting("site_in_answers")]


def _describe_match(pool, keys):
    """Return the name of a pool, with the names that make it unique."""
    return _("{pool} (site {site!r}, VRF {vrf!r}, pool {pk})").format(
        pool=pool, site=typed_name(*keys[0]), vrf=_distinct_vrf(pool), pk=pool.pk
    )


def resolve_pool_by_name(value, user=None, action=None):
    """
    Return the ResolvedPool of a pool that is named itself.

    Args:
        value: Id (an int), or id, slug or name (text), of a pool; compared without case. An exact slug comes first, so
            that exported files are never ambiguous.
        user, action: As in `resolve_pool`.

    Raises:
        ValidationError: The value is missing, or is neither an id nor a name.
        PoolNotFound: There is no such pool that the user may see.
        AmbiguousPool: It is the id of one pool, and the name of another, and no slug.
        PermissionDenied: The user may see the pool, but not do `action` in it.
    """
    (value,) = _clean_names(pool=value)
    if user is not None and user.is_active and user.is_superuser:
        user = action = None
    pk = clean_id(value)
    condition = Q(pk=0 if pk is None else pk)
    if isinstance(value, str):
        condition |= Q(slug__iexact=value) | Q(name__iexact=value)
    pools = visible_pools(user).filter(condition).select_related("vrf").order_by("pk")
    if action is not None:
        pools = pools.annotate(permitted=_among(pools_permitting(user, action)))
    found = list(pools)
    found = [pool for pool in found if pool.slug == value] or found
    if len(found) > 1:
        raise AmbiguousPool(
            _("Pool {value!r} matches more than one pool: {pools}. Give the slug, or the id as a number.").format(
                value=value, pools=", ".join(f"{pool} ({pool.slug}, {pool.pk})" for pool in found)
            )
        )
    if not found:
        raise PoolNotFound(_("There is no pool {value!r} that you may use.").format(value=value))
    (pool,) = found
    if action is not None and not pool.permitted:
        raise not_permitted(pool, action)
    return ResolvedPool(pool, _called(pool.scope.name, pool.scope.slug, pool.scope.slug))


def serving_pools(place, user):
    """
    Return those pools which serve `place`, a location, site, site group or region, that `user` may view.

    In each VRF that is the place's own pool, or else the one of the nearest enclosing place. It takes one query for the
    place, a few for those around it, and two for the pools.
    """
    pools = SegmentPool.objects.annotate(visible=_among(SegmentPool.objects.restrict(user, "view")))
    return [pool for pool in _serving(pools, [key_of(place)], ()) if pool.visible]


def visible_pools(user):
    """Return the pools that `user` may view, allocate from or release to; all of them for None."""
    if user is None:
        return SegmentPool.objects.all()
    viewed = SegmentPool.objects.restrict(user, "view")
    if _is_everything(viewed):
        return viewed
    used = (pools_permitting(user, action) for action in ("allocate", "release"))
    return SegmentPool.objects.filter(reduce(or_, (Q(pk__in=pools.values("pk")) for pools in (viewed, *used))))


def check_pool_permission(user, pool, action):
    """
    Make sure that `user` may do `action` ("allocate" or "release") on `pool`, as `visibility.pools_permitting` says.

    Locks nothing.

    Raises:
        PermissionDenied: No object permission grants it.
    """
    if not pools_permitting(user, action).filter(pk=pool.pk).exists():
        raise not_permitted(pool, action)


def usable_pools(ids, user, action):
    """
    Return {id: SegmentPool} of those of `ids` that `user` may know of, with their VRF; one query.

    `permitted` says whether the user may do `action`, "allocate" or "release", in it.
    """
    permitted = pools_permitting(user, action) if user and action else SegmentPool.objects.all()
    pools = visible_pools(user).filter(pk__in=ids).annotate(permitted=_among(permitted))
    return {pool.pk: pool for pool in pools.select_related("vrf").order_by()}


def not_permitted(pool, action):
    """Return the error for a user who may not do `action`, "allocate" or "release", in `pool`."""
    return PermissionDenied(
        _("You may not {action} in pool {pool}; ask for the permission “{action}” on segment pools.").format(
            action=action, pool=pool
        )
    )


def _is_everything(pools):
    """Whether `pools`, a queryset, has no condition: NetBox adds none for a user whose permission has none."""
    return not pools.query.where


def _among(pools):
    """Return the condition that a pool of the query is one of `pools`."""
    return Exists(pools.filter(pk=OuterRef("pk")))


def combinations(user=None):
    """
    Return up to 50 (site, VRF) pairs that have a pool the user may see, sorted, as `resolve_pool` takes them.

    They are names. Where several of these pools have the same, the site is such as "location:5" and the VRF its RD or
    id.
    """
    pools = visible_pools(user).with_scope_name().exclude(scope_name=None).select_related("vrf").order_by("name")
    pools = list(pools[:COMBINATIONS_LISTED])
    counts = Counter(map(_named_pair, pools))
    return sorted(
        _named_pair(pool)
        if counts[_named_pair(pool)] == 1
        else (typed_name(pool.scope_type_id, pool.scope_id), _distinct_vrf(pool))
        for pool in pools
    )


def _named_pair(pool):
    return pool.scope_name, pool.vrf.name


def _distinct_vrf(pool):
    return pool.vrf.rd or str(pool.vrf_id)


def _clean_names(**values):
    """Return the values as an int or trimmed text each; the missing ones are reported together."""
    errors = {}
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | str) or not str(value).strip() or _unstorable(value):
            errors[name] = _("Name the {name} by its id, slug or name.").format(name=name)
    if errors:
        raise ValidationError(errors)
    return tuple(value if isinstance(value, int) else value.strip() for value in values.values())


def _unstorable(value):
    """Whether `value` is a text that no query can have as a parameter."""
    return isinstance(value, str) and bool(UNSTORABLE.search(value))


def _matches(site, vrf):
    """
    Return what the two match: {key of the Place: the Place}, and the VRFs' ids; one query.

    An id without a kind is a site's. The other kinds of places match by slug and name.
    """
    typed = PLACE_ID.fullmatch(site) if isinstance(site, str) else None
    site_type, site_id = (typed[1].lower(), int(typed[2])) if typed else ("site", clean_id(site))
    values = {
        SITE: site if isinstance(site, str) and not typed else None,
        SITE_ID: site_id,
        VRF_NAME: vrf if isinstance(vrf, str) else None,
        VRF_ID: clean_id(vrf),
    }
    values = {stand_in: value for stand_in, value in values.items() if value is not None}
    site_id_type = site_type if SITE_ID in values else None
    rows = fetch_rows(_match_query, values, SITE in values, site_id_type, VRF_NAME in values, VRF_ID in values)
    places, vrf_ids = {}, []
    for type_id, pk, name, slug in rows:
        if type_id == type_id_of(VRF):
            vrf_ids.append(pk)
        else:
            places[type_id, pk] = Place(name, slug)
    return places, vrf_ids


def _match_query(site_is_text, site_id_type, vrf_is_text, vrf_has_id):
    """
    Return the query of `_matches`, with placeholders for what the caller gives.

    Args:
        site_is_text, vrf_is_text: Whether it is compared with names.
        site_id_type: Which of PLACE_TYPES its id is compared with, or None.
        vrf_has_id: Whether it may be an id.
    """

    def match(model, *fields, text, number):
        # Ids begin at 1: 0 matches nothing.
        condition = Q(pk=0 if number is None else number)
        if text is not None:
            condition |= reduce(or_, (Q(**{f"{field}__iexact": text}) for field in fields))
        slug = "slug" if hasattr(model, "slug") else Value("")
        return model.objects.filter(condition).order_by().values_list(Value(type_id_of(model)), "pk", "name", slug)

    site, vrf = SITE if site_is_text else None, VRF_NAME if vrf_is_text else None
    queries = [
        match(model, "slug", "name", text=site, number=SITE_ID if name == site_id_type else None)
        for name, model in PLACE_TYPES.items()
        if site_is_text or name == site_id_type
    ]
    vrfs = match(VRF, "name", "rd", text=vrf, number=VRF_ID if vrf_has_id else None)
    return vrfs.union(*queries, all=True).order_by()


def _serving(pools, places, vrfs, is_restricted=True):
    """
    Return {pool: keys of the places asked for}: for each of the keys `places` and each VRF the nearest of `pools`.

    A place without a pool of its own does not count where it is around another one: a region that bears the name of its
    site is no second meaning of it. `is_restricted` says whether `pools` depends on more than `vrfs`.
    """
    is_one = len(places) == len(vrfs) == 1
    by_scope = _by_scope_alone(*places, *vrfs) if is_one and not is_restricted else _by_scope(pools, places)
    if is_one and len(by_scope) == 1:
        return {pool: [key] for key, (pool,) in by_scope.items()}
    around = {key_of(place): [key_of(outer) for outer in enclosing_places(place)] for place in places_of(places)}
    enclosing = set().union(*around.values())
    by_scope |= _by_scope(pools, enclosing - set(places))
    found = {}
    for key, outer in around.items():
        if key in enclosing and key not in by_scope:
            continue
        served = set()
        for scope in (key, *outer):
            for pool in by_scope.get(scope, ()):
                if pool.vrf_id not in served:
                    served.add(pool.vrf_id)
                    found.setdefault(pool, []).append(key)
    return found


def _by_scope(pools, keys):
    """Return {key of a place: its pools} for those of `keys` that have any; one query."""
    ids = {}
    for type_id, pk in keys:
        ids.setdefault(type_id, []).append(pk)
    at_places = (Q(scope_type=type_id, scope_id__in=pks) for type_id, pks in ids.items())
    found = {}
    for pool in pools.filter(reduce(or_, at_places, Q(pk__in=()))).order_by():
        found.setdefault((pool.scope_type_id, pool.scope_id), []).append(pool)
    return found


def _by_scope_alone(key, vrf_id):
    """Return what `_by_scope` does, for one place and VRF; one prepared query."""
    type_id, pk = key
    pools = fetch_objects(_pool_query, {SCOPE_TYPE_ID: type_id, SCOPE_ID: pk, VRF_ID: vrf_id})
    return {key: pools} if pools else {}


def _pool_query():
    pools = SegmentPool.objects.filter(scope_type=SCOPE_TYPE_ID, scope_id=SCOPE_ID, vrf=VRF_ID)
    return pools.select_related("vrf").order_by()


def _describe_combinations(known, site, vrf):
    if not known:
        return _("There is no pool that you may use.")
    texts = {f"{site} in {vrf}".casefold(): f"{site} in {vrf}" for site, vrf in known}
    if len(texts) <= COMBINATIONS_NAMED:
        return _("These exist: {combinations}.").format(combinations=", ".join(texts.values()))
    asked = f"{site} in {vrf}"[:COMPARED].casefold()
    likely = get_close_matches(asked, texts, n=COMBINATIONS_NAMED, cutoff=0)
    return _("Did you mean {combinations}?").format(combinations=", ".join(texts[text] for text in likely))
