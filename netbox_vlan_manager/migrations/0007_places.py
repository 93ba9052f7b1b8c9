import django.contrib.postgres.fields
import django.db.models.functions.text
from django.db import migrations, models

# Nobody has written down what active allocations were asked for.
UNKNOWN_PLACES = """
UPDATE netbox_vlan_manager_allocation SET places = '{*}' WHERE released_at IS NULL;
"""
# A cluster of NetBox that was made, renamed or deleted after its allocation was not linked to it.
LINK_CLUSTERS = """
UPDATE netbox_vlan_manager_allocation AS allocation SET cluster_id = named.cluster_id
FROM (
    SELECT held.id, CASE WHEN count(cluster.id) = 1 THEN min(cluster.id) END AS cluster_id
    FROM netbox_vlan_manager_allocation AS held
    LEFT JOIN virtualization_cluster AS cluster ON upper(cluster.name COLLATE "default") = upper(held.cluster_name)
    WHERE held.released_at IS NULL GROUP BY held.id
) AS named
WHERE named.id = allocation.id AND named.cluster_id IS DISTINCT FROM allocation.cluster_id;
"""

# For netbox-branching: what this changes has no copies in branches.
fake_on_branch = True


class Migration(migrations.Migration):
    dependencies = [
        ("netbox_vlan_manager", "0006_custom_fields"),
    ]

    operations = [
        migrations.AddField(
            model_name="allocation",
            name="places",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.TextField(), blank=True, default=list, editable=False, size=None
            ),
        ),
        migrations.RemoveConstraint(
            model_name="allocation",
            name="netbox_vlan_manager_allocation_one_active",
        ),
        migrations.AddConstraint(
            model_name="allocation",
            constraint=models.UniqueConstraint(
                django.db.models.functions.text.Upper("cluster_name"),
                models.F("purpose"),
                models.F("pool"),
                condition=models.Q(("released_at__isnull", True)),
                name="netbox_vlan_manager_allocation_one_active",
                violation_error_message="The cluster already holds a segment of this pool.",
            ),
        ),
        migrations.AddIndex(
            model_name="allocation",
            index=models.Index(
                condition=models.Q(("released_at__isnull", True)), fields=["pool"], name="vlan_manager_alloc_pool"
            ),
        ),
        # Last: what they change is checked by deferred triggers, which no index may be made before.
        migrations.RunSQL(sql=UNKNOWN_PLACES, reverse_sql=migrations.RunSQL.noop),
        migrations.RunSQL(sql=LINK_CLUSTERS, reverse_sql=migrations.RunSQL.noop),
    ]
