import json
import shlex
from urllib.parse import urlencode

from django.contrib.auth.mixins import LoginRequiredMixin
from django.contrib.contenttypes.models import ContentType
from django.shortcuts import render
from django.urls import reverse
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.generic import View

from ..api.errors import STATUS_OF_CODE
from ..choices import AllocationStatusChoices, SegmentStatusChoices
from ..models import Allocation, Segment, SegmentPool
from ..services.base.visibility import pools_permitting

__all__ = ("HelpView",)

PLUGIN = "plugins:netbox_vlan_manager"

# {name of a link in the template: (view, permission)}
LINKS = {
    "allocate": (f"{PLUGIN}:allocation_allocate", "netbox_vlan_manager.allocate_segmentpool"),
    "allocations": (f"{PLUGIN}:allocation_list", "netbox_vlan_manager.view_allocation"),
    "segments": (f"{PLUGIN}:segment_list", "netbox_vlan_manager.view_segment"),
    "add_segment": (f"{PLUGIN}:segment_add", "netbox_vlan_manager.add_segment"),
    "import_segments": (f"{PLUGIN}:segment_bulk_import", "netbox_vlan_manager.add_segment"),
    "pools": (f"{PLUGIN}:segmentpool_list", "netbox_vlan_manager.view_segmentpool"),
    "add_pool": (f"{PLUGIN}:segmentpool_add", "netbox_vlan_manager.add_segmentpool"),
    "drift": (f"{PLUGIN}:drift", "netbox_vlan_manager.view_segmentpool"),
    "changelog": ("core:objectchange_list", "core.view_objectchange"),
    "jobs": ("core:job_list", "core.view_job"),
}

STATUSES = {
    SegmentStatusChoices.AVAILABLE: gettext_lazy("No cluster holds the segment; the next cluster may get it."),
    SegmentStatusChoices.ALLOCATED: gettext_lazy("A cluster holds the segment."),
    SegmentStatusChoices.QUARANTINED: gettext_lazy(
        "The segment was released and is cooling down; no cluster gets it yet."
    ),
    SegmentStatusChoices.DISABLED: gettext_lazy("No cluster gets the segment until a user enables it."),
}

# {code of an error: (what it means, what to do)}
ERRORS = {
    "invalid": (
        gettext_lazy("A value is missing or wrong, or a name matches more than one pool."),
        gettext_lazy("Read the text next to the field. If a name is ambiguous, give an ID or the pool itself."),
    ),
    "pool_not_found": (
        gettext_lazy("No pool that you may see serves this site in this VRF."),
        gettext_lazy("Compare the names with the list of pools; the answer names those that exist. Or add a pool."),
    ),
    "allocation_not_found": (
        gettext_lazy("The cluster holds no segment of this pool."),
        gettext_lazy(
            "Check the cluster's name, and whether it was released before. A script that cleans up"
            " may treat this as success."
        ),
    ),
    "pool_exhausted": (
        gettext_lazy("The pool has no available segment."),
        gettext_lazy("Release segments that are no longer used, enable disabled segments, or add segments."),
    ),
    "pool_paused": (
        gettext_lazy("The pool makes no new allocations at present; releases still work."),
        gettext_lazy("Ask the administrator of the pool, or set its status to active."),
    ),
    "pool_conflict": (
        gettext_lazy("The pool cannot be merged, resized or deleted as it is; the answer lists what is in the way."),
        gettext_lazy("Do what each of the conflicts says, then ask again. A dry run lists them too."),
    ),
    "vid_unavailable": (
        gettext_lazy("The VLAN ID or segment that you asked for is not available, or the cluster holds another one."),
        gettext_lazy(
            "The text gives the reason. Ask for another one; or for none, to get any segment that is available."
        ),
    ),
    "limit_reached": (
        gettext_lazy("The pool limits how many segments a cluster, a tenant or one request may have."),
        gettext_lazy(
            "Release segments that are no longer used, or ask the administrator of the pool to raise the limit."
        ),
    ),
    "not_migrated": (
        gettext_lazy("The cluster holds a network of the first generation that could not be migrated yet."),
        gettext_lazy(
            "Ask the administrator of NetBox: the preview of the migration says what to correct in which prefix."
        ),
    ),
    "idempotency_conflict": (
        gettext_lazy("The header Idempotency-Key was sent before, with another call."),
        gettext_lazy("Use a new key for each call. Send the same key only to repeat the same call."),
    ),
    "segment_in_use": (
        gettext_lazy(
            "A cluster holds the segment; or IP addresses or other objects use it, and its pool refuses the"
            " release then."
        ),
        gettext_lazy("Release the allocation first, or remove the objects that the text names."),
    ),
    "branch_active": (
        gettext_lazy("A branch of netbox-branching is active, and the objects of this plugin have no branches."),
        gettext_lazy("Leave the branch, then make the same call again."),
    ),
    "protected": (
        gettext_lazy("Other objects depend on what you asked to delete."),
        gettext_lazy("Delete or release those that the text names first."),
    ),
    "permission_denied": (
        gettext_lazy("You do not have the permission for this action."),
        gettext_lazy("Ask for the permission that the text names, such as allocate or release on segment pools."),
    ),
    "busy": (
        gettext_lazy("Other calls are working on the same pool or cluster. Nothing was changed."),
        gettext_lazy("Make the same call again after the seconds that the header Retry-After names."),
    ),
    "unavailable": (
        gettext_lazy("The database or Redis cannot serve the call."),
        gettext_lazy("Try again later; look at the health of the server."),
    ),
}


class HelpView(LoginRequiredMixin, View):
    """The help page: terms, common tasks, settings of pools, API calls, errors, and where to look for a cause."""

    template_name = "netbox_vlan_manager/help.html"

    def get(self, request):
        links = {name: reverse(view) for name, (view, permission) in LINKS.items() if request.user.has_perm(permission)}
        if "changelog" in links:
            types = [ContentType.objects.get_for_model(model).pk for model in (SegmentPool, Segment, Allocation)]
            links["changelog"] += f"?{urlencode({'changed_object_type_id': types}, doseq=True)}"
        if "allocations" in links:
            links["active_allocations"] = f"{links['allocations']}?status={AllocationStatusChoices.ACTIVE}"
        context = {
            "links": links,
            "statuses": [
                (label, SegmentStatusChoices.colors[status], STATUSES[status]) for status, label in SegmentStatusChoices
            ],
            "pool_settings": get_pool_settings(),
            "calls": self.get_calls(),
            "errors": [
                (code, STATUS_OF_CODE.get(code, 403), meaning, remedy) for code, (meaning, remedy) in ERRORS.items()
            ],
            "health_url": self.get_api_url("health"),
        }
        return render(request, self.template_name, context)

    def get_api_url(self, name):
        return self.request.build_absolute_uri(reverse(f"plugins-api:netbox_vlan_manager-api:{name}"))

    def get_place(self):
        """Return the names of a place and VRF that the user may allocate in, or placeholders if there are none."""
        pools = pools_permitting(self.request.user, "allocate").with_scope_name().order_by("name")
        names = pools.values_list("scope_name", "vrf__name").first()
        site, vrf = names or ("SITE", "VRF")
        return {"site": site, "vrf": vrf}

    def get_calls(self):
        """Return (name, what it does, curl command) of each call that the page shows."""
        body = json.dumps({"cluster_name": "my-cluster", **self.get_place()})
        return [
            (
                "allocate-vlan",
                _("Get a network for a cluster. A repeated call returns the same network."),
                _command(self.get_api_url("allocate-vlan"), body=body),
            ),
            ("release-vlan", _("Give the network back."), _command(self.get_api_url("release-vlan"), body=body)),
            (
                "statistics",
                _("How many segments each pool has, and in which status."),
                _command(self.get_api_url("statistics")),
            ),
            (
                "export",
                _("The segments with the clusters that hold them, as csv, json or xlsx."),
                _command(f"{self.get_api_url('export-segments')}?format=xlsx", output="segments.xlsx"),
            ),
        ]


def get_pool_settings():
    """Return (label, meaning, default) of each setting of a segment pool."""
    fields = (*SegmentPool._meta.fields, SegmentPool._meta.get_field("prefixes"))
    return [
        (capfirst(field.verbose_name), field.help_text, _default_of(field))
        for field in fields
        if field.editable and field.help_text
    ]


def _default_of(field):
    """Return the default of a field for the page; "" if it has none."""
    if not field.has_default() or callable(field.default):
        return ""
    return dict(field.flatchoices).get(field.default, field.default)


def _command(url, body=None, output=None):
    """Return a call as a curl command, quoted for a shell."""
    lines = ["curl -sS" + (" -X POST" if body else ""), '-H "Authorization: Bearer $NETBOX_TOKEN"']
    if body:
        lines += ['-H "Content-Type: application/json"', f"-d {shlex.quote(body)}"]
    if output:
        lines.append(f"-o {output}")
    return " \\\n  ".join([*lines, shlex.quote(url)])
