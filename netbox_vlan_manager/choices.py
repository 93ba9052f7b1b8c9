from django.utils.translation import gettext_lazy as _

from utilities.choices import ChoiceSet

__all__ = (
    "AllocationStatusChoices",
    "SegmentPoolStatusChoices",
    "SegmentStatusChoices",
)


class SegmentPoolStatusChoices(ChoiceSet):
    ACTIVE = "active"
    PAUSED = "paused"

    CHOICES = (
        (ACTIVE, _("Active"), "green"),
        (PAUSED, _("Paused"), "orange"),
    )


class SegmentStatusChoices(ChoiceSet):
    AVAILABLE = "available"
    ALLOCATED = "allocated"
    QUARANTINED = "quarantined"
    DISABLED = "disabled"

    CHOICES = (
        (AVAILABLE, _("Available"), "green"),
        (ALLOCATED, _("Allocated"), "blue"),
        (QUARANTINED, _("Quarantined"), "orange"),
        (DISABLED, _("Disabled"), "gray"),
    )


class AllocationStatusChoices(ChoiceSet):
    ACTIVE = "active"
    RELEASED = "released"

    CHOICES = (
        (ACTIVE, _("Active"), "blue"),
        (RELEASED, _("Released"), "gray"),
    )
