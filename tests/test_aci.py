"""Without netbox-aci-plugin, the plugin makes no queries for it. tests/integrations has the tests with it."""

import pytest

from netbox_vlan_manager.aci import epg_urls
from tests.factories import make_pool, make_user


@pytest.mark.django_db
def test_epg_names_lead_nowhere_and_cost_nothing(client, django_assert_num_queries):
    user = make_user("root", is_superuser=True)
    pool = make_pool(segments=1)
    with django_assert_num_queries(0):
        assert epg_urls(["EPG_100"], user) == {}
    client.force_login(user)
    html = client.get(pool.segments.get().get_absolute_url()).text
    assert '<span id="attr_epg_name">EPG_100</span>' in html
