"""
Pools of migrated prefixes: finds the pool of a VLAN group, or makes it, with its containers.
"""

from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from dcim.models import SiteGroup

from ....choices import FirstGenerationChoices
from ....models import SegmentPool
from ....settings import get_setting
from ....validators import clean_cidr
from ...base import audit
from ...pools.parts import get_container
from ...pools.provisioning import create_pool, update_pool
from ...segments.first_generation_fields import FREE, HELD
from ...segments.prefix_status import status_when_allocated, status_when_available
from .containers import find_containers, plan_containers
from .reading import MESSAGE

__all__ = ("provide_pool_locked",)

CONTAINER_MESSAGE = gettext_lazy("Made around prefixes of the first generation")


def provide_pool_locked(group, rows, user, outcome):
    """
    Return the SegmentPool of a group, made if there is none, with the containers that its prefixes need.

    Rows that no container can hold get an error. If these are all rows and there is no pool yet, this returns None.

    Args:
        group: Group
        rows: Its Rows that are in no segment yet.
        user: The User, for the change log.
        outcome: The MigratedPool, which gets `created` and `containers`.

    Raises:
        ValidationError: The place of the pool is not known, or its pool hands out of another VLAN group.
    """
    scope = _find_scope(group)
    pool = _find_pool(group, scope)
    outcome.created = pool is None
    containers = list(pool.prefixes.all()) if pool else []
    for row in rows:
        _check_length(row)
    missing, uncovered = find_containers(group.vrf, containers, [row for row in rows if not row.errors])
    networks, alone = plan_containers(group.vrf, uncovered, group.known)
    for row in uncovered:
        if row.prefix.prefix in alone:
            row.errors.append(
                _(
                    "No container holds the prefix, and one made for it would overlap other prefixes: make a container "
                    "around it, or give the prefix around it the status Container."
                )
            )
    outcome.containers = [str(network) for network in networks if network not in group.planned]
    prefixes = [*containers, *missing]
    for network in networks:
        # No tenant and scope: the first generation would take the container for a segment without a VLAN.
        prefixes.append(get_container(group.vrf, network, changelog_message=CONTAINER_MESSAGE))
    if pool and len(prefixes) > len(containers):
        pool = update_pool(pool, user=user, prefixes=prefixes)
    if pool and not pool.first_generation:
        audit.update(pool, first_generation=_phase())
    if pool or not prefixes:
        return pool
    return _create_pool(group, scope, prefixes, user)


def _create_pool(group, scope, prefixes, user):
    """Return a new SegmentPool, with the tenant and the role that all prefixes of the group have."""
    shared = {name: {getattr(row.prefix, name) for row in group.rows} - {None} for name in ("tenant", "role")}
    return create_pool(
        user=user,
        vrf=group.vrf,
        scope=scope,
        prefixes=prefixes,
        vlan_group=group.vlan_group,
        first_generation=_phase(),
        changelog_message=MESSAGE,
        **{name: values.pop() for name, values in shared.items() if len(values) == 1},
    )


def _find_scope(group):
    """
    Return the place that a group's pool serves: the site group of its name, else the one scope of all its prefixes.

    Raises:
        ValidationError: There is none, or several.
    """
    found = list(SiteGroup.objects.filter(name__iexact=group.site))
    scopes = {row.prefix.scope for row in group.rows if row.prefix.scope}
    if len(found) > 1:
        found = [site_group for site_group in found if site_group in scopes]
    elif not found:
        found = list(scopes)
    if len(found) != 1:
        raise ValidationError(
            _("There is no site group {site}, or several, and the prefixes have not all one scope: make one.").format(
                site=group.site
            )
        )
    return found[0]


def _find_pool(group, scope):
    """
    Return the pool that exists already, or None.

    Raises:
        ValidationError: It hands out of another VLAN group.
    """
    scope_type = ContentType.objects.get_for_model(scope)
    pool = SegmentPool.objects.filter(vrf=group.vrf, scope_type=scope_type, scope_id=scope.pk).first()
    if pool and pool.vlan_group_id != group.vlan_group.pk:
        raise ValidationError(
            _("Pool {pool} serves {scope} already, from VLAN group {group}: move the VLANs there.").format(
                pool=pool, scope=scope, group=pool.vlan_group
            )
        )
    return pool


def _phase():
    """Return the phase of a migrated pool: a trial needs settings with the first generation's statuses of prefixes."""
    is_same = (status_when_available(), status_when_allocated()) == (FREE, HELD)
    return FirstGenerationChoices.TRIAL if is_same else FirstGenerationChoices.OVER


def _check_length(row):
    """Add an error to a row whose network no segment can have, so that it gets no container."""
    network = row.prefix.prefix
    try:
        clean_cidr(network, bounds=get_setting(f"ipv{network.version}_prefix_lengths"))
    except ValidationError as error:
        row.errors += [text for text in error.messages if text not in row.errors]
