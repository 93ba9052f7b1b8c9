"""Fills a database with many segments by SQL, because creating them is not measured."""

__all__ = ("fill",)

# Every pool has its own VRF, so each can use the /24s from 10.0.0.0 on.
FILL = """
WITH site AS (
    INSERT INTO dcim_site (created, last_updated, custom_field_data, description, comments, name, slug, status,
        facility, physical_address, shipping_address)
    SELECT now(), now(), '{{}}', '', '', '{prefix}-' || p, lower('{prefix}-' || p), 'active', '', '', ''
    FROM generate_series(1, {pools}) AS p RETURNING id, name
), vrf AS (
    INSERT INTO ipam_vrf (created, last_updated, custom_field_data, description, comments, name, enforce_unique)
    SELECT now(), now(), '{{}}', '', '', '{prefix}-' || p, true FROM generate_series(1, {pools}) AS p RETURNING id, name
), grp AS (
    INSERT INTO ipam_vlangroup (created, last_updated, custom_field_data, description, comments, name, slug,
        scope_type_id, scope_id, vid_ranges, total_vlan_ids)
    SELECT now(), now(), '{{}}', '', '', name, lower(name),
        (SELECT id FROM django_content_type WHERE app_label = 'dcim' AND model = 'site'), id,
        ARRAY[int4range(1, 4095)], 4094
    FROM site RETURNING id, name
), container AS (
    INSERT INTO ipam_prefix (created, last_updated, custom_field_data, description, comments, prefix, vrf_id, status,
        is_pool, mark_utilized, _depth, _children)
    SELECT now(), now(), '{{}}', '', '', '10.0.0.0/8', id, 'container', false, false, 0, {segments} FROM vrf
    RETURNING id, vrf_id
), pool AS (
    INSERT INTO netbox_vlan_manager_segmentpool (created, last_updated, custom_field_data, description, comments, name,
        slug, status, vrf_id, vlan_group_id, scope_type_id, scope_id, _site_id, warning_threshold, critical_threshold,
        allocation_order, cooldown, release_in_use, level, epg_template, auto_grow, first_generation,
        segment_custom_fields, vlan_custom_fields, prefix_custom_fields, gateway_rule, create_gateways, dns_servers,
        domain_name)
    SELECT now(), now(), '{{}}', '', '', site.name, lower(site.name), 'active', vrf.id, grp.id,
        (SELECT id FROM django_content_type WHERE app_label = 'dcim' AND model = 'site'), site.id, site.id, 80, 95,
        'lowest', 0, 'allow', 'normal', '', false, '', '{{}}', '{{}}', '{{}}', 'none', false, '{{}}', ''
    FROM site JOIN vrf USING (name) JOIN grp USING (name) RETURNING id, name, vrf_id, vlan_group_id
), link AS (
    INSERT INTO netbox_vlan_manager_segmentpool_prefixes (segmentpool_id, prefix_id)
    SELECT pool.id, container.id FROM pool JOIN container USING (vrf_id)
), vlan AS (
    INSERT INTO ipam_vlan (created, last_updated, custom_field_data, description, comments, group_id, vid, name, status)
    SELECT now(), now(), '{{}}', '', '', grp.id, n, 'EPG_' || n, 'active'
    FROM grp CROSS JOIN generate_series(1, {segments}) AS n RETURNING id, group_id, vid
), prefix AS (
    INSERT INTO ipam_prefix (created, last_updated, custom_field_data, description, comments, prefix, vrf_id, vlan_id,
        status, is_pool, mark_utilized, _depth, _children)
    SELECT now(), now(), '{{}}', '', '', set_masklen('10.0.0.0'::inet + 256::bigint * vlan.vid, 24)::cidr, pool.vrf_id,
        vlan.id, 'active', false, false, 1, 0
    FROM vlan JOIN pool ON pool.vlan_group_id = vlan.group_id RETURNING id, vlan_id
)
INSERT INTO netbox_vlan_manager_segment (created, last_updated, custom_field_data, description, comments, pool_id,
    vlan_id, prefix_id, vid, status, disabled_reason, dhcp, owns_vlan, owns_prefix, owns_ipv6_prefix)
SELECT now(), now(), '{{}}', '', '', pool.id, vlan.id, prefix.id, vlan.vid, 'available', '', false, true, true, false
FROM vlan JOIN prefix ON prefix.vlan_id = vlan.id JOIN pool ON pool.vlan_group_id = vlan.group_id
"""

ALLOCATE = """
WITH taken AS (
    SELECT segment.*, pool.name AS pool_name FROM netbox_vlan_manager_segment AS segment
    JOIN netbox_vlan_manager_segmentpool AS pool ON pool.id = segment.pool_id
    WHERE pool.name = '{name}' AND segment.vid <= {count}
), marked AS (
    UPDATE netbox_vlan_manager_segment SET status = 'allocated' WHERE id IN (SELECT id FROM taken)
), reserved AS (
    UPDATE ipam_prefix SET status = 'reserved' WHERE id IN (SELECT prefix_id FROM taken)
)
INSERT INTO netbox_vlan_manager_allocation (created, last_updated, custom_field_data, description, comments, segment_id,
    pool_id, cluster_name, purpose, allocated_at, pool_name, vrf_name, vid, epg_name, prefix, release_reason,
    expiry_warned, shared, places)
SELECT now(), now(), '{{}}', '', '', id, pool_id, 'taken-' || vid, '', now(), pool_name, pool_name, vid, 'EPG_' || vid,
    set_masklen('10.0.0.0'::inet + 256::bigint * vid, 24)::cidr, '', false, false, '{{*}}'
FROM taken
"""


def fill(connection, prefix, pools, segments, taken=0):
    """
    Make pools of /24 segments, each with its own VRF, VLAN group and site, all named "<prefix>-<number>".

    Args:
        connection: A psycopg connection in autocommit mode.
        prefix: The prefix of the names.
        pools: How many.
        segments: How many in each, up to 4094.
        taken: How many segments of the first pool are allocated, the lowest VLAN IDs first.
    """
    connection.execute(FILL.format(prefix=prefix, pools=pools, segments=segments))
    if taken:
        connection.execute(ALLOCATE.format(name=f"{prefix}-1", count=taken))
    # Autovacuum does this within a minute.
    connection.execute("VACUUM ANALYZE")
