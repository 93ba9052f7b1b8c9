import django.contrib.postgres.fields
import django.core.validators
import django.db.models.deletion
from django.db import migrations, models

# For netbox-branching: what this changes has no copies in branches.
fake_on_branch = True


class Migration(migrations.Migration):
    dependencies = [
        ("netbox_vlan_manager", "0010_first_generation"),
    ]

    operations = [
        migrations.AddField(
            model_name="allocation",
            name="gateway",
            field=models.GenericIPAddressField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="allocation",
            name="ipv6_gateway",
            field=models.GenericIPAddressField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="segment",
            name="gateway",
            field=models.GenericIPAddressField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="segment",
            name="gateway_ip_address",
            field=models.OneToOneField(
                blank=True,
                editable=False,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="gateway_of_segment",
                to="ipam.ipaddress",
            ),
        ),
        migrations.AddField(
            model_name="segment",
            name="ipv6_gateway",
            field=models.GenericIPAddressField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="segment",
            name="ipv6_gateway_ip_address",
            field=models.OneToOneField(
                blank=True,
                editable=False,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="ipv6_gateway_of_segment",
                to="ipam.ipaddress",
            ),
        ),
        migrations.AddField(
            model_name="segmentpool",
            name="create_gateways",
            field=models.BooleanField(default=False),
        ),
        migrations.AddField(
            model_name="segmentpool",
            name="dns_servers",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.GenericIPAddressField(), blank=True, default=list, size=8
            ),
        ),
        migrations.AddField(
            model_name="segmentpool",
            name="domain_name",
            field=models.CharField(
                blank=True, max_length=253, validators=[django.core.validators.DomainNameValidator(accept_idna=False)]
            ),
        ),
        migrations.AddField(
            model_name="segmentpool",
            name="gateway_offset",
            field=models.PositiveIntegerField(
                blank=True, null=True, validators=[django.core.validators.MinValueValidator(1)]
            ),
        ),
        migrations.AddField(
            model_name="segmentpool",
            name="gateway_rule",
            field=models.CharField(default="none", max_length=50),
        ),
        migrations.AddField(
            model_name="segmentpool",
            name="mtu",
            field=models.PositiveIntegerField(
                blank=True,
                null=True,
                validators=[
                    django.core.validators.MinValueValidator(576),
                    django.core.validators.MaxValueValidator(65535),
                ],
            ),
        ),
        migrations.AddConstraint(
            model_name="segmentpool",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("gateway_offset__isnull", False), ("gateway_rule", "nth")),
                    models.Q(models.Q(("gateway_rule", "nth"), _negated=True), ("gateway_offset__isnull", True)),
                    _connector="OR",
                ),
                name="netbox_vlan_manager_segmentpool_gateway_numbered",
                violation_error_message="The nth address, and only that, has a number.",
            ),
        ),
    ]
