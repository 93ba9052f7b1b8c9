"""
A NetBox in which every text that a user may write is an attack on its readers.

Run as a program, it builds that in the environment's database and prints the paths of the pages as JSON.
"""

import json
from contextlib import suppress
from datetime import timedelta

import django

__all__ = ("EVALUATED", "HOSTILE", "MARKER", "build_world", "core_paths", "page_paths", "rest_paths")

# An attack succeeds if this variable is defined, or if the expression in braces is evaluated.
MARKER = "__xss"
EVALUATED = "53743561"
HOSTILE = f"<script>window.{MARKER}=1</script>\"'><img src=x onerror=window.{MARKER}=2>{{{{7331*7331}}}}"
LONG = (
    f"{HOSTILE}<svg/onload=window.{MARKER}=3>${{7331*7331}}</textarea></title></style><iframe src=javascript:"
    f"window.{MARKER}=4>"
)
# For short fields. Fields that would refuse it are written past their validation.
SHORT = f"<img src=x onerror=window.{MARKER}=7>"
# NetBox shows these as Markdown.
MARKDOWN = f'{LONG}\n\n[link](javascript:window.{MARKER}=5) ![image](x"onerror="window.{MARKER}=6)\n\n`{LONG}`'


IMPORT_COLUMNS = ("site", "vlan_id", "epg_name", "segment", "vrf", "dhcp", "description", "cluster_name")
WIDGET_IDS = ("5d9d2a4e-0000-4000-8000-000000000001", "5d9d2a4e-0000-4000-8000-000000000002")


def build_world():
    """Return {name: object} with an object for each kind of page, and `root`, a superuser."""
    from core.choices import JobStatusChoices
    from core.exceptions import JobFailed
    from core.models import Job, ObjectType
    from dcim.models import Location, Region, Site, SiteGroup
    from extras.models import CustomField, CustomFieldChoiceSet, Dashboard, JournalEntry, Tag
    from ipam.models import VLAN, VRF, Prefix, Role, VLANGroup
    from netbox_vlan_manager import jobs
    from netbox_vlan_manager.models import Allocation, PoolSnapshot, Segment, SegmentPool
    from netbox_vlan_manager.services import (
        allocate,
        create_pool,
        create_segment,
        disable_segment,
        release_allocation,
        share,
    )
    from netbox_vlan_manager.services.reporting.snapshots import take_snapshots
    from tenancy.models import Contact, ContactAssignment, ContactRole, Tenant, TenantGroup
    from tests import first_generation
    from tests.factories import make_user
    from users.models import Owner, OwnerGroup, User
    from virtualization.models import Cluster, ClusterType

    root = make_user("root", is_superuser=True)
    User.objects.filter(pk=root.pk).update(first_name=HOSTILE, email="root@example.com")
    # Single sign-on does not validate user names.
    guest = make_user(f"U {HOSTILE}", is_superuser=True)
    region = Region.objects.create(name=f"Region {HOSTILE}", slug="hostile-region")
    group = SiteGroup.objects.create(name=f"Group {HOSTILE}", slug="hostile-group")
    site = Site.objects.create(
        name=f"Site {HOSTILE}", slug="hostile", region=region, group=group, description=LONG, comments=MARKDOWN
    )
    location = Location.objects.create(name=f"Place {HOSTILE}", slug="hostile-place", site=site)
    tenants = TenantGroup.objects.create(name=f"Tenants {HOSTILE}"[:100], slug="hostile-tenants")
    tenant = Tenant.objects.create(name=f"Tenant {HOSTILE}"[:100], slug="hostile-tenant", group=tenants)
    role = Role.objects.create(name=f"Role {HOSTILE}", slug="hostile-role")
    vrf = VRF.objects.create(name=f"VRF {HOSTILE}", rd="'><svg/onload=x()>", tenant=tenant)
    owner = Owner.objects.create(
        name=f"Owner {HOSTILE}", group=OwnerGroup.objects.create(name=f"Owners {HOSTILE}"), description=LONG
    )
    tag = Tag.objects.create(name=f"Tag {HOSTILE}", slug="hostile-tag")
    cluster = Cluster.objects.create(
        name=f"c {HOSTILE}", type=ClusterType.objects.create(name=f"Type {HOSTILE}", slug="hostile-type")
    )
    field = CustomField.objects.create(name="hostile", type="text", label=f"CF {HOSTILE}"[:50])
    choices = CustomFieldChoiceSet.objects.create(name=f"CS {HOSTILE}", extra_choices=[["a", HOSTILE], [SHORT, "b"]])
    select = CustomField.objects.create(
        name="chosen", type="select", label=SHORT, group_name=SHORT, description=LONG[:200], choice_set=choices
    )
    for custom_field in (field, select):
        custom_field.object_types.set(ObjectType.objects.get_for_models(SegmentPool, Segment, Allocation).values())
    described = {
        "description": LONG[:200],
        "comments": MARKDOWN,
        "owner": owner,
        "custom_field_data": {"hostile": LONG, "chosen": "a"},
        "changelog_message": LONG[:200],
    }
    pool = create_pool(
        user=root,
        vrf=vrf,
        scope=site,
        prefixes=["10.0.0.0/16"],
        vid_ranges=[(100, 199)],
        name=f"Pool {HOSTILE}",
        slug="hostile-pool",
        tenant=tenant,
        role=role,
        warning_threshold=10,
        critical_threshold=20,
        cooldown=86400,
        **described,
    )
    pool.tags.add(tag)
    other = create_pool(
        user=root,
        vrf=vrf,
        scope=location,
        prefixes=["10.1.0.0/16"],
        vid_ranges=[(100, 199)],
        name=f"Other {HOSTILE}",
        slug="hostile-other",
        **described,
    )
    # Only NetBox checks the name of a VLAN group.
    VLANGroup.objects.filter(pk=pool.vlan_group_id).update(name=f"VG {HOSTILE}", description=LONG[:200])
    segments = [
        create_segment(
            pool, user=root, vid=100 + index, epg_name=f"EPG_{index}", prefix=f"10.0.{index}.0/24", **described
        )
        for index in range(8)
    ]
    create_segment(other, user=root, vid=100, epg_name="EPG_other", prefix="10.1.0.0/24", **described)
    segments[0].tags.add(tag)
    held = allocate(cluster.name, pool=pool, user=root, changelog_message=LONG[:200]).allocation
    Allocation.objects.filter(pk=held.pk).update(
        description=LONG[:200], comments=MARKDOWN, custom_field_data={"hostile": LONG, "chosen": SHORT}
    )
    share(held.segment, f"s {HOSTILE}", user=guest)
    released = allocate(f"r {HOSTILE}", pool=pool, user=guest).allocation
    release_allocation(released, user=guest, changelog_message=LONG[:200])
    disable_segment(segments[4], user=root, reason=LONG[:200])
    # Objects made in NetBox's own pages, with VLAN IDs and networks of the pool.
    VLAN.objects.create(group=pool.vlan_group, vid=150, name=f"V {HOSTILE}"[:64])
    candidate = VLAN.objects.create(group=pool.vlan_group, vid=151, name=f"W {HOSTILE}"[:64])
    Prefix.objects.create(prefix="10.0.51.0/24", vrf=vrf, vlan=candidate, description=LONG[:200])
    VLAN.objects.filter(pk=segments[5].vlan_id).update(name=f"D {HOSTILE}"[:64])
    Prefix.objects.filter(pk=segments[6].prefix_id).update(status="deprecated")
    contact = Contact.objects.create(name=f"Contact {HOSTILE}"[:100], title=HOSTILE[:100])
    contact_role = ContactRole.objects.create(name=f"CR {HOSTILE}"[:100], slug="hostile-contact")
    ContactAssignment.objects.create(object=pool, contact=contact, role=contact_role)
    for instance in (pool, segments[0], held):
        JournalEntry.objects.create(assigned_object=instance, created_by=root, comments=MARKDOWN)
    take_snapshots()
    for snapshot in PoolSnapshot.objects.all():
        # A plot needs more than one snapshot.
        snapshot.pk, snapshot.date = None, snapshot.date - timedelta(days=1)
        snapshot.save()
    Dashboard.objects.update_or_create(
        user=root,
        defaults={
            "layout": [{"id": WIDGET_IDS[index], "x": 0, "y": 4 * index, "w": 4, "h": 4} for index in range(2)],
            "config": {
                WIDGET_IDS[index]: {"class": f"netbox_vlan_manager.{name}", "title": f"T {HOSTILE}", "config": {}}
                for index, name in enumerate(("PoolUtilizationWidget", "RecentAllocationsWidget"))
            },
        },
    )

    first_generation.make_fields()
    migrated = first_generation.make_group(vrf=f"F {HOSTILE}"[:40], site=f"G {HOSTILE}"[:40], container="10.9.0.0/16")
    first_generation.make_prefix(migrated, 100, "10.9.0.0/24", cluster=f"m {HOSTILE}")
    first_generation.make_prefix(migrated, 101, "10.9.1.0/24", vlan_name=HOSTILE[:60])

    def run(runner, **data):
        job = Job.objects.create(
            name=runner.name, user=root, status=JobStatusChoices.STATUS_COMPLETED, job_id=_uuid(), data=data
        )
        with suppress(JobFailed):
            runner(job).run()
        job.save()
        return job

    SegmentPool.objects.filter(pk=pool.pk).update(slug=SHORT, epg_template=SHORT, domain_name=HOSTILE)
    Allocation.objects.filter(pk__in=[held.pk, released.pk]).update(purpose=SHORT, epg_name=SHORT)
    rows = json.dumps([{name: f"{name} {HOSTILE}" for name in IMPORT_COLUMNS}, {HOSTILE: HOSTILE}])
    import_job = run(jobs.SegmentImportJob, text=rows, atomic=False, dry_run=True)
    unknown = f"{','.join(IMPORT_COLUMNS)},{SHORT}\n1"
    failed_job = run(jobs.SegmentImportJob, text=unknown, atomic=True, dry_run=True)
    migration_job = run(jobs.MigrationJob, dry_run=True)
    asked = {"count": 2, "prefix_length": 24, "epg_template": "EPG_{vid}", "description": LONG[:200]}
    repair_job = run(
        jobs.DriftRepairJob, items=[HOSTILE, f"epg_name:{segments[5].pk}"], changelog_message="", dry_run=True
    )
    generate_job = run(jobs.GenerateSegmentsJob, pool=pool.pk, asked=asked, dry_run=True)
    return {
        "root": root,
        "segmentpool": pool,
        "other_pool": other,
        "segment": held.segment,
        "quarantined": released.segment,
        "disabled": segments[4],
        "drifted": segments[5],
        "allocation": held,
        "released": released,
        "import_job": import_job,
        "failed_job": failed_job,
        "migration_job": migration_job,
        "repair_job": repair_job,
        "generate_job": generate_job,
        "site": site,
        "region": region,
        "group": group,
        "location": location,
        "tenant": tenant,
        "vrf": vrf,
        "vlan_group": pool.vlan_group,
        "vlan": held.segment.vlan,
        "prefix": held.segment.prefix,
        "cluster": cluster,
    }


def _uuid():
    from uuid import uuid4

    return uuid4()


def _routes(resolver, prefix=""):
    """Yield (route, URLPattern) of a resolver."""
    for pattern in resolver.url_patterns:
        route = prefix + str(pattern.pattern)
        if hasattr(pattern, "url_patterns"):
            yield from _routes(pattern, route)
        else:
            yield route, pattern


def _plugin_routes():
    from django.urls import get_resolver

    return [(route, pattern) for route, pattern in _routes(get_resolver()) if "plugins/vlan-manager/" in route]


def page_paths(world):
    """Return {name: path} of all pages of the plugin, found through its URLs."""
    paths = {}
    jobs = {
        "segment_import_job": "import_job",
        "migration_job": "migration_job",
        "drift_repair_job": "repair_job",
    }
    for route, pattern in _plugin_routes():
        if route.startswith("api/"):
            continue
        name = pattern.name
        path = f"/{route}".replace("<int:job_pk>", str(world["generate_job"].pk))
        if "<int:pk>" in path:
            path = path.replace("<int:pk>", str(world[jobs.get(name, name.partition("_")[0])].pk))
        assert "<" not in path, f"Say what {path} is about"
        paths[name] = path
    return paths


def rest_paths(world):
    """Return {(name, path): view class} of all endpoints of the plugin."""
    paths = {}
    for route, pattern in _plugin_routes():
        if not route.startswith("api/") or "format" in route:
            continue
        model = (pattern.name or "").partition("-")[0]
        path = f"/{route}"
        if "(?P<pk>" in path:
            path = path.replace("(?P<pk>[^/.]+)", str(world[model].pk))
        path = path.replace("^", "").replace("$", "")
        assert "(" not in path, route
        paths[pattern.name or route, path] = pattern.callback
    return paths


def core_paths(world):
    """Return the paths of NetBox's pages with the plugin's contents, and of those that show the plugin's objects."""
    names = ("site", "region", "group", "location", "tenant", "vrf", "vlan_group", "vlan", "prefix", "cluster")
    return [
        "/",
        "/search/?q=EPG",
        "/core/changelog/",
        "/core/jobs/",
        *(f"{world[name].get_absolute_url()}{path}" for name in ("import_job", "failed_job") for path in ("", "log/")),
        *(world[name].get_absolute_url() for name in names),
        *(world[name].get_absolute_url() for name in ("quarantined", "disabled", "drifted", "released")),
    ]


if __name__ == "__main__":
    django.setup()
    world = build_world()
    ids = {name: instance.pk for name, instance in world.items()}
    print(json.dumps({"pages": page_paths(world), "core": core_paths(world), "ids": ids}))
