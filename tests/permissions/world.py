"""
A NetBox with two halves, of which a user may view one.

Everything in the hidden half has a marker: its names contain HIDDEN_WORD, its networks lie in HIDDEN_NETWORKS, its
VLAN IDs and numbers of segments are unique. So an answer without a match of HIDDEN reveals nothing of it.
"""

import re
from datetime import timedelta
from types import SimpleNamespace
from uuid import uuid4

from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.utils import timezone

from core.choices import JobStatusChoices
from core.models import Job
from dcim.models import Site
from ipam.choices import PrefixStatusChoices
from ipam.models import VLAN, VRF, Prefix, VLANGroup
from netbox_vlan_manager.jobs import DriftRepairJob, GenerateSegmentsJob, MigrationJob, SegmentImportJob
from netbox_vlan_manager.models import Allocation, PoolSnapshot, Segment, SegmentPool
from netbox_vlan_manager.services import (
    allocate,
    create_pool,
    disable_segment,
    release,
    release_allocation,
    share,
)
from netbox_vlan_manager.services.reporting.snapshots import take_snapshots
from netbox_vlan_manager.services.reporting.thresholds import refresh
from netbox_vlan_manager.services.segments.generation import generate_segments
from tests.factories import make_segment, make_site, make_user, make_vrf, permit
from virtualization.models import Cluster, ClusterType

__all__ = (
    "HIDDEN",
    "HIDDEN_WORD",
    "OPEN",
    "OPEN_WORD",
    "PERSONAS",
    "TABLES",
    "build_world",
)

# In the order of the matrix's columns. They use tokens for REST and sessions for pages; two have tokens only.
PERSONAS = ("anonymous", "nobody", "viewer", "bound", "allocator", "readonly", "expired", "root")

# Names with OPEN_WORD may be read with a permission for one VRF; names with HIDDEN_WORD may not.
OPEN_WORD, HIDDEN_WORD = "opz", "zqx"
# The number of segments in one of the hidden pools; no other pool has nearly as many.
HIDDEN_SEGMENTS = 417

OPEN = re.compile(r"opz|10\.1\.\d+\.\d+/", re.IGNORECASE)
HIDDEN = re.compile(
    rf"""{HIDDEN_WORD}                      # a name
    | 10\.222\.[1-9] | 10\.22[34]\. | 10\.1\.222\. | 2001:db8:222   # a network
    | (?<![\w.%/\#-])3[89]\d\d(?![\w%.-])  # a VLAN ID
    | (?<![\w.%/\#-])4(?:1[5-9]|3[0-5])(?![\w%.])  # a number of segments
    """,
    re.IGNORECASE | re.VERBOSE,
)

TABLES = (
    "netbox_vlan_manager_segmentpool",
    "netbox_vlan_manager_segment",
    "netbox_vlan_manager_allocation",
    "ipam_vlan",
    "ipam_prefix",
    "ipam_vlangroup",
    "ipam_vrf",
    "dcim_site",
    "virtualization_cluster",
    "core_job",
    "users_user",
)


def build_world():
    """Return the objects of the world by their names in the matrix, and its users as `users`."""
    _begin_ids_high()
    root = make_user("root", is_superuser=True)
    vrf, hidden_vrf = make_vrf("opz-vrf"), make_vrf("zqx-vrf", rd="zqx:1")
    site, site_b, hidden_site = make_site("opz-site"), make_site("opz-site-b"), make_site("zqx-site")
    cluster_type = ClusterType.objects.create(name="Kubernetes", slug="kubernetes")
    open_cluster, hidden_cluster = (
        Cluster.objects.create(name=name, type=cluster_type) for name in ("opz-linked", "zqx-linked")
    )

    def pool_of(name, *where, container, vids=(), **fields):
        return create_pool(
            user=root, vrf=where[0], scope=where[1], prefixes=[container], vid_ranges=vids or None, name=name, **fields
        )

    # One site without a pool, and one whose pool has no segment.
    site_c, site_d = make_site("opz-site-c"), make_site("opz-site-d")

    vids = [(100, 299), (3700, 3749)]
    pool = pool_of("opz-pool", vrf, site, container="10.1.0.0/16", vids=vids)
    pool_b = pool_of("opz-pool-b", vrf, site_b, container="10.2.0.0/16", vids=[(100, 299)])
    empty_pool = pool_of("opz-empty", vrf, site_d, container="10.4.0.0/16", vids=[(100, 299)])
    # A hidden pool with the same VLAN group, in the same VRF.
    hidden_near = pool_of("zqx-near", vrf, hidden_site, container="10.222.128.0/17", vlan_group=pool.vlan_group)
    # A hidden pool at the same site, with another VRF and VLAN group.
    hidden_here = pool_of("zqx-here", hidden_vrf, site, container="10.224.0.0/16", vids=[(3960, 3999)])
    hidden_far = pool_of(
        "zqx-far", hidden_vrf, hidden_site, container="10.223.0.0/16", vids=[(3800, 4090), (1000, 1300)]
    )

    opens = [make_segment(pool, 100 + index, index, epg_name=f"EPG_opz_{index}") for index in range(8)]
    for index in range(3):
        make_segment(pool_b, 100 + index, index, epg_name=f"EPG_opz_b{index}")
    # A segment whose VLAN ID is available in both pools.
    make_segment(pool_b, 107, 7, epg_name="EPG_opz_b7")
    inside, inside_free = (
        make_segment(pool, 3711 + index, epg_name=f"EPG_zqx_in{index}", prefix=f"10.1.222.{64 * index}/26")
        for index in range(2)
    )
    for index in range(3):
        make_segment(hidden_near, 3720 + index, epg_name=f"EPG_zqx_near{index}", prefix=f"10.222.{200 + index}.0/24")
    here = make_segment(hidden_here, 3960, epg_name="EPG_zqx_here", prefix="10.224.0.0/24")
    generate_segments(
        hidden_far, user=root, enforce=False, count=HIDDEN_SEGMENTS, prefix_length=28, epg_template="EPG_zqx_far_{vid}"
    )

    held, held_too = (allocate(name, pool=pool, user=root).allocation for name in ("opz-linked", "opz-cluster"))
    allocate("opz-cluster-b", pool=pool_b, user=root)
    past = allocate("opz-past", pool=pool, user=root).allocation
    release_allocation(past, user=root)
    quarantined = opens[3]
    Segment.objects.filter(pk=quarantined.pk).update(
        status="quarantined", quarantined_until=timezone.now() + timedelta(days=1)
    )
    disable_segment(opens[4], user=root, reason="opz broken")
    hidden_held = allocate("zqx-linked", pool=hidden_far, user=root).allocation
    allocate("zqx-cluster", pool=hidden_near, user=root)
    allocate("zqx-here", pool=hidden_here, user=root)
    allocate("zqx-inside", pool=pool, user=root, segment=inside)
    # A hidden cluster shares one of the segments that everybody may view.
    hidden_share = share(held_too.segment, "zqx-sharing", user=root).allocation
    # This cluster prevents a merge of the two open pools.
    allocate("opz-both", pool=pool, user=root)
    allocate("opz-both", pool=pool_b, user=root)
    release("opz-both", pool=pool_b, user=root)
    expires_at = timezone.now() + timedelta(days=30)
    leased = allocate("opz-leased", pool=pool_b, user=root, expires_at=expires_at).allocation
    undoable = allocate("opz-undo", pool=pool_b, user=root).allocation
    release_allocation(undoable, user=root)

    # Prefixes that could be adopted, and conflicts that prevent it.
    def prefix_with_vlan(network, vid, name, **fields):
        vlan = VLAN.objects.create(group=pool.vlan_group, vid=vid, name=name)
        return Prefix.objects.create(prefix=network, vrf=vrf, vlan=vlan, **fields)

    candidate = prefix_with_vlan("10.1.50.0/24", 250, "EPG_opz_candidate")
    good_candidate = prefix_with_vlan("10.1.51.0/24", 251, "EPG_opz_good")
    hidden_candidate = prefix_with_vlan("10.1.222.192/26", 3730, "EPG_zqx_candidate")
    Prefix.objects.create(prefix="10.1.222.176/28", vrf=vrf, vlan=candidate.vlan)

    # Drift.
    Prefix.objects.filter(pk=opens[5].prefix_id).update(status=PrefixStatusChoices.STATUS_DEPRECATED)
    Prefix.objects.filter(pk__in=[inside_free.prefix_id, here.prefix_id]).update(status="deprecated")
    take_snapshots()
    refresh()

    users = _make_users(root)
    bound = users["bound"]

    def job_of(user, runner, data):
        return Job.objects.create(
            name=runner.name, user=user, data=data, status=JobStatusChoices.STATUS_COMPLETED, job_id=uuid4()
        )

    row = "site,vlan_id,epg_name,segment,vrf\n{0}-site,150,EPG_{0}_row,10.1.150.0/24,{0}-vrf\n"
    report = {"pools": [{"name": "zqx-report", "problems": []}], "dry_run": True}

    def imported(word):
        results = [{"status": "failed", "errors": {"site": [f"{word}-error"]}}]
        return {"text": row.format(word), "atomic": False, "dry_run": True, "results": results}

    def repaired(word):
        result = {"item": "prefix_status:netbox_vlan_manager.segment:1", "status": "failed", "message": f"{word}-error"}
        return {"items": [result["item"]], "changelog_message": "", "dry_run": False, "results": [result]}

    def generated(where, word):
        segment = {
            "id": None,
            "vid": 160,
            "epg_name": f"EPG_{word}_gen",
            "prefix": "10.1.160.0/24",
            "ipv6_prefix": None,
        }
        result = {"count": 1, "segments": [segment], "skipped": []}
        return {"pool": where.pk, "asked": {"count": 1}, "dry_run": True, "result": result}

    return SimpleNamespace(
        pool=pool,
        pool_b=pool_b,
        empty_pool=empty_pool,
        near=hidden_near,
        far=hidden_far,
        segment=opens[6],
        held=held.segment,
        quarantined=quarantined,
        disabled=opens[4],
        drifted=opens[5],
        inside=inside,
        inside_free=inside_free,
        far_segment=hidden_far.segments.order_by("vid").last(),
        allocation=held,
        shared=held_too,
        leased=leased,
        undoable=undoable,
        past=past,
        far_allocation=hidden_held,
        inside_allocation=inside.allocations.get(),
        hidden_share=hidden_share,
        candidate=candidate,
        good_candidate=good_candidate,
        hidden_candidate=hidden_candidate,
        vrf=vrf,
        hidden_vrf=hidden_vrf,
        site=site,
        hidden_site=hidden_site,
        group=pool.vlan_group,
        container=pool.prefixes.get(),
        container_b=pool_b.prefixes.get(),
        cluster=open_cluster,
        hidden_cluster=hidden_cluster,
        import_job=job_of(bound, SegmentImportJob, imported("opz")),
        hidden_import_job=job_of(root, SegmentImportJob, imported("zqx")),
        generate_job=job_of(bound, GenerateSegmentsJob, generated(pool, "opz")),
        hidden_generate_job=job_of(root, GenerateSegmentsJob, generated(pool, "zqx")),
        repair_job=job_of(bound, DriftRepairJob, repaired("opz")),
        hidden_repair_job=job_of(root, DriftRepairJob, repaired("zqx")),
        migration_job=job_of(bound, MigrationJob, {"dry_run": True}),
        hidden_migration_job=job_of(root, MigrationJob, {"dry_run": True, "report": report}),
        users=users,
        site_b=site_b,
        site_c=site_c,
        site_type=ContentType.objects.get_for_model(Site),
    )


def _begin_ids_high():
    """Begin ids above all VLAN IDs and numbers of segments."""
    with connection.cursor() as cursor:
        for table in TABLES:
            cursor.execute("SELECT setval(pg_get_serial_sequence(%s, 'id'), 7000000)", [table])


def _make_users(root):
    """Return {persona: User}."""
    users = {name: make_user(name) for name in ("nobody", "viewer", "bound", "allocator")}
    for model in (SegmentPool, Segment, Allocation, PoolSnapshot, VRF, Site, VLANGroup, Prefix, VLAN, Cluster):
        users["viewer"] = permit(users["viewer"], model, "view")

    user = users["bound"]
    own = {"vrf__name": "opz-vrf", "name__startswith": "opz"}
    in_own = {"pool__vrf__name": "opz-vrf", "pool__name__startswith": "opz", "vid__lt": 3000}
    view = ["view"]
    allocations = {**in_own, "cluster_name__startswith": "opz"}
    for model, actions, constraints in (
        (SegmentPool, ["view", "add", "change", "delete", "allocate", "release"], own),
        (Segment, ["view", "add", "change", "delete"], in_own),
        (Allocation, ["view", "add", "change"], allocations),
        (PoolSnapshot, view, {"pool__vrf__name": "opz-vrf", "pool__name__startswith": "opz"}),
        (VRF, view, {"name": "opz-vrf"}),
        (Site, view, {"name__startswith": "opz"}),
        (VLANGroup, view, {"name__startswith": "opz"}),
        (VLAN, view, {"group__name__startswith": "opz", "vid__lt": 3000}),
        (Cluster, view, {"name__startswith": "opz"}),
        (
            Prefix,
            view,
            [
                {"vrf__name": "opz-vrf", "segment__vid__lt": 3000, "segment__pool__name__startswith": "opz"},
                {"vrf__name": "opz-vrf", "prefix__in": ["10.1.0.0/16", "10.2.0.0/16", "10.1.50.0/24", "10.1.51.0/24"]},
            ],
        ),
    ):
        user = permit(user, model, *actions, constraints=constraints)
    users["bound"] = user
    users["allocator"] = permit(users["allocator"], SegmentPool, "allocate", constraints=own)
    users["root"] = root
    return users
