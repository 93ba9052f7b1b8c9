"""
The values that prefixes need so that the first generation answers as the plugin does.
"""

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

from core.models import ObjectType
from extras.models import CustomField
from ipam.models import Prefix

from ....choices import SegmentStatusChoices
from ...base.cluster_keys import cluster_key
from ...base.import_values import clean_bool
from ...segments.first_generation_fields import (
    CLUSTER_FIELD,
    DHCP_FIELD,
    EXACT,
    FREE,
    HELD,
    LISTED,
    OLDER,
    as_text,
    read_holders,
    read_keys,
)

__all__ = (
    "has_cluster_field",
    "plan_prefixes",
    "read_dhcp",
)


def read_dhcp(prefix):
    """
    Return whether DHCP serves a prefix.

    Raises:
        ValidationError: The custom field is neither true nor false.
    """
    text = as_text(prefix.custom_field_data.get(DHCP_FIELD)).strip().lower()
    try:
        return clean_bool(text)
    except ValidationError:
        text = _("DHCP is {value}: it has to be true or false.").format(value=repr(text[:60]))
        raise ValidationError(text) from None


def has_cluster_field():
    """Return whether prefixes have the custom field Cluster."""
    return CustomField.objects.filter(
        name=CLUSTER_FIELD, object_types=ObjectType.objects.get_for_model(Prefix)
    ).exists()


class _Plan:
    """The text about the clusters that the prefix of a segment needs."""

    def __init__(self, segment, allocations):
        self.segment, self.allocations = segment, allocations
        # The oldest of a shared one comes first, as the first generation appends names.
        names = list({cluster_key(one.cluster_name): one.cluster_name for one in allocations}.values())
        holders = read_holders(segment.prefix)
        self.text = as_text(segment.prefix.custom_field_data.get(CLUSTER_FIELD)).strip()
        self.form = holders.form
        is_true = not holders.errors and set(map(cluster_key, holders.names)) == set(map(cluster_key, names))
        if not is_true or (holders.form == OLDER and not names):
            self.set(",".join(names))

    def set(self, text):
        self.text = text
        self.form = LISTED if "," in text else EXACT

    @property
    def order(self):
        return self.form, self.segment.prefix.prefix.sort_key(), self.segment.prefix_id


def plan_prefixes(held):
    """
    Return the values that prefixes need so that the first generation answers each cluster as the plugin does.

    Args:
        held: {Segment: its active Allocations}, with all segments of a pool that a cluster among them holds.

    Returns:
        (Prefix, {field: value}) pairs to be written, and {Segment: text} for the segments in place of which the first
        generation would answer another one.
    """
    names = (one.cluster_name for allocations in held.values() for one in allocations)
    read_keys([segment.prefix for segment in held], names)
    plans = {segment: _Plan(segment, allocations) for segment, allocations in held.items()}
    by_cluster = {}
    for plan in plans.values():
        for allocation in plan.allocations:
            by_cluster.setdefault(cluster_key(allocation.cluster_name), []).append((plan, allocation))
    notes = {}
    for found in by_cluster.values():
        leading = next((plan for plan, allocation in found if not allocation.purpose), None)
        if leading is None or len(found) == 1:
            continue
        for plan, allocation in found:
            if plan is not leading and plan.order < leading.order and plan.form == EXACT:
                # The first generation looks for lists, such as this one of one name, after exact names.
                plan.set(f"{allocation.cluster_name},")
        first = min((plan for plan, _allocation in found), key=lambda plan: plan.order)
        if first is not leading:
            notes[leading.segment] = _(
                "Cluster {cluster} holds several segments: the first generation will answer {other}."
            ).format(cluster=found[0][1].cluster_name, other=first.segment.prefix.prefix)
    changes = [change for plan in plans.values() for change in _prefix_changes(plan)]
    return changes, notes


def _prefix_changes(plan):
    """Yield (Prefix, {field: value}) for the prefixes of a segment whose values differ from the plan."""
    segment = plan.segment
    is_held = bool(plan.allocations) or segment.status == SegmentStatusChoices.DISABLED
    for prefix in filter(None, (segment.prefix, segment.ipv6_prefix)):
        values = {}
        if prefix.status != (HELD if is_held else FREE):
            values["status"] = HELD if is_held else FREE
        fields = {}
        known = prefix.custom_field_data.get(CLUSTER_FIELD)
        # The IPv6 prefix of a segment with both need not name the clusters, but must not name others.
        text = plan.text if prefix is segment.prefix else as_text(known).strip() if plan.allocations else ""
        if text != as_text(known).strip():
            fields[CLUSTER_FIELD] = [one for one in text.split(",") if one] if isinstance(known, list) else text or None
        if prefix is segment.prefix:
            fields |= _dhcp_change(segment)
        if fields:
            values["custom_field_data"] = {**prefix.custom_field_data, **fields}
        if values:
            yield prefix, values


def _dhcp_change(segment):
    """Return {custom field: value} if the prefix of a segment has another value of DHCP, else {}."""
    known = segment.prefix.custom_field_data.get(DHCP_FIELD)
    try:
        if known is None or read_dhcp(segment.prefix) == segment.dhcp:
            return {}
    except ValidationError:
        pass
    return {DHCP_FIELD: str(segment.dhcp).lower() if isinstance(known, str) else segment.dhcp}
