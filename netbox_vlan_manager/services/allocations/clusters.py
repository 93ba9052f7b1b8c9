"""
Links active allocations to NetBox's clusters of the same name.

The link only repeats what the names say. So it is not change-logged, and neither are NetBox's own cached relations.
Names are compared as the database compares those of allocations: by UPPER(). If two clusters have the name, the
allocation is linked to neither.
"""

from django.db.models import BigIntegerField, Count, F, Min, OuterRef, Subquery, Value
from django.db.models.functions import Coalesce, Collate, Now, Upper

from virtualization.models import Cluster

from ...models import Allocation
from ..base import operations

__all__ = (
    "clusters_named",
    "link_clusters",
    "wrongly_linked",
)


def clusters_named(name):
    """Return the virtualization.Clusters whose name is `name`, an expression."""
    # NetBox's column has a collation of its own, which PostgreSQL refuses to compare with the default one.
    return Cluster.objects.annotate(key=Upper(Collate("name", "default"))).filter(key=Upper(name))


def wrongly_linked():
    """
    Return the allocations whose link is wrong; the annotation `named` is the right one.

    That is the id of the only cluster of that name, or None.
    """
    same = clusters_named(OuterRef("cluster_name")).order_by().values("key")
    only = same.annotate(count=Count("pk"), only=Min("pk")).filter(count=1).values("only")[:1]
    allocations = Allocation.objects.unreleased().annotate(named=Subquery(only))
    linked, named = (Coalesce(F(name), Value(0), output_field=BigIntegerField()) for name in ("cluster", "named"))
    return allocations.alias(linked=linked).exclude(linked=named)


@operations.part("link clusters")
def link_clusters(names):
    """
    Link the active allocations of clusters of these names to NetBox's clusters, or unlink them, in one statement.

    Args:
        names: Names of clusters, compared without case.
    """
    keys = [Upper(Value(name)) for name in names]
    allocations = wrongly_linked().alias(key=Upper("cluster_name")).filter(key__in=keys)
    # The REST answer of an allocation shows its cluster, and its ETag is made of `last_updated`.
    allocations.order_by().update(cluster=F("named"), last_updated=Now())
