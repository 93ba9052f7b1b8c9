import django.core.validators
import django.db.models.deletion
import django.db.models.functions.text
import django.utils.timezone
import taggit.managers
from django.conf import settings
from django.db import migrations, models

import ipam.fields
import netbox.models.deletion
import netbox_vlan_manager.models.allocations
import netbox_vlan_manager.models.mixins
import utilities.json

# For netbox-branching: what this changes has no copies in branches.
fake_on_branch = True


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("contenttypes", "0002_remove_content_type_name"),
        ("dcim", "0250_cooling_infrastructure"),
        ("extras", "0144_customfield_status"),
        ("ipam", "0097_merge_ipaddress_host_index_and_multi_protocol_services"),
        ("tenancy", "0026_consolidate_unique_constraints"),
        ("users", "0016_default_ordering_indexes"),
        ("virtualization", "0060_consolidate_unique_constraints"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="SegmentPool",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False)),
                ("created", models.DateTimeField(auto_now_add=True, null=True)),
                ("last_updated", models.DateTimeField(auto_now=True, null=True)),
                (
                    "custom_field_data",
                    models.JSONField(blank=True, default=dict, encoder=utilities.json.CustomFieldJSONEncoder),
                ),
                ("description", models.CharField(blank=True, max_length=200)),
                ("comments", models.TextField(blank=True)),
                ("scope_id", models.PositiveBigIntegerField(blank=True, null=True)),
                ("name", models.CharField(db_collation="natural_sort", max_length=100, unique=True)),
                ("slug", models.SlugField(max_length=100, unique=True)),
                ("status", models.CharField(default="active", max_length=50)),
                (
                    "min_prefix_length",
                    models.PositiveSmallIntegerField(
                        blank=True,
                        null=True,
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(128),
                        ],
                    ),
                ),
                (
                    "max_prefix_length",
                    models.PositiveSmallIntegerField(
                        blank=True,
                        null=True,
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(128),
                        ],
                    ),
                ),
                (
                    "_location",
                    models.ForeignKey(
                        blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, to="dcim.location"
                    ),
                ),
                (
                    "_region",
                    models.ForeignKey(
                        blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, to="dcim.region"
                    ),
                ),
                (
                    "_site",
                    models.ForeignKey(
                        blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, to="dcim.site"
                    ),
                ),
                (
                    "_site_group",
                    models.ForeignKey(
                        blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, to="dcim.sitegroup"
                    ),
                ),
                (
                    "owner",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="users.owner",
                    ),
                ),
                ("prefixes", models.ManyToManyField(related_name="segment_pools", to="ipam.prefix")),
                (
                    "role",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="segment_pools",
                        to="ipam.role",
                    ),
                ),
                (
                    "scope_type",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="contenttypes.contenttype",
                    ),
                ),
                ("tags", taggit.managers.TaggableManager(through="extras.TaggedItem", to="extras.Tag")),
                (
                    "tenant",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="segment_pools",
                        to="tenancy.tenant",
                    ),
                ),
                (
                    "vlan_group",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="segment_pools", to="ipam.vlangroup"
                    ),
                ),
                (
                    "vrf",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="segment_pools", to="ipam.vrf"
                    ),
                ),
            ],
            options={
                "verbose_name": "segment pool",
                "verbose_name_plural": "segment pools",
                "ordering": ("name",),
            },
            bases=(netbox.models.deletion.DeleteMixin, models.Model),
        ),
        migrations.CreateModel(
            name="Segment",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False)),
                ("created", models.DateTimeField(auto_now_add=True, null=True)),
                ("last_updated", models.DateTimeField(auto_now=True, null=True)),
                (
                    "custom_field_data",
                    models.JSONField(blank=True, default=dict, encoder=utilities.json.CustomFieldJSONEncoder),
                ),
                ("description", models.CharField(blank=True, max_length=200)),
                ("comments", models.TextField(blank=True)),
                (
                    "vid",
                    models.PositiveSmallIntegerField(
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(4094),
                        ]
                    ),
                ),
                ("status", models.CharField(default="available", editable=False, max_length=50)),
                ("dhcp", models.BooleanField(default=False)),
                ("owns_vlan", models.BooleanField(default=False, editable=False)),
                ("owns_prefix", models.BooleanField(default=False, editable=False)),
                (
                    "owner",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="users.owner",
                    ),
                ),
                (
                    "prefix",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT, related_name="segment", to="ipam.prefix"
                    ),
                ),
                ("tags", taggit.managers.TaggableManager(through="extras.TaggedItem", to="extras.Tag")),
                (
                    "vlan",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT, related_name="segment", to="ipam.vlan"
                    ),
                ),
                (
                    "pool",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="segments",
                        to="netbox_vlan_manager.segmentpool",
                    ),
                ),
            ],
            options={
                "verbose_name": "segment",
                "verbose_name_plural": "segments",
                "ordering": ("pool_id", "vid"),
            },
            bases=(netbox_vlan_manager.models.mixins.HotColumnsMixin, netbox.models.deletion.DeleteMixin, models.Model),
        ),
        migrations.CreateModel(
            name="Allocation",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False)),
                ("created", models.DateTimeField(auto_now_add=True, null=True)),
                ("last_updated", models.DateTimeField(auto_now=True, null=True)),
                (
                    "custom_field_data",
                    models.JSONField(blank=True, default=dict, encoder=utilities.json.CustomFieldJSONEncoder),
                ),
                ("description", models.CharField(blank=True, max_length=200)),
                ("comments", models.TextField(blank=True)),
                ("cluster_name", models.CharField(max_length=100)),
                ("purpose", models.CharField(blank=True, max_length=50)),
                ("allocated_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("released_at", models.DateTimeField(blank=True, null=True)),
                ("pool_name", models.CharField(max_length=100)),
                ("vrf_name", models.CharField(max_length=100)),
                ("vid", models.PositiveSmallIntegerField()),
                ("epg_name", models.CharField(max_length=64)),
                ("prefix", ipam.fields.IPNetworkField()),
                (
                    "allocated_by",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "cluster",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="allocations",
                        to="virtualization.cluster",
                    ),
                ),
                (
                    "owner",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="users.owner",
                    ),
                ),
                (
                    "released_by",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                ("tags", taggit.managers.TaggableManager(through="extras.TaggedItem", to="extras.Tag")),
                (
                    "segment",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=netbox_vlan_manager.models.allocations.keep_history,
                        related_name="allocations",
                        to="netbox_vlan_manager.segment",
                    ),
                ),
                (
                    "pool",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=netbox_vlan_manager.models.allocations.keep_history,
                        related_name="allocations",
                        to="netbox_vlan_manager.segmentpool",
                    ),
                ),
            ],
            options={
                "verbose_name": "allocation",
                "verbose_name_plural": "allocations",
                "ordering": ("-allocated_at", "-pk"),
            },
            bases=(netbox_vlan_manager.models.mixins.HotColumnsMixin, netbox.models.deletion.DeleteMixin, models.Model),
        ),
        migrations.AddIndex(
            model_name="segmentpool",
            index=models.Index(fields=["scope_type", "scope_id"], name="netbox_vlan_scope_t_226a6f_idx"),
        ),
        migrations.AddConstraint(
            model_name="segmentpool",
            constraint=models.UniqueConstraint(
                fields=("vrf", "scope_type", "scope_id"),
                name="netbox_vlan_manager_segmentpool_unique_vrf_scope",
                nulls_distinct=False,
                violation_error_message="This VRF already has a pool at this scope.",
            ),
        ),
        migrations.AddConstraint(
            model_name="segmentpool",
            constraint=models.CheckConstraint(
                condition=models.Q(("scope_id__isnull", False), ("scope_type__isnull", False)),
                name="netbox_vlan_manager_segmentpool_scope_set",
                violation_error_message="Choose the region, site group, site or location that the pool serves.",
            ),
        ),
        migrations.AddConstraint(
            model_name="segmentpool",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("min_prefix_length__isnull", True),
                    ("max_prefix_length__isnull", True),
                    ("min_prefix_length__lte", models.F("max_prefix_length")),
                    _connector="OR",
                ),
                name="netbox_vlan_manager_segmentpool_prefix_lengths_ordered",
                violation_error_message="The shortest prefix length is longer than the longest one.",
            ),
        ),
        migrations.AddIndex(
            model_name="segment",
            index=models.Index(
                models.F("pool"),
                models.F("vid"),
                condition=models.Q(("status", "available")),
                name="vlan_manager_free_list",
            ),
        ),
        migrations.AddIndex(
            model_name="segment",
            index=models.Index(fields=["pool", "status"], name="vlan_manager_pool_status"),
        ),
        migrations.AddConstraint(
            model_name="segment",
            constraint=models.UniqueConstraint(
                fields=("pool", "vid"),
                name="netbox_vlan_manager_segment_unique_pool_vid",
                violation_error_message="The pool already has a segment with this VLAN ID.",
            ),
        ),
        migrations.AddConstraint(
            model_name="segment",
            constraint=models.CheckConstraint(
                condition=models.Q(("vid__gte", 1), ("vid__lte", 4094)), name="netbox_vlan_manager_segment_vid_range"
            ),
        ),
        migrations.AddConstraint(
            model_name="segment",
            constraint=models.CheckConstraint(
                condition=models.Q(("status__in", ["available", "allocated", "quarantined", "disabled"])),
                name="netbox_vlan_manager_segment_status_known",
            ),
        ),
        migrations.AddIndex(
            model_name="allocation",
            index=models.Index(fields=["-allocated_at", "-id"], name="vlan_manager_alloc_order"),
        ),
        migrations.AddIndex(
            model_name="allocation",
            index=models.Index(fields=["cluster_name"], name="vlan_manager_alloc_cluster"),
        ),
        migrations.AddConstraint(
            model_name="allocation",
            constraint=models.UniqueConstraint(
                models.F("pool"),
                django.db.models.functions.text.Upper("cluster_name"),
                models.F("purpose"),
                condition=models.Q(("released_at__isnull", True)),
                name="netbox_vlan_manager_allocation_one_active",
                violation_error_message="The cluster already holds a segment of this pool.",
            ),
        ),
        migrations.AddConstraint(
            model_name="allocation",
            constraint=models.UniqueConstraint(
                condition=models.Q(("released_at__isnull", True)),
                fields=("segment",),
                name="netbox_vlan_manager_allocation_unique_segment",
                violation_error_message="Another cluster holds this segment.",
            ),
        ),
        migrations.AddConstraint(
            model_name="allocation",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("released_at__isnull", False),
                    models.Q(("pool__isnull", False), ("segment__isnull", False)),
                    _connector="OR",
                ),
                name="netbox_vlan_manager_allocation_active_has_segment",
            ),
        ),
    ]
