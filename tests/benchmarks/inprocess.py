"""
Measures services without HTTP: python -m tests.benchmarks.inprocess MEASURE ARGUMENTS prints the result as JSON.
"""

import json
import statistics
import sys
import time
import tracemalloc

import django

django.setup()

import psycopg  # noqa: E402
from django.db import connection, connections  # noqa: E402

from netbox_vlan_manager.exceptions import PoolExhausted  # noqa: E402
from netbox_vlan_manager.models import Segment, SegmentPool  # noqa: E402
from netbox_vlan_manager.services import allocate  # noqa: E402
from netbox_vlan_manager.services.reporting import export  # noqa: E402
from netbox_vlan_manager.services.reporting import statistics as pool_statistics  # noqa: E402
from netbox_vlan_manager.services.segments.segment_columns import EXPORTED  # noqa: E402
from tests.benchmarks.clients import throughput  # noqa: E402
from tests.factories import make_user  # noqa: E402

# The writes of an allocation alone: no permissions, no validation, no replay.
BARE = """
SELECT s.id, s.vlan_id, s.prefix_id, s.vid, v.name, p.prefix FROM netbox_vlan_manager_segment s
JOIN ipam_vlan v ON v.id = s.vlan_id JOIN ipam_prefix p ON p.id = s.prefix_id
WHERE s.pool_id = %(pool)s AND s.status = 'available' ORDER BY s.vid LIMIT 1 FOR NO KEY UPDATE OF s SKIP LOCKED
"""
BARE_CHANGE = """
INSERT INTO core_objectchange (time, user_id, user_name, request_id, action, changed_object_type_id, changed_object_id,
    object_repr, message, prechange_data, postchange_data)
VALUES (now(), %(user)s, 'operator', gen_random_uuid(), 'update', %(type)s, %(id)s, 'repr', '', %(data)s, %(data)s)
"""


def latency(pool, count):
    """Return the median time of `count` allocations in a pool, in seconds."""
    pool, user = SegmentPool.objects.select_related("vrf").get(name=pool), make_user()
    allocate("warm-up", pool=pool, user=user)
    return _median(lambda number: allocate(f"latency-{number}", pool=pool, user=user), int(count))


def latencies(pools, count):
    """Return the median times of `count` allocations in each of several pools, taken in turn."""
    pools = [SegmentPool.objects.select_related("vrf").get(name=name) for name in pools.split(",")]
    user, times = make_user(), [[] for _pool in pools]
    for number in range(int(count)):
        for own_times, pool in zip(times, pools, strict=True):
            start = time.perf_counter()
            allocate(f"latency-{number}", pool=pool, user=user)
            own_times.append(time.perf_counter() - start)
    return [statistics.median(own_times) for own_times in times]


def bare(pool, count):
    """Return the median time of the same writes through psycopg alone."""
    pool, user = SegmentPool.objects.get(name=pool), make_user()
    config = connection.settings_dict
    snapshot = json.dumps(
        {"status": "available", "vid": 1, "description": "", "comments": "", "tags": []}
        | {f"field_{number}": None for number in range(12)}
    )
    types = dict(
        connection.cursor().execute(
            "SELECT model, id FROM django_content_type WHERE model IN ('segment', 'prefix', 'allocation')"
        )
    )
    with psycopg.connect(
        host=config["HOST"],
        port=config["PORT"],
        user=config["USER"],
        password=config["PASSWORD"],
        dbname=config["NAME"],
    ) as session:

        def write(number):
            segment, _vlan, prefix, vid, name, cidr = session.execute(BARE, {"pool": pool.pk}).fetchone()
            session.execute(
                "UPDATE netbox_vlan_manager_segment SET status = 'allocated', last_updated = now() WHERE id = %s",
                [segment],
            )
            (allocation,) = session.execute(
                """INSERT INTO netbox_vlan_manager_allocation (created, last_updated, custom_field_data, description,
                comments, segment_id, pool_id, cluster_name, purpose, allocated_at, pool_name, vrf_name, vid, epg_name,
                prefix, release_reason, expiry_warned, shared, places) VALUES (now(), now(), '{}', '', '', %s, %s, %s,
                '', now(), 'pool', 'vrf', %s, %s, %s, '', false, false, '{}') RETURNING id""",
                [segment, pool.pk, f"bare-{number}", vid, name, cidr],
            ).fetchone()
            session.execute("UPDATE ipam_prefix SET status = 'reserved', last_updated = now() WHERE id = %s", [prefix])
            for model, pk in (("segment", segment), ("allocation", allocation), ("prefix", prefix)):
                session.execute(BARE_CHANGE, {"user": user.pk, "type": types[model], "id": pk, "data": snapshot})
            session.commit()

        return _median(write, int(count))


def rate(pool, workers, seconds):
    """Return how many allocations a second several processes make in one pool."""
    pool, user = SegmentPool.objects.select_related("vrf").get(name=pool), make_user()
    started = time.time()

    def call(number):
        try:
            allocate(f"rate-{started}-{number}", pool=pool, user=user)
        except PoolExhausted:
            raise SystemExit(f"Pool {pool} is too small for the benchmark") from None

    connections.close_all()
    return throughput(call, int(workers), float(seconds))


def count_segments():
    """Return the median times of the statistics of all pools, and of the bare GROUP BY that they use."""
    pools = SegmentPool.objects.all()
    query = "SELECT pool_id, status, count(*) FROM netbox_vlan_manager_segment GROUP BY pool_id, status"

    def group_by(_number):
        with connection.cursor() as cursor:
            cursor.execute(query)
            cursor.fetchall()

    ours, bare = [], []
    for _round in range(10):
        ours.append(_median(lambda number: pool_statistics.pool_statistics(pools), 1))
        bare.append(_median(group_by, 1))
    return [statistics.median(ours), statistics.median(bare)]


def export_memory(count):
    """Return the peak memory of exporting that many segments as CSV, in bytes."""
    pks = list(Segment.objects.order_by("pk").values_list("pk", flat=True)[: int(count)])
    segments = Segment.objects.filter(pk__lte=pks[-1])
    for _chunk in _csv(segments.filter(pk__lte=pks[10])):
        pass
    del pks
    tracemalloc.start()
    for _chunk in _csv(segments):
        pass
    return tracemalloc.get_traced_memory()[1]


def export_for(seconds):
    """Export all segments repeatedly for that many seconds, and return the number of rows."""
    start, rows = time.perf_counter(), 0
    while time.perf_counter() - start < float(seconds):
        for _row in export.segment_rows(Segment.objects.all()):
            rows += 1
            if time.perf_counter() - start > float(seconds):
                break
    return rows


def _csv(segments):
    return export.csv_chunks(EXPORTED, export.segment_rows(segments))


def _median(work, count):
    times = []
    for number in range(count):
        start = time.perf_counter()
        work(number)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))
