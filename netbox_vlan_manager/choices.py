from django.utils.translation import gettext_lazy as _

from utilities.choices import ChoiceSet

__all__ = (
    "AllocationOrderChoices",
    "AllocationStatusChoices",
    "DriftSeverityChoices",
    "FirstGenerationChoices",
    "GatewayRuleChoices",
    "PoolLevelChoices",
    "ReleaseInUseChoices",
    "ReleaseReasonChoices",
    "SegmentPoolStatusChoices",
    "SegmentStatusChoices",
)


class SegmentPoolStatusChoices(ChoiceSet):
    ACTIVE = "active"
    PAUSED = "paused"
    RETIRING = "retiring"

    CHOICES = (
        (ACTIVE, _("Active"), "green"),
        (PAUSED, _("Paused"), "orange"),
        (RETIRING, _("Retiring"), "gray"),
    )


class AllocationOrderChoices(ChoiceSet):
    LOWEST = "lowest"
    HIGHEST = "highest"
    LEAST_RECENTLY_USED = "least-recently-used"
    RANDOM = "random"

    CHOICES = (
        (LOWEST, _("Lowest VLAN ID")),
        (HIGHEST, _("Highest VLAN ID")),
        (LEAST_RECENTLY_USED, _("Least recently used")),
        (RANDOM, _("Random")),
    )


class FirstGenerationChoices(ChoiceSet):
    """Whether the first generation still writes to a pool that was migrated from it; other pools have no value."""

    TRIAL = "trial"
    OVER = "over"

    CHOICES = (
        (TRIAL, _("Both write"), "orange"),
        (OVER, _("Moved over"), "gray"),
    )


class GatewayRuleChoices(ChoiceSet):
    """Which usable address of a network is its gateway (see `gateways.find_gateway`)."""

    NONE = "none"
    FIRST = "first"
    LAST = "last"
    NTH = "nth"

    CHOICES = (
        (NONE, _("None")),
        (FIRST, _("First address")),
        (LAST, _("Last address")),
        (NTH, _("Nth address")),
    )


class PoolLevelChoices(ChoiceSet):
    NORMAL = "normal"
    WARNING = "warning"
    CRITICAL = "critical"
    EXHAUSTED = "exhausted"

    CHOICES = (
        (NORMAL, _("Normal"), "green"),
        (WARNING, _("Warning"), "orange"),
        (CRITICAL, _("Critical"), "red"),
        (EXHAUSTED, _("Exhausted"), "red"),
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


class ReleaseInUseChoices(ChoiceSet):
    ALLOW = "allow"
    QUARANTINE = "quarantine"
    REFUSE = "refuse"

    CHOICES = (
        (ALLOW, _("Allow")),
        (QUARANTINE, _("Quarantine")),
        (REFUSE, _("Refuse")),
    )


class ReleaseReasonChoices(ChoiceSet):
    RELEASED = "released"
    EXPIRED = "expired"
    HANDED_OVER = "handed-over"

    CHOICES = (
        (RELEASED, _("Released"), "gray"),
        (EXPIRED, _("Expired"), "orange"),
        (HANDED_OVER, _("Handed over"), "gray"),
    )


class DriftSeverityChoices(ChoiceSet):
    ERROR = "error"
    WARNING = "warning"
    INFO = "info"

    CHOICES = (
        (ERROR, _("Error"), "red"),
        (WARNING, _("Warning"), "orange"),
        (INFO, _("Info"), "blue"),
    )
