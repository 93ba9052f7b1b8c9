from django.utils.translation import gettext_lazy as _
from rest_framework.permissions import SAFE_METHODS

from netbox.api.authentication import TokenPermissions
from users.models import Token

from ..services.base.visibility import may_import, may_release_any

__all__ = (
    "AllocationPermissions",
    "ChangePermissions",
    "ImportPermissions",
    "MayWrite",
)


class MayWrite(TokenPermissions):
    """Requires a login or a token that has write enabled. Permissions on a pool are checked once the pool is known."""

    message = _("You may not write: log in, and use a token that has write enabled.")

    def has_permission(self, request, view):
        if isinstance(request.auth, Token) and not self._verify_write_permission(request):
            return False
        return bool(request.user and request.user.is_authenticated)


class ImportPermissions(MayWrite):
    """Requires the permission to add or change segments. The service checks which of the two each row needs."""

    message = _("You may not import segments: ask for the permission to add or change segments.")

    def has_permission(self, request, view):
        return super().has_permission(request, view) and may_import(request.user)


class ChangePermissions(TokenPermissions):
    """Requires the permission to change the object for a POST to it."""

    perms_map = {**TokenPermissions.perms_map, "POST": ["%(app_label)s.change_%(model_name)s"]}


class AllocationPermissions(TokenPermissions):
    """
    Requires the permission to allocate (POST) or to release (DELETE) in at least one segment pool.

    The permission on the allocation's pool is checked once that pool is known.
    """

    perms_map = {
        **TokenPermissions.perms_map,
        "POST": ["netbox_vlan_manager.allocate_segmentpool"],
        # One of several permissions is enough (see `has_permission`).
        "DELETE": [],
    }

    def has_permission(self, request, view):
        return super().has_permission(request, view) and (request.method != "DELETE" or may_release_any(request.user))

    def has_object_permission(self, request, view, obj):
        if request.method in SAFE_METHODS or request.method in ("PUT", "PATCH"):
            return super().has_object_permission(request, view, obj)
        return True
