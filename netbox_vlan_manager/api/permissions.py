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
    """Lets in who is logged in, unless with a token that only reads. What they may do is checked with the pool."""

    message = _("You may not write: log in, and use a token that has write enabled.")

    def has_permission(self, request, view):
        if isinstance(request.auth, Token) and not self._verify_write_permission(request):
            return False
        return bool(request.user and request.user.is_authenticated)


class ImportPermissions(MayWrite):
    """Asks for the permission to add or to change segments; which of them is checked with the rows."""

    message = _("You may not import segments: ask for the permission to add or change segments.")

    def has_permission(self, request, view):
        return super().has_permission(request, view) and may_import(request.user)


class ChangePermissions(TokenPermissions):
    """For what is posted to an object to change it."""

    perms_map = {**TokenPermissions.perms_map, "POST": ["%(app_label)s.change_%(model_name)s"]}


class AllocationPermissions(TokenPermissions):
    """
    Allocating and releasing are permissions on segment pools. Which pools is checked with the pool, so that a method
    for which the user has no such permission at all is refused here.
    """

    perms_map = {
        **TokenPermissions.perms_map,
        "POST": ["netbox_vlan_manager.allocate_segmentpool"],
        # Any of several will do, see below.
        "DELETE": [],
    }

    def has_permission(self, request, view):
        return super().has_permission(request, view) and (request.method != "DELETE" or may_release_any(request.user))

    def has_object_permission(self, request, view, obj):
        if request.method in SAFE_METHODS or request.method in ("PUT", "PATCH"):
            return super().has_object_permission(request, view, obj)
        return True
