"""
Two things that Django's constraints cannot say.

A segment is "allocated" exactly while an active allocation exists. The trigger is deferred to the commit, when a
transaction has written both sides, and refuses whatever would leave them apart: a stale save(), a script's update().

A pool's cached location, site, site group and region follow the site or location that it is scoped to, as NetBox's own
triggers do for prefixes.
"""

from django.db import migrations

from utilities.migration import InstallDenormalizationTrigger

FORWARD = """
CREATE FUNCTION netbox_vlan_manager_check_segment_status(checked_id bigint) RETURNS void AS $$
DECLARE
    segment_status text;
    is_held boolean;
BEGIN
    SELECT status INTO segment_status FROM netbox_vlan_manager_segment WHERE id = checked_id;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    SELECT EXISTS (
        SELECT FROM netbox_vlan_manager_allocation WHERE segment_id = checked_id AND released_at IS NULL
    ) INTO is_held;
    IF is_held <> (segment_status = 'allocated') THEN
        RAISE EXCEPTION 'Segment % has status "%" but % active allocation',
            checked_id, segment_status, CASE WHEN is_held THEN 'an' ELSE 'no' END
            USING ERRCODE = 'check_violation', CONSTRAINT = 'netbox_vlan_manager_segment_status';
    END IF;
END;
$$ LANGUAGE plpgsql;

CREATE FUNCTION netbox_vlan_manager_segment_changed() RETURNS trigger AS $$
BEGIN
    PERFORM netbox_vlan_manager_check_segment_status(NEW.id);
    RETURN NULL;
END;
$$ LANGUAGE plpgsql;

CREATE FUNCTION netbox_vlan_manager_allocation_changed() RETURNS trigger AS $$
BEGIN
    IF TG_OP <> 'INSERT' AND OLD.segment_id IS NOT NULL THEN
        PERFORM netbox_vlan_manager_check_segment_status(OLD.segment_id);
    END IF;
    IF TG_OP <> 'DELETE' AND NEW.segment_id IS NOT NULL
        AND (TG_OP = 'INSERT' OR NEW.segment_id IS DISTINCT FROM OLD.segment_id) THEN
        PERFORM netbox_vlan_manager_check_segment_status(NEW.segment_id);
    END IF;
    RETURN NULL;
END;
$$ LANGUAGE plpgsql;

CREATE CONSTRAINT TRIGGER netbox_vlan_manager_segment_status
    AFTER INSERT OR UPDATE OF status ON netbox_vlan_manager_segment
    DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION netbox_vlan_manager_segment_changed();

CREATE CONSTRAINT TRIGGER netbox_vlan_manager_segment_status
    AFTER INSERT OR DELETE OR UPDATE OF released_at, segment_id ON netbox_vlan_manager_allocation
    DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION netbox_vlan_manager_allocation_changed();
"""

REVERSE = """
DROP TRIGGER netbox_vlan_manager_segment_status ON netbox_vlan_manager_allocation;
DROP TRIGGER netbox_vlan_manager_segment_status ON netbox_vlan_manager_segment;
DROP FUNCTION netbox_vlan_manager_allocation_changed();
DROP FUNCTION netbox_vlan_manager_segment_changed();
DROP FUNCTION netbox_vlan_manager_check_segment_status(bigint);
"""


# For netbox-branching: what this changes has no copies in branches.
fake_on_branch = True


class Migration(migrations.Migration):
    dependencies = (("netbox_vlan_manager", "0001_initial"),)

    operations = (
        migrations.RunSQL(sql=FORWARD, reverse_sql=REVERSE),
        InstallDenormalizationTrigger(
            dependent_table="netbox_vlan_manager_segmentpool",
            source_table="dcim_site",
            fk_column="_site_id",
            mappings={"_region_id": "region_id", "_site_group_id": "group_id"},
        ),
        InstallDenormalizationTrigger(
            dependent_table="netbox_vlan_manager_segmentpool",
            source_table="dcim_location",
            fk_column="_location_id",
            mappings={"_site_id": "site_id"},
            related_mappings=(
                {
                    "table": "dcim_site",
                    "source_fk": "site_id",
                    "mappings": {"_region_id": "region_id", "_site_group_id": "group_id"},
                },
            ),
        ),
    )
