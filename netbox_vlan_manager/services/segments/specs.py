"""What a new segment is to be: the values of a user, cleaned."""

from dataclasses import dataclass, field

from django.core.exceptions import ValidationError

from ...choices import SegmentStatusChoices
from ...models import SegmentPool
from ...validators import clean_epg_name, clean_vid
from .prefix_status import prefix_status
from .spaces import family_errors

__all__ = (
    "NEW_STATUSES",
    "SegmentSpec",
    "clean_spec",
    "clean_values",
)

# What a caller may say of a new segment that nobody holds, whatever NetBox knows of its use.
NEW_STATUSES = (SegmentStatusChoices.AVAILABLE, SegmentStatusChoices.DISABLED)


@dataclass(frozen=True)
class SegmentSpec:
    """What a new segment shall be; its values are clean (see `clean_spec`)."""

    pool: SegmentPool
    vid: int
    epg_name: str
    prefix: object  # netaddr.IPNetwork
    ipv6_prefix: object = None
    dhcp: bool = False
    description: str = ""
    comments: str = ""
    owner: object = None
    # Beside what the pool has for them, {name: value}.
    custom_field_data: dict = field(default_factory=dict)
    vlan_custom_fields: dict = field(default_factory=dict)
    prefix_custom_fields: dict = field(default_factory=dict)
    changelog_message: str = ""
    # Empty: disabled if NetBox knows that something uses its VLAN or networks (see `usage`), else available.
    # Allocations of one that comes allocated are the caller's business, in the same transaction.
    status: str = ""
    disabled_reason: str = ""
    quarantined_until: object = None

    @property
    def prefix_status(self):
        """Return the status that its prefixes get."""
        return prefix_status(self.pool, self.status)

    @property
    def networks(self):
        """Return the networks by the name of their field: one, or two."""
        both = {"prefix": self.prefix, "ipv6_prefix": self.ipv6_prefix}
        return {name: network for name, network in both.items() if network is not None}


def clean_spec(pool, containers, **values):
    """
    Return a SegmentSpec from the values of a user; it needs no lock.

    Args:
        pool: The SegmentPool.
        containers: Its Containers.
        values: vid, epg_name, prefix and ipv6_prefix as the user typed them; any other field of SegmentSpec.

    Raises:
        ValidationError: Keyed by field, for all invalid values at once.
    """
    typed = {name: values.pop(name, None) for name in ("vid", "epg_name", "prefix", "ipv6_prefix")}
    typed = clean_values(containers, **typed)
    if errors := family_errors(typed["prefix"], typed["ipv6_prefix"]):
        raise ValidationError(errors)
    return SegmentSpec(pool=pool, **typed, **values)


def clean_values(containers, **typed):
    """Return the VLAN ID, EPG name and prefixes among `typed` as they are to be stored, or raise for all at once."""
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
