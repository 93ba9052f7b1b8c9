"""
What a cluster asks of a pool, and what the cluster holds already.

An allocation keeps the places that it was asked for. It answers the next call for one of them, whichever pool serves
the place then (see `_held_for_places`). An allocation whose time is over by the database's clock answers nothing.

No function of this module checks the caller's permission on the pool that the caller named. Only where another pool
holds the answer, `viewer` must be permitted to use that pool.
"""

from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial

from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import ValidationError
from django.db.models import Q, Value
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext as _

from extras.models import CustomField

from ...choices import SegmentPoolStatusChoices
from ...exceptions import Busy, LimitReached, PoolPaused, VIDUnavailable
from ...models import ANY_PLACE, Allocation, SegmentPool
from ...validators import ClusterName, clean_purpose
from ..base import operations
from ..base.places import place_key, places_around
from ..base.prepared_queries import fetch_objects, fetch_rows, placeholder
from ..base.resolution import not_permitted, resolve_pool, usable_pools
from ..segments.criteria import SegmentCriteria, clean_criteria
from .clusters import clusters_named

__all__ = (
    "HAS_ENDED",
    "AllocationRequest",
    "check_limits_locked",
    "check_open",
    "check_request_limits",
    "choose_held",
    "clean_expiry",
    "fetch_held",
    "find_held",
    "locate",
    "lock_key",
    "lock_keys",
    "look_up_cluster",
    "new_places",
)

# In prepared queries.
CLUSTER, PURPOSE = placeholder("cluster name", "text"), placeholder("purpose", "text")
VRF = placeholder("VRF", "bigint")

# Keys of the locks for limits, in place of a purpose: callers that count against one limit run one at a time.
CLUSTER_LIMIT, TENANT_LIMIT = "\0cluster", "\0tenant"

# Ten years: a later expiry is taken for a mistake.
LEASE_MAX = timedelta(days=3660)

# The arguments of a request that name the wanted segment (see `clean_criteria`).
CRITERIA = ("vid", "vid_min", "vid_max", "prefix_length", "segment")

# Any segment will do.
ANY = SegmentCriteria()

# The condition that the time of an allocation is over by the database's clock. One without an expiry never ends.
HAS_ENDED = Q(expires_at__lte=Now())


@dataclass(frozen=True)
class AllocationRequest:
    """
    What one cluster asks of one pool, with clean values (see `clean`).

    Attributes:
        places: The keys of the places that the pool was found by; empty where the caller named the pool itself.
        serves: Whether the pool serves these places. If it only holds an allocation for them, it makes no new one.
        viewer: The User who must be permitted to do `action` in another pool that holds the answer; None may do all.
        cluster_id, tenant_id, has_custom_fields: Set by `look_up_cluster`, before the locks.
    """

    pool: SegmentPool
    cluster_name: str
    purpose: str = ""
    places: tuple = ()
    serves: bool = True
    viewer: object = None
    action: str = "allocate"
    criteria: SegmentCriteria = ANY
    expires_at: object = None
    fields: dict = field(default_factory=dict)
    cluster_id: int | None = None
    tenant_id: int | None = None
    has_custom_fields: bool = False

    @classmethod
    def clean(cls, cluster_name, *, pool, purpose="", places=(), expires_at=None, **asked):
        """
        Return the AllocationRequest of the arguments that `allocate` takes. A ClusterName is not cleaned again.

        Raises:
            ValidationError: Keyed by field, but for the cluster name and the purpose.
        """
        seen = {name: asked.pop(name) for name in ("serves", "viewer") if name in asked}
        criteria = {name: asked.pop(name) for name in CRITERIA if name in asked}
        return cls(
            pool=pool,
            cluster_name=str(ClusterName.clean(cluster_name)),
            purpose=clean_purpose(purpose),
            places=tuple(places),
            criteria=clean_criteria(**criteria),
            expires_at=clean_expiry(expires_at),
            fields=asked,
            **seen,
        )


def clean_expiry(expires_at):
    """
    Return `expires_at`, a datetime or None, unchanged.

    Raises:
        ValidationError: It has no time zone, is not in the future, or is more than ten years away.
    """
    if expires_at is None:
        return None
    if timezone.is_naive(expires_at):
        raise ValidationError({"expires_at": _("Give the time zone, such as 2027-01-31T12:00:00Z.")})
    now = timezone.now()
    if expires_at <= now:
        raise ValidationError({"expires_at": _("This is not in the future: give a later time, or none.")})
    if expires_at > now + LEASE_MAX:
        raise ValidationError({"expires_at": _("This is more than ten years away: leave it empty to never expire.")})
    return expires_at


def lock_keys(request):
    """Return the keys that `transactions.lock_clusters` takes for an AllocationRequest."""
    pool = request.pool
    keys = [(pool.vrf_id, request.cluster_name, request.purpose)]
    if pool.max_per_cluster:
        keys.append((pool.pk, request.cluster_name, CLUSTER_LIMIT))
    if pool.max_per_tenant and request.tenant_id:
        keys.append((pool.pk, str(request.tenant_id), TENANT_LIMIT))
    return keys


def lock_key(allocation):
    """Return the key that `transactions.lock_clusters` takes for an Allocation, whose pool is read."""
    return allocation.pool.vrf_id, allocation.cluster_name, allocation.purpose


def check_request_limits(pools):
    """
    Make sure that one call may allocate this number of segments.

    Args:
        pools: The SegmentPool of each segment.

    Raises:
        LimitReached: A pool's `max_per_request` is lower.
    """
    for pool in set(pools):
        count = sum(other == pool for other in pools)
        if pool.max_per_request and count > pool.max_per_request:
            raise LimitReached(
                _("One request may allocate {max} segments of pool {pool}, not {count}: ask in several.").format(
                    max=pool.max_per_request, pool=pool, count=count
                )
            )


def check_open(request):
    """
    Make sure that the pool makes new allocations.

    Raises:
        Busy: The pool was found because the cluster held a segment there for a place that the pool does not serve, and
            the cluster no longer holds it. The same call, made again, finds the pool that serves the place.
        PoolPaused: The pool is paused or retiring.
    """
    if not request.serves:
        raise Busy
    if request.pool.status != SegmentPoolStatusChoices.ACTIVE:
        raise PoolPaused(request.pool)


def check_limits_locked(request, leaving=()):
    """
    Make sure that the pool allows the cluster and its tenant one more segment; the caller holds the limits' locks.

    Args:
        request: The AllocationRequest.
        leaving: Allocations that the caller's transaction will release.

    Raises:
        LimitReached: The cluster or its tenant holds as many segments as the pool allows.
    """
    pool = request.pool
    if not (pool.max_per_cluster or pool.max_per_tenant):
        # Most pools have no limits; this saves a query under the locks.
        return
    active = Allocation.objects.active().filter(pool=pool).exclude(pk__in=[one.pk for one in leaving]).order_by()
    if pool.max_per_cluster:
        count = active.of_cluster(request.cluster_name).count()
        if count >= pool.max_per_cluster:
            raise LimitReached(
                _("Cluster {cluster} holds {count} segments of pool {pool}, which allows a cluster {max}.").format(
                    cluster=request.cluster_name, count=count, pool=pool, max=pool.max_per_cluster
                )
            )
    if pool.max_per_tenant and request.tenant_id:
        count = active.filter(cluster__tenant=request.tenant_id).count()
        if count >= pool.max_per_tenant:
            raise LimitReached(
                _("The tenant's clusters hold {count} segments of pool {pool}, which allows a tenant {max}.").format(
                    count=count, pool=pool, max=pool.max_per_tenant
                )
            )


def locate(cluster_name, site, vrf, *, purpose="", viewer=None, action=None):
    """
    Return the ResolvedPool for a cluster that asks for `site` in `vrf`: the pool that serves the place.

    Where the viewer may use no pool that serves it, or several places or VRFs have that name, the answer is the pool in
    which the cluster holds a segment for that place. With several places, the segment must be held for all of them.

    Args:
        cluster_name, purpose: What the cluster asks with.
        site, vrf: As in `resolution.resolve_pool`.
        viewer: The User who sees only the pools that they may view; None sees all.
        action: "allocate" or "release", which the viewer must be permitted to do in the pool.

    Raises:
        ValidationError: A value is not valid.
        PoolNotFound, AmbiguousPool, PermissionDenied: As `resolution.resolve_pool`.
    """
    return resolve_pool(site, vrf, viewer, action, holding=partial(_find_holding_pool, cluster_name, purpose))


def _find_holding_pool(cluster_name, purpose, places, vrfs, viewer, action):
    """Return the only pool in which a cluster holds the same answer for all of `places`, or None."""
    names = {CLUSTER: ClusterName.clean(cluster_name), PURPOSE: clean_purpose(purpose)}
    found = []
    for vrf in vrfs:
        rows = [row for row in fetch_objects(_held_query, {**names, VRF: vrf}) if not row.has_ended]
        if rows:
            pools = usable_pools({row.pool_id for row in rows}, viewer, action)
            rows = [row for row in rows if row.pool_id in pools]
            by_place = [_answering(rows, [place], pools)[:1] for place in places]
            if by_place[0] and all(held == by_place[0] for held in by_place):
                found.append(pools[by_place[0][0].pool_id])
    return found[0] if len(found) == 1 and found[0].permitted else None


def find_held(request):
    """
    Return the active allocation that answers the request, or None.

    Raises:
        VIDUnavailable: The cluster holds another segment than the one it asks for.
        PermissionDenied: It holds its segment in another pool, which the viewer may see and not use.
    """
    return choose_held(fetch_held(request), request)


@operations.part("look-up")
def fetch_held(request):
    """
    Return the unreleased allocations of the cluster for this purpose in the pool's VRF, the oldest first.

    The annotation `has_ended` marks those whose time is over. Runs one query.
    """
    return fetch_objects(
        _held_query, {VRF: request.pool.vrf_id, CLUSTER: request.cluster_name, PURPOSE: request.purpose}
    )


def _held_query():
    held = Allocation.objects.unreleased().of_cluster(CLUSTER).filter(purpose=PURPOSE, pool__vrf=VRF)
    return held.annotate(has_ended=HAS_ENDED).order_by("allocated_at", "pk")


def choose_held(rows, request):
    """Return the one of the `rows` of `fetch_held` that answers the request, or None; raises as `find_held`."""
    rows = [row for row in rows if not row.has_ended]
    in_pool = [row for row in rows if row.pool_id == request.pool.pk]
    held = in_pool[0] if in_pool else None
    if rows and request.places:
        held = _held_for_places(rows, held, request)
    if held is None:
        return None
    if held.pool_id == request.pool.pk:
        held.pool = request.pool
    if not request.criteria.matches(held):
        raise VIDUnavailable(
            _(
                "Cluster {cluster} holds VLAN ID {vid} ({prefix}) of pool {pool}, which is not {criteria}: "
                "release it first, or give another purpose."
            ).format(
                cluster=held.cluster_name, vid=held.vid, prefix=held.prefix, pool=held.pool, criteria=request.criteria
            )
        )
    return held


def _held_for_places(rows, in_pool, request):
    """
    Return the allocation that a cluster holds for the places that it asks for, in whichever pool, or None.

    That is, in this order: the oldest that was asked for one of these places before; `in_pool`, the one in the pool
    that serves them; the one in the nearest pool around them, of those whose places are not known. Allocations in pools
    that the viewer may not see do not count.
    """
    known = [row for row in rows if not set(row.places).isdisjoint(request.places)]
    if (known or [in_pool])[0] is in_pool and (in_pool or not any(ANY_PLACE in row.places for row in rows)):
        # By far the most common case: no other pool has to be read.
        return in_pool
    pools = usable_pools({row.pool_id for row in rows if row is not in_pool}, request.viewer, request.action)
    pools[request.pool.pk] = request.pool
    rows = [row for row in rows if row.pool_id in pools]
    answering = _answering(rows, request.places, pools, in_pool)
    if not answering:
        return None
    held = answering[0]
    held.pool = pools[held.pool_id]
    if held is not in_pool and not held.pool.permitted:
        raise not_permitted(held.pool, request.action)
    return held


def _answering(rows, places, pools, in_pool=None):
    """
    Return those of a cluster's allocations that answer for one of `places`, the best first.

    Args:
        rows: The Allocations, the oldest first.
        places: Keys of places.
        pools: {id: SegmentPool} of all the rows.
        in_pool: The row that is in the pool that serves the places, or None.
    """
    known = [row for row in rows if not set(row.places).isdisjoint(places)]
    serving = [in_pool] if in_pool in rows else []
    unknown = [row for row in rows if ANY_PLACE in row.places]
    if known or serving or not unknown:
        return known + serving
    around = places_around(places)
    scopes = {row.pk: place_key((pools[row.pool_id].scope_type_id, pools[row.pool_id].scope_id)) for row in unknown}
    return sorted((row for row in unknown if scopes[row.pk] in around), key=lambda row: around.index(scopes[row.pk]))


def new_places(held, request):
    """Return the places of the request that the allocation `held` has not been asked for yet."""
    return [place for place in request.places if place not in held.places]


def look_up_cluster(request):
    """
    Return the request with the cluster's id, its tenant and whether allocations have custom fields, in one query.

    The cluster is the virtualization.Cluster of that name, where there is exactly one. Callers run this before they
    take locks, which are held shorter then.
    """
    rows = fetch_rows(_cluster_query, {CLUSTER: request.cluster_name})
    clusters = [(pk, tenant) for is_cluster, pk, tenant in rows if is_cluster]
    cluster_id, tenant_id = clusters[0] if len(clusters) == 1 else (None, None)
    has_custom_fields = len(rows) > len(clusters)
    return replace(request, cluster_id=cluster_id, tenant_id=tenant_id, has_custom_fields=has_custom_fields)


def _cluster_query():
    # Two matches are enough to know that the name is not unique.
    clusters = clusters_named(Value(CLUSTER)).order_by().values_list(Value(True), "pk", "tenant")[:2]
    links = CustomField.object_types.through.objects
    allocations = ContentType.objects.get_for_model(Allocation)
    fields = links.filter(contenttype_id=allocations.pk).order_by()
    return clusters.union(fields.values_list(Value(False), "pk", "customfield")[:1], all=True).order_by()
