from django.db import migrations, models

# For netbox-branching: what this changes has no copies in branches.
fake_on_branch = True


class Migration(migrations.Migration):
    dependencies = [("netbox_vlan_manager", "0005_supply")]

    operations = [
        migrations.AddField(
            model_name="segmentpool",
            name=name,
            field=models.JSONField(blank=True, default=dict),
        )
        for name in ("segment_custom_fields", "vlan_custom_fields", "prefix_custom_fields")
    ]
