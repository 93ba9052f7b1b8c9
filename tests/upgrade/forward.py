"""
Migrates an old release's database, and uses its data: python -m tests.upgrade.forward.

The database was filled by that release's `tests.upgrade.filling`.
"""

from datetime import timedelta

import django

django.setup()

from django.core.management import call_command  # noqa: E402
from django.db import connection  # noqa: E402
from django.utils import timezone  # noqa: E402

from dcim.models import Location  # noqa: E402
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool  # noqa: E402
from netbox_vlan_manager.services import allocate, release, share, update_pool, update_segment  # noqa: E402
from netbox_vlan_manager.services.allocations.leases import expire_due, warn_expiring  # noqa: E402
from netbox_vlan_manager.services.drift.findings import find_drift  # noqa: E402
from netbox_vlan_manager.services.reporting.snapshots import take_snapshots  # noqa: E402
from netbox_vlan_manager.services.reporting.statistics import pool_statistics  # noqa: E402
from netbox_vlan_manager.services.reporting.thresholds import refresh  # noqa: E402
from netbox_vlan_manager.services.segments.quarantine import promote_all  # noqa: E402
from tests.factories import make_pool  # noqa: E402
from tests.upgrade.database import plugin_rows  # noqa: E402

USER = "operator"


def migrate():
    before = plugin_rows(connection)
    call_command("migrate", interactive=False, verbosity=0)
    after = plugin_rows(connection)
    for table, rows in before.items():
        assert rows, table
        assert rows.keys() == after[table].keys(), table
        for pk, row in rows.items():
            assert row.items() <= after[table][pk].items(), (table, row, after[table][pk])
    assert drift() == []


def drift():
    return [found.message for found in find_drift()]


def check_history():
    history = Allocation.objects.filter(released_at__isnull=False)
    assert history.count() == 3
    assert not history.filter(release_reason="").exists()
    for segment in Segment.objects.exclude(allocations=None):
        released = [one.released_at for one in segment.allocations.all() if one.released_at]
        assert segment.last_released_at == max(released, default=None)


def use_services():
    pool = SegmentPool.objects.get(name="Network1 Site1")
    held = Allocation.objects.active().get(cluster_name="prod-01", purpose="")
    assert allocate("PROD-01", pool=pool, user=USER) == (held, False)
    (usage,) = [row.usage for row in pool_statistics(SegmentPool.objects.filter(pk=pool.pk))]
    assert usage.allocated == pool.segments.filter(status="allocated").count() == 5

    new = allocate("prod-05", pool=pool, user=USER).allocation
    assert (new.segment.status, new.segment.prefix.status) == ("allocated", "reserved")
    share(new.segment, "prod-06", user=USER)
    release("prod-04", pool=pool, user=USER)
    due = timezone.now() - timedelta(seconds=1)
    Allocation.objects.unreleased().filter(cluster_name="prod-03").update(expires_at=due)
    Segment.objects.filter(status="quarantined").update(quarantined_until=due)
    update_pool(pool, user=USER, cooldown=60)
    warn_expiring()
    assert expire_due() == 1
    promote_all()
    update_segment(pool.segments.filter(status="available").first(), user=USER, epg_name="EPG_renamed")
    take_snapshots()
    refresh()
    assert drift() == []


def check_places():
    """Check that a nearer pool renumbers no cluster, although the old release did not record the requested places."""
    hall = Location.objects.get(name="Hall A")
    make_pool("Network1", hall, container="10.4.0.0/16", vid_ranges=((400, 499),), segments=1)
    held = Allocation.objects.active().get(cluster_name="prod-02", purpose="")
    assert held.places == ["*"]
    asked = {"site": "hall-a", "vrf": "Network1", "user": USER}
    assert allocate("prod-02", **asked) == (held, False)
    assert Allocation.objects.get(pk=held.pk).places == ["*", f"dcim.location:{hall.pk}"]
    assert allocate("prod-07", **asked).allocation.vid == 400
    assert release("prod-02", **asked).allocation == held
    assert drift() == []


if __name__ == "__main__":
    migrate()
    check_history()
    use_services()
    check_places()
