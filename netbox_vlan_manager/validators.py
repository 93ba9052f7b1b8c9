"""
What each value must look like, in one place for models, forms, REST and imports.

Each function takes what a user typed and returns the value to store, or raises a ValidationError whose text names the
value and the way out. Callers key the error by their field. None of them asks the database.
"""

import re
import unicodedata

import netaddr
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

from .choices import GatewayRuleChoices
from .gateways import count_usable
from .settings import get_setting

__all__ = (
    "UNSTORABLE",
    "ClusterName",
    "clean_cidr",
    "clean_cluster_name",
    "clean_duration",
    "clean_epg_name",
    "clean_purpose",
    "clean_vid",
    "clean_vid_range",
    "duration_text",
    "epg_name_pattern",
    "make_epg_name",
    "new_prefix_errors",
    "parse_vid_ranges",
    "pool_errors",
    "prefix_length_bounds",
    "render_epg_name",
    "usual_prefix_length",
    "validate_epg_template",
)

# IEEE 802.1Q, 9.6: 0 marks priority-tagged frames and 4095 is reserved.
VID_MIN = 1
VID_MAX = 4094

# The length of an address in bits, by IP version.
ADDRESS_BITS = {4: 32, 6: 128}

# IPv6 takes links of at least this MTU (RFC 8200, 5).
IPV6_MTU_MIN = 1280

# The prefix lengths that most networks for clusters have, by IP version.
USUAL_PREFIX_LENGTHS = {4: 24, 6: 64}

CLUSTER_NAME_MAX_LENGTH = 100
EPG_NAME_MAX_LENGTH = 64
PURPOSE_MAX_LENGTH = 50

# The characters that PostgreSQL neither stores nor takes as a parameter, and JSON can carry: NUL, and halves of
# surrogate pairs.
UNSTORABLE = re.compile("[\0\ud800-\udfff]")

EPG_TEMPLATE = "EPG_{site}_{vid}"
EPG_TEMPLATE_NAMES = ("site", "vrf", "pool", "vid")

# The units of a duration, in seconds, largest first.
DURATION_UNITS = {"w": 7 * 24 * 3600, "d": 24 * 3600, "h": 3600, "m": 60, "s": 1}

PURPOSE = re.compile(r"[a-z0-9_-]{0,50}")

# Addresses that no segment may carry: RFC 1122 (0/8, 127/8), RFC 3927, RFC 5771, RFC 1112 (240/4); RFC 4291 for IPv6,
# of which 2.5.5.2 writes IPv4 addresses in another form.
UNUSABLE_NETWORKS = tuple(
    netaddr.IPNetwork(network)
    for network in (
        "0.0.0.0/8",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "::/127",
        "::ffff:0:0/96",
        "fe80::/10",
        "ff00::/8",
    )
)


def clean_vid(value):
    """
    Return `value` as a VLAN ID.

    Args:
        value: An int, or a string of digits.

    Raises:
        ValidationError: It is no whole number from 1 to 4094 (IEEE 802.1Q, 9.6).
    """
    text = str(value).strip()
    # Five digits without leading zeros: no number is too long for int(), and none that is too great becomes valid.
    digits = text.lstrip("0")[:5] or "0"
    if isinstance(value, bool) or not (text.isascii() and text.isdigit()) or not VID_MIN <= int(digits) <= VID_MAX:
        raise ValidationError(
            _("VLAN ID {value} is not valid: use a whole number from {min} to {max}.").format(
                value=_shown(value), min=VID_MIN, max=VID_MAX
            )
        )
    return int(digits)


def clean_vid_range(first, last):
    """
    Return the first and the last VLAN ID of a range.

    Args:
        first, last: As `clean_vid` takes them.

    Raises:
        ValidationError: One is no VLAN ID, or the range ends before it begins.
    """
    first, last = clean_vid(first), clean_vid(last)
    if first > last:
        text = _("Range {first}-{last} is reversed: begin with the lower ID.")
        raise ValidationError(text.format(first=first, last=last))
    return first, last


def parse_vid_ranges(text):
    """
    Return "100-199,300" as (first, last) pairs.

    Raises:
        ValidationError: It is no list of VLAN IDs and ranges of them.
    """
    ranges = []
    for part in re.split(r"[,\s]+", text.strip().strip(",")):
        match = re.fullmatch(r"([0-9]{1,4})(?:-([0-9]{1,4}))?", part)
        if match is None:
            raise ValidationError(
                _("{value!r} is no range of VLAN IDs: write ranges such as 100-199,300-399.").format(value=part[:50])
            )
        ranges.append((int(match[1]), int(match[2] or match[1])))
    return ranges


def clean_epg_name(value):
    """
    Return `value`, trimmed, as an EPG name: 1 to 64 of A-Z a-z 0-9 _ . : -.

    Cisco ACI takes these names (class fvAEPg, property name), and a VLAN's name can be as long. The setting
    `epg_name_characters` may allow fewer or more of the special characters.

    Raises:
        ValidationError: It is empty, too long, or has another character.
    """
    name = "" if value is None else str(value).strip()
    if not re.fullmatch(epg_name_pattern(), name):
        text = _("EPG name {value} is not valid: use 1 to {max} letters (A-Z, a-z), digits and {characters}.")
        characters = " ".join(_epg_characters())
        raise ValidationError(text.format(value=_shown(value), max=EPG_NAME_MAX_LENGTH, characters=characters))
    return name


def epg_name_pattern():
    """Return a regular expression for the whole of an EPG name, which Python and PostgreSQL read alike."""
    return f"[A-Za-z0-9{_epg_characters()}]{{1,{EPG_NAME_MAX_LENGTH}}}"


def make_epg_name(text):
    """Return `text` with "_" in place of characters that no EPG name may have; it may still be too long, or empty."""
    return re.sub(f"[^A-Za-z0-9{_epg_characters()}]+", "_", text)


def _epg_characters():
    allowed = get_setting("epg_name_characters")
    # In this order, a character class of a regular expression needs no escapes.
    return "".join(character for character in "_.:/-" if character == "_" or character in allowed)


def validate_epg_template(value):
    """
    Make sure that `value` is a template of EPG names (see `render_epg_name`).

    Raises:
        ValidationError: It has a placeholder other than {site}, {vrf}, {pool} and {vid}, has no {vid}, so that names
            would not be unique, or has characters that no EPG name may have.
    """
    names = re.findall(r"\{([^{}]*)\}", value)
    if unknown := [name for name in names if name not in EPG_TEMPLATE_NAMES]:
        raise ValidationError(
            _("Template {value} names {unknown}: use {names}.").format(
                value=_shown(value),
                unknown=", ".join(f"{{{name}}}" for name in unknown),
                names=", ".join(f"{{{name}}}" for name in EPG_TEMPLATE_NAMES),
            )
        )
    if "vid" not in names:
        raise ValidationError(
            _("Template {value} has no {{vid}}: without it names would not be unique.").format(value=_shown(value))
        )
    clean_epg_name(re.sub(r"\{[^{}]*\}", "1", value))


def render_epg_name(template, *, site, vrf, pool, vid):
    """
    Return the EPG name that a template gives; characters that no EPG name may have become "_".

    Args:
        template: Text with {site}, {vrf}, {pool} and {vid}, or empty for "EPG_{site}_{vid}".
        site, vrf, pool: Names.
        vid: VLAN ID.

    Raises:
        ValidationError: The name is too long.
    """
    name = template or EPG_TEMPLATE
    for placeholder, value in {"site": site, "vrf": vrf, "pool": pool, "vid": vid}.items():
        name = name.replace(f"{{{placeholder}}}", make_epg_name(str(value)))
    return clean_epg_name(name)


def clean_cluster_name(value):
    """
    Return `value`, trimmed and in Unicode's composed form (NFC), as a cluster name.

    A comma is refused because lists of clusters are written with commas.

    Raises:
        ValidationError: It is no text, empty, longer than 100 characters, or has a comma or a control character.
    """
    if not isinstance(value, str):
        raise ValidationError(_("Cluster name {value} is not valid: use text.").format(value=_shown(value)))
    name = unicodedata.normalize("NFC", value).strip()
    if not name:
        raise ValidationError(_("Cluster name is empty: name the cluster that asks for the segment."))
    if len(name) > CLUSTER_NAME_MAX_LENGTH:
        raise ValidationError(
            _("Cluster name {value} has {length} characters: use at most {max}.").format(
                value=_shown(name), length=len(name), max=CLUSTER_NAME_MAX_LENGTH
            )
        )
    if "," in name or any(unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") for character in name):
        raise ValidationError(
            _("Cluster name {value} is not valid: leave out commas, line breaks and control characters.").format(
                value=_shown(name)
            )
        )
    return name


class ClusterName(str):
    """A clean cluster name: fields of REST and forms return it, so that no service cleans the name again."""

    __slots__ = ()

    @classmethod
    def clean(cls, value):
        """Return `value` as a ClusterName; raises as `clean_cluster_name`."""
        return value if isinstance(value, cls) else cls(clean_cluster_name(value))


def clean_purpose(value):
    """
    Return `value`, trimmed and in lower case, as a purpose; None and "" are the default purpose, "".

    Raises:
        ValidationError: It is longer than 50 characters or has others than a-z, 0-9, _ and -.
    """
    purpose = str(value or "").strip().lower()
    if not PURPOSE.fullmatch(purpose):
        raise ValidationError(
            _("Purpose {value} is not valid: use up to {max} letters (a-z), digits, _ or -.").format(
                value=_shown(value), max=PURPOSE_MAX_LENGTH
            )
        )
    return purpose


def clean_duration(value):
    """
    Return a duration in seconds.

    Args:
        value: A whole number of seconds, or text: a whole number with a unit of DURATION_UNITS, such as 90m or 7d. A
            number without a unit is in seconds.

    Raises:
        ValidationError: It is something else.
    """
    match = re.fullmatch(r"([0-9]{1,10})\s*([wdhms]?)", str(value).strip().lower())
    if match is None:
        text = _("{value} is no duration: write a whole number with a unit, such as 90m, 1h, 7d or 2w.")
        raise ValidationError(text.format(value=_shown(value)))
    return int(match[1]) * DURATION_UNITS[match[2] or "s"]


def duration_text(seconds):
    """Return a number of seconds as `clean_duration` reads it, in the largest unit that it is a multiple of."""
    if not seconds:
        return "0"
    return next(f"{seconds // size}{unit}" for unit, size in DURATION_UNITS.items() if seconds % size == 0)


def clean_cidr(value, bounds=None):
    """
    Return `value` as a netaddr.IPNetwork that a segment can carry.

    Args:
        value: A CIDR with its mask, as text or netaddr.IPNetwork.
        bounds: (shortest, longest) prefix length that is allowed; None for no bounds.

    Raises:
        ValidationError: There is no mask, host bits are set, the length is out of bounds, or the addresses cannot be
            used by hosts (0/8, 127/8, 169.254/16, 224/4, 240/4; ::/127, ::ffff:0:0/96, fe80::/10, ff00::/8).
    """
    network = _parse_network(str(value).strip())
    if bounds and not bounds[0] <= network.prefixlen <= bounds[1]:
        raise ValidationError(
            _("Prefix {value} has length /{length}: this pool takes /{min} to /{max}.").format(
                value=network, length=network.prefixlen, min=bounds[0], max=bounds[1]
            )
        )
    for unusable in UNUSABLE_NETWORKS:
        if unusable.version == network.version and (network in unusable or unusable in network):
            raise ValidationError(
                _("Prefix {value} lies in or covers {unusable}, which hosts cannot use: take another network.").format(
                    value=network, unusable=unusable
                )
            )
    return network


def _parse_network(text):
    """Return a CIDR as a netaddr.IPNetwork; raises as `clean_cidr`."""
    address, slash, mask = text.partition("/")
    if not slash or not mask:
        raise ValidationError(
            _("Prefix {value} has no mask: write it as a network with its length, such as 192.168.1.0/24.").format(
                value=_shown(text)
            )
        )
    try:
        network = netaddr.IPNetwork(netaddr.IPAddress(address, flags=netaddr.INET_PTON))
        network.prefixlen = int(mask) if mask.isascii() and mask.isdigit() and len(mask) <= 3 else -1
    except (netaddr.AddrFormatError, ValueError):
        raise ValidationError(
            _("Prefix {value} is not valid: write a network with its length, such as 192.168.1.0/24.").format(
                value=_shown(text)
            )
        ) from None
    if network.ip != network.cidr.ip:
        raise ValidationError(
            _("Prefix {value} is not a network address: did you mean {network}?").format(
                value=_shown(text), network=network.cidr
            )
        )
    return network.cidr


def prefix_length_bounds(pool, version, pool_versions):
    """
    Return the (shortest, longest) prefix length of a segment in `pool` for IP `version` 4 or 6.

    The defaults are /16 to /31 (RFC 3021 allows /31) and /48 to /127 (RFC 6164); both are settings. The pool's
    own bounds replace them for its first version: IPv4 where it has an IPv4 container, else IPv6.

    Args:
        pool: The SegmentPool.
        version: 4 or 6.
        pool_versions: The IP versions of the pool's containers.
    """
    shortest, longest = get_setting(f"ipv{version}_prefix_lengths")
    if version != min(pool_versions, default=version):
        return shortest, longest
    return pool.min_prefix_length or shortest, pool.max_prefix_length or longest


def new_prefix_errors(pool, networks, prefix_length, ipv6_prefix_length):
    """
    Return {field: text} with the errors of the lengths of prefixes that a pool shall make.

    Args:
        pool: The SegmentPool.
        networks: Its containers, at least one netaddr.IPNetwork.
        prefix_length: Of the first prefix; None if none is given.
        ipv6_prefix_length: Of the IPv6 prefix that a dual-stack segment also gets; None for none.
    """
    errors = {}
    versions = {network.version for network in networks}
    lengths = {"prefix_length": (min(versions), prefix_length), "ipv6_prefix_length": (6, ipv6_prefix_length)}
    for name, (version, length) in lengths.items():
        if not length:
            continue
        shortest, longest = prefix_length_bounds(pool, version, versions)
        if name == "ipv6_prefix_length" and versions != {4, 6}:
            errors[name] = _("The pool has no IPv6 container in addition to an IPv4 one: add it, or leave this empty.")
        elif not shortest <= length <= longest:
            errors[name] = _("Length /{length} is out of bounds: this pool takes /{min} to /{max}.").format(
                length=length, min=shortest, max=longest
            )
        elif not any(network.version == version and network.prefixlen < length for network in networks):
            errors[name] = _("No container has room for a /{length}: use a longer one, or add a container.").format(
                length=length
            )
    return errors


def usual_prefix_length(pool, networks, version):
    """
    Return the prefix length that forms begin with: the one that a pool grows by; else /24, or /64 for IPv6, or the
    nearest that the pool takes; None without a container of that version.

    Args:
        pool: The SegmentPool.
        networks: Its containers, netaddr.IPNetworks.
        version: 4 or 6.
    """
    versions = {network.version for network in networks}
    is_first = version == min(versions, default=4)
    if grown := pool.grow_prefix_length if is_first else pool.grow_ipv6_prefix_length:
        return grown
    largest = min((network.prefixlen for network in networks if network.version == version), default=None)
    if largest is None:
        return None
    shortest, longest = prefix_length_bounds(pool, version, versions)
    return min(max(USUAL_PREFIX_LENGTHS[version], shortest, largest + 1), longest)


def pool_errors(pool, networks):
    """
    Return {field: texts} with the errors in a pool's own values. What is free in the pool does not matter.

    Args:
        pool: The SegmentPool, which may be unsaved.
        networks: Its containers, netaddr.IPNetworks.
    """
    if not networks:
        return {"prefixes": [_("A pool needs at least one container prefix.")]}
    errors = {}
    for network in networks:
        try:
            clean_cidr(network)
        except ValidationError as error:
            errors.setdefault("prefixes", []).extend(error.messages)
    versions = {network.version for network in networks}
    version = min(versions)
    bits = ADDRESS_BITS[version]
    for name in ("min_prefix_length", "max_prefix_length"):
        if (getattr(pool, name) or 0) > bits:
            text = _("The pool's containers are IPv{version}: use a length up to /{longest}.")
            errors[name] = [text.format(version=version, longest=bits)]
    shortest, longest = prefix_length_bounds(pool, version, versions)
    if shortest > longest:
        # If both are set, a database constraint refuses them too.
        name = "min_prefix_length" if pool.min_prefix_length else "max_prefix_length"
        text = _("The shortest length, /{min}, is longer than the longest, /{max}: set both.")
        errors.setdefault(name, [text.format(min=shortest, max=longest)])
    elif not any(network.version == version and network.prefixlen < longest for network in networks):
        text = _("No container has room for a segment, whose prefix is /{max} at most: add a larger container.")
        errors.setdefault("prefixes", []).append(text.format(max=longest))
    if not errors:
        new = new_prefix_errors(pool, networks, pool.grow_prefix_length, pool.grow_ipv6_prefix_length)
        errors = {f"grow_{name}": [text] for name, text in new.items()}
    errors |= _addressing_errors(pool, versions)
    if pool.auto_grow and not pool.grow_prefix_length:
        errors["grow_prefix_length"] = [
            _("A pool that grows on demand needs the length of the prefixes that it makes.")
        ]
    return errors


def _addressing_errors(pool, versions):
    """Return {field: texts} with the errors of a gateway that no segment can have, and of an MTU too small for IPv6."""
    errors = {}
    if pool.gateway_rule == GatewayRuleChoices.NTH and pool.gateway_offset:
        largest = {version: prefix_length_bounds(pool, version, versions)[0] for version in versions}
        if all(pool.gateway_offset > count_usable(version, length) for version, length in largest.items()):
            text = _(
                "No segment of this pool has so many addresses, as the largest is a /{length}: use a lower number."
            )
            errors["gateway_offset"] = [text.format(length=largest[min(versions)])]
    if pool.mtu and pool.mtu < IPV6_MTU_MIN and 6 in versions:
        errors["mtu"] = [
            _("The pool has IPv6 containers, which take an MTU of {min} or more.").format(min=IPV6_MTU_MIN)
        ]
    return errors


def _shown(value):
    """Return `value` quoted, and cut to 60 characters for an error text."""
    text = str(value)
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
