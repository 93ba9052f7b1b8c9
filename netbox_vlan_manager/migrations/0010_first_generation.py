from django.db import migrations, models

# For netbox-branching: what this changes has no copies in branches.
fake_on_branch = True


def mark_migrated_pools(apps, schema_editor):
    """
    Pools that were migrated from the first generation hand out of a VLAN group with its name. Their custom fields were
    left behind, so that they are not on trial.
    """
    pools = apps.get_model("netbox_vlan_manager", "SegmentPool").objects
    pools.filter(vlan_group__name__icontains="-ClickCluster-").update(first_generation="over")


class Migration(migrations.Migration):
    dependencies = [
        ("netbox_vlan_manager", "0009_release_in_use"),
    ]

    operations = [
        migrations.AddField(
            model_name="segmentpool",
            name="first_generation",
            field=models.CharField(blank=True, default="", editable=False, max_length=50),
            preserve_default=False,
        ),
        migrations.RunPython(mark_migrated_pools, migrations.RunPython.noop, elidable=True),
    ]
