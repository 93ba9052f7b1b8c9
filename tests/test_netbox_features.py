"""NetBox's features for objects work on the plugin's too: custom fields, links, filters, contacts and so on."""

import csv
import io

import pytest
from django.urls import reverse

from core.models import ObjectType
from extras.models import (
    Bookmark,
    CustomField,
    CustomLink,
    ExportTemplate,
    JournalEntry,
    Notification,
    SavedFilter,
    Subscription,
    TableConfig,
    Tag,
)
from netbox_vlan_manager.models import Allocation, PoolSnapshot, Segment, SegmentPool
from netbox_vlan_manager.services import allocate, update_pool, update_segment
from netbox_vlan_manager.services.reporting.snapshots import take_snapshots
from netbox_vlan_manager.tables import AllocationTable, SegmentPoolTable, SegmentTable
from tenancy.models import Contact, ContactAssignment, ContactGroup, ContactRole
from tests.factories import make_pool, make_user, permit
from users.models import ObjectPermission
from utilities.forms.fields import GenericObjectChoiceField

pytestmark = pytest.mark.django_db

MODELS = (SegmentPool, Segment, Allocation)
TABLES = {SegmentPool: SegmentPoolTable, Segment: SegmentTable, Allocation: AllocationTable}
# NetBox's features for sites, VLANs and prefixes, except images, which are for physical objects.
FEATURES = {
    "bookmarks",
    "change_logging",
    "contacts",
    "custom_fields",
    "custom_links",
    "custom_validation",
    "event_rules",
    "export_templates",
    "journaling",
    "notifications",
    "tags",
}


@pytest.fixture
def admin():
    return make_user("root", is_superuser=True)


@pytest.fixture
def objects(admin):
    """Two objects of each model; the tests add features to the first."""
    pools = [make_pool(segments=2), make_pool("Network2", container="10.2.0.0/16")]
    allocations = [allocate(name, pool=pools[0], user=admin).allocation for name in ("prod-01", "prod-02")]
    return {SegmentPool: pools, Segment: list(pools[0].segments.all()), Allocation: allocations}


@pytest.fixture(params=MODELS, ids=lambda model: model._meta.model_name)
def model(request):
    return request.param


@pytest.fixture
def pair(model, objects):
    return objects[model]


@pytest.fixture
def object_type(model):
    return ObjectType.objects.get_for_model(model)


@pytest.fixture
def web(client, admin):
    client.force_login(admin)
    return client


def page_of(model, name="list", **kwargs):
    return reverse(f"plugins:netbox_vlan_manager:{model._meta.model_name}_{name}", kwargs=kwargs)


def api_of(model, **kwargs):
    name = f"plugins-api:netbox_vlan_manager-api:{model._meta.model_name}-{'detail' if kwargs else 'list'}"
    return reverse(name, kwargs=kwargs)


def listed(web, model, **params):
    """Return the ids of the objects on the list's page."""
    response = web.get(page_of(model), params)
    assert response.status_code == 200
    return {row.record.pk for row in response.context["table"].rows}


def rest_listed(web, model, **params):
    response = web.get(api_of(model), params)
    assert response.status_code == 200, response.json()
    return {row["id"] for row in response.json()["results"]}


def ask(web, model, fields, filters=""):
    """Return GraphQL's answer about the model's objects."""
    name = {SegmentPool: "segment_pool", Segment: "segment", Allocation: "allocation"}[model]
    query = f"{{{name}_list{f'(filters: {filters})' if filters else ''} {{id {fields}}}}}"
    answer = web.post(reverse("graphql"), {"query": query}, content_type="application/json").json()
    assert "errors" not in answer, answer
    return answer["data"][f"{name}_list"]


def form_of(web, instance):
    """Return the values that a browser sends for an object's unchanged form."""
    form = web.get(page_of(type(instance), "edit", pk=instance.pk)).context["form"]
    data = {}
    for bound in form:
        value = bound.value()
        if isinstance(bound.field, GenericObjectChoiceField):
            object_type = ObjectType.objects.get_for_model(value)
            data |= {f"{bound.html_name}_content_type": object_type.pk, f"{bound.html_name}_object_id": value.pk}
            continue
        if hasattr(value, "all"):
            value = [one.pk for one in value.all()]
        if value is not None and value is not False:
            data[bound.html_name] = [getattr(one, "pk", one) for one in value] if isinstance(value, list) else value
    return data


def save_form(web, instance, **changes):
    data = form_of(web, instance) | changes
    response = web.post(page_of(type(instance), "edit", pk=instance.pk), data)
    assert response.status_code == 302, response.context["form"].errors
    instance.refresh_from_db()


def test_features(object_type):
    assert set(object_type.features) >= FEATURES
    assert object_type.public


def test_custom_fields(web, model, pair, object_type):
    field = CustomField.objects.create(name="team", label="Team", type="text", filter_logic="exact")
    field.object_types.add(object_type)
    first, second = pair

    save_form(web, first, cf_team="Platform")
    assert first.cf == {"team": "Platform"}
    assert "Platform" in web.get(first.get_absolute_url()).text
    answer = web.patch(
        api_of(model, pk=second.pk), {"custom_fields": {"team": "Storage"}}, content_type="application/json"
    )
    assert answer.json()["custom_fields"] == {"team": "Storage"}

    assert listed(web, model, cf_team="Platform") == rest_listed(web, model, cf_team="Platform") == {first.pk}
    (row,) = ask(web, model, "custom_fields", f"{{id: {{exact: {first.pk}}}}}")
    assert row["custom_fields"] == {"team": "Platform"}

    config = TableConfig.objects.create(
        object_type=object_type, table=TABLES[model].__name__, name="Teams", columns=["cf_team"], ordering=["pk"]
    )
    response = web.get(page_of(model), {"export": "table", "tableconfig_id": config.pk})
    rows = list(csv.DictReader(io.StringIO(response.getvalue().decode("utf-8-sig"))))
    assert sorted(row["Team"] for row in rows) == ["Platform", "Storage"]


def test_default_values_of_custom_fields(admin, model, object_type):
    """Objects that services make have them too."""
    field = CustomField.objects.create(name="tier", type="text", default="gold")
    field.object_types.add(object_type)
    pool = make_pool(segments=1)
    made = {SegmentPool: pool, Segment: pool.segments.get()}
    made[Allocation] = allocate("prod-01", pool=pool, user=admin).allocation
    assert model.objects.get(pk=made[model].pk).cf == {"tier": "gold"}


def test_custom_fields_in_a_bulk_edit(web, model, pair, object_type):
    field = CustomField.objects.create(name="team", type="text")
    field.object_types.add(object_type)
    data = {"pk": [one.pk for one in pair], "cf_team": "Platform", "_apply": "true"}
    assert web.post(page_of(model, "bulk_edit"), data).status_code == 302
    assert [one.cf["team"] for one in model.objects.filter(pk__in=data["pk"])] == ["Platform", "Platform"]


def test_custom_links(web, pair, object_type):
    link = CustomLink.objects.create(
        name="Runbook", link_text="Runbook of {{ object.pk }}", link_url="https://example.com/{{ object.pk }}"
    )
    link.object_types.add(object_type)
    html = web.get(pair[0].get_absolute_url()).text
    assert f"Runbook of {pair[0].pk}" in html
    assert f"https://example.com/{pair[0].pk}" in html


def test_export_templates(web, model, pair, object_type):
    template = ExportTemplate.objects.create(
        name="ids", template_code="{% for one in queryset|sort(attribute='pk') %}{{ one.pk }};{% endfor %}"
    )
    template.object_types.add(object_type)
    expected = "".join(f"{one.pk};" for one in sorted(pair, key=lambda one: one.pk))
    assert "export=ids" in web.get(page_of(model)).text
    for url in (page_of(model), api_of(model)):
        assert web.get(url, {"export": "ids"}).text == expected


def test_saved_filters(web, model, pair, object_type):
    saved = SavedFilter.objects.create(name="Mine", slug="mine", parameters={"id": [str(pair[0].pk)]})
    saved.object_types.add(object_type)
    assert len(listed(web, model)) == 2
    assert listed(web, model, filter_id=saved.pk) == {pair[0].pk}
    assert rest_listed(web, model, filter="mine") == rest_listed(web, model, filter_id=saved.pk) == {pair[0].pk}


def test_table_configs(web, model, pair, object_type):
    config = TableConfig.objects.create(
        object_type=object_type, table=TABLES[model].__name__, name="Short", columns=["id", "tags"], ordering=["-id"]
    )
    table = web.get(page_of(model), {"tableconfig_id": config.pk}).context["table"]
    # The list adds its first and last column itself.
    assert [name for name, _label in table.selected_columns if name not in ("pk", "actions")] == ["id", "tags"]
    assert [row.record.pk for row in table.rows] == sorted((one.pk for one in pair), reverse=True)


def test_tags(web, model, pair):
    tag = Tag.objects.create(name="Kubernetes", slug="k8s")
    first, second = pair
    save_form(web, first, tags=[tag.pk])
    assert "Kubernetes" in web.get(first.get_absolute_url()).text
    assert listed(web, model, tag="k8s") == rest_listed(web, model, tag="k8s") == {first.pk}
    answer = web.patch(api_of(model, pk=second.pk), {"tags": [{"slug": "k8s"}]}, content_type="application/json")
    assert [one["slug"] for one in answer.json()["tags"]] == ["k8s"]
    tagged = ask(web, model, "tags {slug}", '{tags: {slug: {exact: "k8s"}}}')
    assert {int(row["id"]) for row in tagged} == {first.pk, second.pk}
    data = {"pk": [first.pk], "remove_tags": [tag.pk], "_apply": "true"}
    web.post(page_of(model, "bulk_edit"), data)
    assert listed(web, model, tag="k8s") == {second.pk}


def test_journal(web, model, pair, object_type):
    instance = pair[0]
    entry = {
        "assigned_object_type": f"netbox_vlan_manager.{model._meta.model_name}",
        "assigned_object_id": instance.pk,
        "comments": "Moved to the new fabric",
    }
    answer = web.post(reverse("extras-api:journalentry-list"), entry, content_type="application/json")
    assert answer.status_code == 201
    tab = web.get(page_of(model, "journal", pk=instance.pk))
    assert "Moved to the new fabric" in tab.text
    form = {"assigned_object_type": object_type.pk, "assigned_object_id": instance.pk, "kind": "info", "comments": "x"}
    assert web.post(reverse("extras:journalentry_add"), form).status_code == 302
    assert instance.journal_entries.count() == JournalEntry.objects.count() == 2
    (row,) = ask(web, model, "journal_entries {comments}", f"{{id: {{exact: {instance.pk}}}}}")
    assert len(row["journal_entries"]) == 2


def test_contacts(web, model, pair, object_type):
    group = ContactGroup.objects.create(name="Operations", slug="ops")
    contact = Contact.objects.create(name="Alice Example")
    contact.groups.add(group)
    role = ContactRole.objects.create(name="Owner", slug="owner")
    instance = pair[0]
    assignment = {
        "object_type": f"netbox_vlan_manager.{model._meta.model_name}",
        "object_id": instance.pk,
        "contact": contact.pk,
        "role": role.pk,
    }
    answer = web.post(reverse("tenancy-api:contactassignment-list"), assignment, content_type="application/json")
    assert answer.status_code == 201, answer.json()
    assert instance.contacts.get().contact == contact

    # The tab, and the link to it.
    tab = page_of(model, "contacts", pk=instance.pk)
    assert tab in web.get(instance.get_absolute_url()).text
    html = web.get(tab).text
    assert "Alice Example" in html
    # Allocations have no delete page.
    assert 'hx-get="None"' not in html
    for params in ({"contact": contact.pk}, {"contact_role": role.pk}, {"contact_group": group.pk}):
        assert listed(web, model, **params) == rest_listed(web, model, **params) == {instance.pk}
    assert {"contact", "contact_role", "contact_group"} <= set(web.get(page_of(model)).context["filter_form"].fields)
    config = TableConfig.objects.create(
        object_type=object_type, table=TABLES[model].__name__, name="Contacts", columns=["contacts"], ordering=["pk"]
    )
    assert "Alice Example" in web.get(page_of(model), {"tableconfig_id": config.pk}).text
    named = '{contacts: {contact: {name: {exact: "Alice Example"}}}}'
    (row,) = ask(web, model, "contacts {contact {name}}", named)
    assert row == {"id": str(instance.pk), "contacts": [{"contact": {"name": "Alice Example"}}]}
    # NetBox's list of contact assignments shows the object.
    assert str(instance) in web.get(reverse("tenancy:contactassignment_list")).text


@pytest.mark.parametrize("column", ["contacts", "tags"])
def test_columns_cost_the_same_for_many_objects(
    web, admin, model, pair, object_type, column, django_assert_max_num_queries
):
    role = ContactRole.objects.create(name="Owner", slug="owner")
    config = TableConfig.objects.create(
        object_type=object_type, table=TABLES[model].__name__, name="Columns", columns=[column], ordering=["pk"]
    )

    def fill(instance):
        contact = Contact.objects.create(name=f"Contact {instance.pk}")
        ContactAssignment.objects.create(object=instance, contact=contact, role=role)
        instance.tags.add(f"tag-{instance.pk}")

    def count():
        with django_assert_max_num_queries(200) as captured:
            web.get(page_of(model), {"tableconfig_id": config.pk})
        return len(captured)

    fill(pair[0])
    count()
    one = count()
    fill(pair[1])
    assert count() <= one


def test_bookmarks(web, admin, pair, object_type):
    form = {"object_type": object_type.pk, "object_id": pair[0].pk}
    assert web.post(reverse("extras:bookmark_add"), form).status_code == 302
    assert Bookmark.objects.get().object == pair[0]
    assert pair[0].get_absolute_url() in web.get(reverse("account:bookmarks")).text


def test_subscribers_hear_of_what_services_do(web, admin, model, pair, object_type):
    form = {"object_type": object_type.pk, "object_id": pair[0].pk}
    assert web.post(reverse("extras:subscription_add"), form).status_code == 302
    assert Subscription.objects.get().user == admin
    if model is SegmentPool:
        update_pool(pair[0], user=admin, description="changed")
    elif model is Segment:
        update_segment(pair[0], user=admin, description="changed")
    else:
        web.post(page_of(model, "release", pk=pair[0].pk), {"confirm": "true"})
    assert Notification.objects.get().object == pair[0]
    assert web.get(reverse("account:notifications")).status_code == 200


class TestObjectTypes:
    def test_the_auditor_is_made_in_the_pages(self, client):
        """Permissions can be given for snapshots, which GraphQL shows, but not for internal models."""
        client.force_login(make_user("root", is_superuser=True))
        content = client.get("/users/permissions/add/").content.decode()
        assert "Pool Snapshot" in content
        assert "Idempotency" not in content
        models = dict(ObjectType.objects.filter(app_label="netbox_vlan_manager").values_list("model", "public"))
        assert {model for model, public in models.items() if public} == {
            "segmentpool",
            "segment",
            "allocation",
            "poolsnapshot",
        }
        snapshot = ObjectType.objects.get(app_label="netbox_vlan_manager", model="poolsnapshot")
        data = {"name": "Auditor", "enabled": "on", "object_types_1": [snapshot.pk], "can_view": "on"}
        response = client.post("/users/permissions/add/", data)
        assert response.status_code == 302, response.context["form"].errors
        assert ObjectPermission.objects.get(name="Auditor").actions == ["view"]

    def test_the_dashboard_counts_only_viewable_snapshots(self):
        seen, hidden = make_pool(), make_pool("Network2", container="10.9.0.0/16")
        take_snapshots()
        user = permit(make_user("auditor"), PoolSnapshot, "view", constraints={"pool": seen.pk})
        assert PoolSnapshot.objects.restrict(user, "view").count() == 1
        assert PoolSnapshot.objects.count() == 2
        assert hidden.snapshots.exists()
