"""NetBox's own forms offer the plugin's event types, object types and permission actions."""

import pytest
from django.urls import reverse

from core.models import ObjectType
from extras.models import EventRule, Webhook
from netbox.registry import registry
from netbox_vlan_manager.models import Allocation, SegmentPool
from tests.factories import make_user

pytestmark = pytest.mark.django_db

EVENT_TYPES = {name for name in registry["event_types"] if name.startswith("vlan_manager_")}
# Forms whose object types depend on a feature that the plugin's models have.
OBJECT_TYPE_FORMS = (
    "extras:eventrule_add",
    "extras:customfield_add",
    "extras:customlink_add",
    "extras:exporttemplate_add",
    "extras:savedfilter_add",
    "extras:tag_add",
    "users:objectpermission_add",
)


@pytest.fixture
def web(client):
    client.force_login(make_user("root", is_superuser=True))
    return client


@pytest.fixture
def webhook():
    return Webhook.objects.create(name="Fabric", payload_url="http://localhost/")


@pytest.fixture
def rule(webhook):
    rule = EventRule.objects.create(name="Told", event_types=["vlan_manager_expired"], action_object=webhook)
    rule.object_types.set([ObjectType.objects.get_for_model(Allocation)])
    return rule


def offered(response, name="event_types"):
    """Return the values of a field's choices; NetBox's import page has the form's fields outside a form."""
    fields = response.context.get("fields") or response.context["form"].fields
    return [str(value) for value, _text in fields[name].choices]


def test_the_forms_of_event_rules_offer_every_event_type(web, rule):
    assert len(EVENT_TYPES) == 7
    pages = [
        web.get(reverse("extras:eventrule_add")),
        web.get(reverse("extras:eventrule_edit", args=[rule.pk])),
        web.get(reverse("extras:eventrule_bulk_import")),
        web.post(reverse("extras:eventrule_bulk_edit"), {"pk": [rule.pk]}),
    ]
    for page in pages:
        assert page.status_code == 200
        assert sorted(offered(page)) == sorted(registry["event_types"])


def post_rule(web, url, webhook, event_types):
    return web.post(
        url,
        {
            "name": "Told",
            "object_types": [ObjectType.objects.get_for_model(SegmentPool).pk],
            "enabled": "on",
            "event_types": event_types,
            "action_type": "webhook",
            "action_choice": webhook.pk,
        },
    )


def test_make_and_edit_a_rule(web, webhook):
    response = post_rule(web, reverse("extras:eventrule_add"), webhook, sorted(EVENT_TYPES))
    assert response.status_code == 302
    rule = EventRule.objects.get()
    assert set(rule.event_types) == EVENT_TYPES

    response = post_rule(web, reverse("extras:eventrule_edit", args=[rule.pk]), webhook, ["vlan_manager_exhausted"])
    assert response.status_code == 302
    rule.refresh_from_db()
    assert rule.event_types == ["vlan_manager_exhausted"]


def test_edit_several_rules(web, rule):
    values = {"pk": [rule.pk], "event_types": ["vlan_manager_allocated"], "_apply": "1"}
    assert web.post(reverse("extras:eventrule_bulk_edit"), values).status_code == 302
    rule.refresh_from_db()
    assert rule.event_types == ["vlan_manager_allocated"]


def test_import_a_rule(web, webhook):
    data = (
        "name,object_types,event_types,action_type,action_object\n"
        'Imported,netbox_vlan_manager.allocation,"vlan_manager_allocated,vlan_manager_released",webhook,Fabric'
    )
    values = {"import_method": "direct", "format": "csv", "csv_delimiter": "auto", "data": data}
    assert web.post(reverse("extras:eventrule_bulk_import"), values).status_code == 302
    assert EventRule.objects.get().event_types == ["vlan_manager_allocated", "vlan_manager_released"]


@pytest.mark.parametrize("url", OBJECT_TYPE_FORMS)
def test_forms_offer_the_models_as_object_types(web, url):
    types = {str(ObjectType.objects.get_for_model(model).pk) for model in (SegmentPool, Allocation)}
    assert types.issubset(offered(web.get(reverse(url)), "object_types"))


def test_the_form_of_permissions_offers_the_actions(web):
    form = web.get(reverse("users:objectpermission_add")).context["form"]
    assert {"action_allocate", "action_release"} <= set(form.fields)
