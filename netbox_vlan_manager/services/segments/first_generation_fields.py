"""Reads which clusters hold a prefix of the first generation: the names of its fields, and its rules."""

import re
from dataclasses import dataclass, field

from django.core.exceptions import ValidationError
from django.db import connection
from django.utils.translation import gettext as _

from ipam.choices import PrefixStatusChoices

from ...models import Allocation, Segment
from ...validators import clean_cluster_name
from ..base import transactions
from ..base.cluster_keys import cluster_key, cluster_keys

__all__ = (
    "CLUSTER_FIELD",
    "DHCP_FIELD",
    "DISABLED_REASON",
    "EXACT",
    "FREE",
    "GROUP_INFIX",
    "GROUP_NAME",
    "HELD",
    "LISTED",
    "OLDER",
    "STATUSES",
    "as_text",
    "check_followed",
    "cluster_text",
    "read_holders",
    "read_keys",
)

CLUSTER_FIELD, DHCP_FIELD = "Cluster", "DHCP"
GROUP_INFIX = "-ClickCluster-"
GROUP_NAME = re.compile(rf"(.+?){GROUP_INFIX}(.+)", re.IGNORECASE | re.DOTALL)

FREE, HELD = PrefixStatusChoices.STATUS_ACTIVE, PrefixStatusChoices.STATUS_RESERVED
STATUSES = (FREE, HELD)

# The reason of disabled segments; not translated, since it is stored.
DISABLED_REASON = "reserved without a cluster in the first generation"

# The part of a reserved prefix's description that names its cluster: the form that is older than the custom field.
OLDER_FORM = re.compile(r"\bCluster:\s*([^\s,;]+(?:,[^\s,;]+)*)")

# The forms in which a prefix names a cluster. The first generation answers a cluster with a prefix of the first of
# these forms that exists, and among these with the first prefix in order.
EXACT, LISTED, OLDER = range(3)


@dataclass
class Holders:
    """The clusters that hold a prefix, the form in which it names them, and error texts."""

    names: list = field(default_factory=list)
    form: int = EXACT
    # (name, the same name in another case); the second is not among the names.
    variants: list = field(default_factory=list)
    errors: list = field(default_factory=list)


def as_text(value):
    """Return the value of a custom field as text; the value of a field with several choices is a list."""
    if isinstance(value, list):
        return ",".join(map(str, value))
    return "" if value is None else str(value)


def cluster_text(prefix):
    """Return the clusters of a prefix as it has them in its text; the older form counts while the prefix is held."""
    text = as_text(prefix.custom_field_data.get(CLUSTER_FIELD)).strip()
    if not text and prefix.status == HELD and (older := OLDER_FORM.search(prefix.description)):
        return older[1]
    return text


def read_keys(prefixes, names=()):
    """
    Read the keys that the names of clusters on prefixes, and `names`, are compared by, in one statement.

    Otherwise each later look-up of a name would be a statement of its own.
    """
    on_prefixes = (name.strip() for prefix in prefixes for name in cluster_text(prefix).split(","))
    cluster_keys(filter(None, (*names, *on_prefixes)))


def read_holders(prefix):
    """Return the Holders that a prefix names."""
    text = cluster_text(prefix)
    holders = Holders()
    if not as_text(prefix.custom_field_data.get(CLUSTER_FIELD)).strip():
        holders.form = OLDER
    elif "," in text:
        holders.form = LISTED
    seen = {}
    for name in text.split(","):
        if not name.strip():
            continue
        try:
            name = clean_cluster_name(name)
        except ValidationError as error:
            holders.errors += error.messages
            continue
        known = seen.setdefault(cluster_key(name), name)
        if known is name:
            holders.names.append(name)
        elif known != name:
            holders.variants.append((known, name))
    return holders


def check_followed(segment, prefix):
    """
    Return {field: text} with the reason why a prefix on trial may not get the values of `prefix`: the segment could not
    follow.

    Within a transaction this locks the clusters that get or lose the segment, and then the segment, in the lock order.
    Whether the holders change is set on the prefix as `first_generation_change`.

    Args:
        segment: The Segment, with its prefix as it is stored.
        prefix: The Prefix that is about to be saved.
    """
    stored = segment.prefix
    before = stored.status, as_text(stored.custom_field_data.get(CLUSTER_FIELD))
    prefix.first_generation_change = before != (
        prefix.status,
        as_text(prefix.custom_field_data.get(CLUSTER_FIELD)),
    )
    if not prefix.first_generation_change:
        return {}
    if prefix.status not in STATUSES:
        text = _("The prefix belongs to a segment on trial: its status is Active while it is free, else Reserved.")
        return {"status": text}
    holders = read_holders(prefix)
    if holders.errors:
        return {"status": " ".join(holders.errors)}
    if connection.in_atomic_block:
        # Expired allocations are released, too.
        unreleased = Allocation.objects.unreleased().filter(segment=segment).order_by()
        keys = [*unreleased.values_list("cluster_name", "purpose"), *((name, "") for name in holders.names)]
        transactions.lock_clusters((segment.pool.vrf_id, *key) for key in keys)
        list(Segment.objects.select_for_update(no_key=True).filter(pk=segment.pk).order_by().values_list("pk"))
    held = Allocation.objects.active().filter(segment=segment).order_by()
    known = set(map(cluster_key, held.values_list("cluster_name", flat=True)))
    named = set(map(cluster_key, holders.names))
    if known - named and named - known:
        # The caller read an older state: a cluster would lose its network to another one.
        return {"status": _("Another cluster holds the prefix: release that first.")}
    return {}
