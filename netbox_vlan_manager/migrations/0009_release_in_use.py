from django.db import migrations, models

# For netbox-branching: what this changes has no copies in branches.
fake_on_branch = True


class Migration(migrations.Migration):
    dependencies = [
        ("netbox_vlan_manager", "0008_deletion"),
    ]

    operations = [
        migrations.AddField(
            model_name="segmentpool",
            name="release_in_use",
            field=models.CharField(default="allow", max_length=50),
        ),
    ]
