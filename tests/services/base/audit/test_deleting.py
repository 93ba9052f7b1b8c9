import pytest
from django.db import transaction
from django.db.models.signals import post_delete, pre_delete

from core.models import ObjectChange
from extras.models import JournalEntry
from ipam.models import VLAN
from netbox_vlan_manager import signals
from netbox_vlan_manager.models import Segment
from netbox_vlan_manager.services.base.audit import change_tracking, delete, deleting
from tests.factories import make_pool, make_user

pytestmark = pytest.mark.django_db


def test_delete_logs_what_each_delete_would_have_logged():
    pool = make_pool()
    saved, gone = (VLAN.objects.create(group=pool.vlan_group, vid=vid, name=f"EPG_{vid}") for vid in (100, 101))
    entries = [JournalEntry.objects.create(assigned_object=vlan, comments="why") for vlan in (saved, gone)]
    own = [{("vlan", vlan.pk), ("journalentry", entry.pk)} for vlan, entry in zip((saved, gone), entries, strict=True)]
    with change_tracking(make_user("alice")), transaction.atomic():
        saved.snapshot()
        saved.delete()
        delete([gone])
    logged = [
        [
            (
                change.changed_object_type.model,
                change.action,
                change.user_name,
                change.object_repr.replace("101", "100") if change.changed_object_type.model == "vlan" else "",
            )
            for change in ObjectChange.objects.filter(action="delete").order_by("pk")
            if (change.changed_object_type.model, change.changed_object_id) in objects
        ]
        for objects in own
    ]
    assert sorted(logged[0]) == sorted(logged[1])
    assert len(logged[0]) == 2


def test_other_plugins_receivers_are_called_and_our_own_are_not():
    seen = []

    def receiver(instance, signal, **kwargs):
        seen.append((instance, signal))

    make_pool(segments=1)
    segment = Segment.objects.get()
    for signal in (pre_delete, post_delete):
        signal.connect(receiver, sender=Segment)
    try:
        with change_tracking(make_user()), transaction.atomic():
            delete([segment])
    finally:
        for signal in (pre_delete, post_delete):
            signal.disconnect(receiver, sender=Segment)
    assert seen == [(segment, pre_delete), (segment, post_delete)]
    # The plugin's signal receiver would have deleted the VLAN.
    assert VLAN.objects.filter(pk=segment.vlan_id).exists()


def test_all_receivers_of_deletions_are_registered():
    own = {
        receiver
        for signal in (pre_delete, post_delete)
        for model in (*signals.CHECKS, Segment, signals.SegmentPool, signals.Allocation, signals.Cluster, signals.Site)
        for receiver in signal._live_receivers(model)[0]
        if receiver.__module__ == signals.__name__
    }
    assert own == set(deleting._skipped)
    assert len(own) == 7
