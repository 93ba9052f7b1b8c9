"""
Event types of the plugin, for event rules, webhooks and notifications.

The object of the first four is the allocation, of the others the pool; docs/events.md describes the payloads.
"""

from django.utils.translation import gettext as _

from netbox.events import (
    EVENT_TYPE_KIND_DANGER,
    EVENT_TYPE_KIND_INFO,
    EVENT_TYPE_KIND_SUCCESS,
    EVENT_TYPE_KIND_WARNING,
    EventType,
    get_event_type_choices,
)

__all__ = (
    "ALLOCATED",
    "DRIFT_FOUND",
    "EXHAUSTED",
    "EXPIRED",
    "EXPIRING",
    "RELEASED",
    "THRESHOLD_PASSED",
    "offer_event_types",
    "register_event_types",
)

ALLOCATED = "vlan_manager_allocated"
RELEASED = "vlan_manager_released"
EXPIRING = "vlan_manager_expiring"
EXPIRED = "vlan_manager_expired"
THRESHOLD_PASSED = "vlan_manager_threshold_passed"
EXHAUSTED = "vlan_manager_exhausted"
DRIFT_FOUND = "vlan_manager_drift_found"


def register_event_types():
    """Register the event types with NetBox. Called once, when the plugin is loaded."""
    # NetBox needs strings here; lazy translations are none.
    for event_type in (
        EventType(ALLOCATED, _("Segment allocated"), EVENT_TYPE_KIND_SUCCESS),
        EventType(RELEASED, _("Segment released"), EVENT_TYPE_KIND_INFO),
        EventType(EXPIRING, _("Allocation expires soon"), EVENT_TYPE_KIND_WARNING),
        EventType(EXPIRED, _("Allocation expired"), EVENT_TYPE_KIND_WARNING),
        EventType(THRESHOLD_PASSED, _("Segment pool passed a threshold"), EVENT_TYPE_KIND_WARNING),
        EventType(EXHAUSTED, _("Segment pool exhausted"), EVENT_TYPE_KIND_DANGER),
        EventType(DRIFT_FOUND, _("Drift found in a segment pool"), EVENT_TYPE_KIND_WARNING),
    ):
        event_type.register()


def offer_event_types():
    """
    Let NetBox's forms of event rules offer the event types of plugins, as its filter form does.

    Those forms list the event types that are known when their module is imported, which is before plugins are loaded.
    """
    from extras.forms import EventRuleBulkEditForm, EventRuleForm, EventRuleImportForm

    for form in (EventRuleForm, EventRuleBulkEditForm, EventRuleImportForm):
        # A function, which Django calls for each form.
        form.base_fields["event_types"].choices = get_event_type_choices
