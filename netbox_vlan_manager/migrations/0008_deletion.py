"""Says who is told what stands in the way of a deletion, and leaves notes of the API to PostgreSQL."""

from django.conf import settings
from django.db import migrations, models

from netbox_vlan_manager.models.deletion import protect

# For netbox-branching: what this changes has no copies in branches.
fake_on_branch = True


class Migration(migrations.Migration):
    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
        ("netbox_vlan_manager", "0007_places"),
    ]

    operations = [
        migrations.AlterField(
            model_name="idempotencykey",
            name="user",
            field=models.ForeignKey(on_delete=models.DB_CASCADE, related_name="+", to=settings.AUTH_USER_MODEL),
        ),
        migrations.AlterField(
            model_name="allocation",
            name="owner",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=protect,
                related_name="+",
                to="users.owner",
            ),
        ),
        migrations.AlterField(
            model_name="segment",
            name="ipv6_prefix",
            field=models.OneToOneField(
                blank=True,
                null=True,
                on_delete=protect,
                related_name="ipv6_segment",
                to="ipam.prefix",
            ),
        ),
        migrations.AlterField(
            model_name="segment",
            name="owner",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=protect,
                related_name="+",
                to="users.owner",
            ),
        ),
        migrations.AlterField(
            model_name="segment",
            name="pool",
            field=models.ForeignKey(
                on_delete=protect,
                related_name="segments",
                to="netbox_vlan_manager.segmentpool",
            ),
        ),
        migrations.AlterField(
            model_name="segment",
            name="prefix",
            field=models.OneToOneField(on_delete=protect, related_name="segment", to="ipam.prefix"),
        ),
        migrations.AlterField(
            model_name="segment",
            name="vlan",
            field=models.OneToOneField(on_delete=protect, related_name="segment", to="ipam.vlan"),
        ),
        migrations.AlterField(
            model_name="segmentpool",
            name="_location",
            field=models.ForeignKey(blank=True, null=True, on_delete=protect, to="dcim.location"),
        ),
        migrations.AlterField(
            model_name="segmentpool",
            name="_site",
            field=models.ForeignKey(blank=True, null=True, on_delete=protect, to="dcim.site"),
        ),
        migrations.AlterField(
            model_name="segmentpool",
            name="owner",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=protect,
                related_name="+",
                to="users.owner",
            ),
        ),
        migrations.AlterField(
            model_name="segmentpool",
            name="tenant",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=protect,
                related_name="segment_pools",
                to="tenancy.tenant",
            ),
        ),
        migrations.AlterField(
            model_name="segmentpool",
            name="vlan_group",
            field=models.ForeignKey(on_delete=protect, related_name="segment_pools", to="ipam.vlangroup"),
        ),
        migrations.AlterField(
            model_name="segmentpool",
            name="vrf",
            field=models.ForeignKey(on_delete=protect, related_name="segment_pools", to="ipam.vrf"),
        ),
    ]
