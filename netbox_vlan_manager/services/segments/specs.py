"""The values of a new segment, and how those of a user are cleaned."""

from dataclasses import dataclass, field

from django.core.exceptions import ValidationError

from ...choices import SegmentStatusChoices
from ...gateways import GATEWAYS, clean_gateway
from ...models import SegmentPool
from ...validators import clean_epg_name, clean_vid
from .prefix_status import prefix_status
from .spaces import family_errors

__all__ = (
    "NEW_STATUSES",
    "SegmentSpec",
    "clean_gateways",
    "clean_spec",
    "clean_values",
)

# The statuses that a caller may give to a new segment that no cluster holds, even if something uses it.
NEW_STATUSES = (SegmentStatusChoices.AVAILABLE, SegmentStatusChoices.DISABLED)


@dataclass(frozen=True)
class SegmentSpec:
    """The values of a new segment, cleaned (see `clean_spec`)."""

    pool: SegmentPool
    vid: int
    epg_name: str
    prefix: object  # netaddr.IPNetwork
    ipv6_prefix: object = None
    # Gateways as the caller gives them; None for those that the pool's rule gives (see `gateways`).
    gateway: str | None = None
    ipv6_gateway: str | None = None
    dhcp: bool = False
    description: str = ""
    comments: str = ""
    owner: object = None
    # Values of custom fields, {name: value}, in addition to those of the pool.
    custom_field_data: dict = field(default_factory=dict)
    vlan_custom_fields: dict = field(default_factory=dict)
    prefix_custom_fields: dict = field(default_factory=dict)
    changelog_message: str = ""
    # Empty: disabled if something in NetBox uses its VLAN or networks (see `usage`), else available. If it is
    # allocated, the caller writes the allocations in the same transaction.
    status: str = ""
    disabled_reason: str = ""
    quarantined_until: object = None

    @property
    def prefix_status(self):
        """The status of its prefixes."""
        return prefix_status(self.pool, self.status)

    @property
    def networks(self):
        """The one or two networks, by the name of their field."""
        both = {"prefix": self.prefix, "ipv6_prefix": self.ipv6_prefix}
        return {name: network for name, network in both.items() if network is not None}

    @property
    def gateways(self):
        """The gateways of the networks, by the name of their field."""
        return {
            GATEWAYS[name]: getattr(self, GATEWAYS[name]) or self.pool.find_gateway(network)
            for name, network in self.networks.items()
        }


def clean_spec(pool, containers, **values):
    """
    Return a SegmentSpec from the values of a user; it needs no lock.

    Args:
        pool: The SegmentPool.
        containers: Its Containers.
        values: vid, epg_name, the prefixes and the gateways as the user typed them; any other field of SegmentSpec.

    Raises:
        ValidationError: Keyed by field, for all invalid values at once.
    """
    typed = {name: values.pop(name, None) for name in ("vid", "epg_name", "prefix", "ipv6_prefix")}
    typed = clean_values(containers, **typed)
    if errors := family_errors(typed["prefix"], typed["ipv6_prefix"]):
        raise ValidationError(errors)
    values |= clean_gateways(values, typed)
    return SegmentSpec(pool=pool, **typed, **values)


def clean_gateways(values, networks):
    """
    Return the gateways among `values` as they are stored.

    Args:
        values: {field: value as the user typed it}; fields that are no gateways are left out.
        networks: {field of a prefix: its network, or None}

    Raises:
        ValidationError: Keyed by field.
    """
    errors, cleaned = {}, {}
    for prefix, name in GATEWAYS.items():
        if name in values:
            try:
                cleaned[name] = clean_gateway(values[name], networks[prefix])
            except ValidationError as error:
                errors[name] = error.messages
    if errors:
        raise ValidationError(errors)
    return cleaned


def clean_values(containers, **typed):
    """Return the VLAN ID, EPG name and prefixes among `typed` as they are stored, or raise for all errors at once."""
    cleaners = {
        "vid": clean_vid,
        "epg_name": clean_epg_name,
        "prefix": containers.clean,
        "ipv6_prefix": containers.clean_ipv6,
    }
    errors, values = {}, {}
    for name, value in typed.items():
        try:
            values[name] = cleaners[name](value)
        except ValidationError as error:
            errors[name] = error.messages
    if errors:
        raise ValidationError(errors)
    return values
