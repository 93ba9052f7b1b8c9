"""Makes objects for the browser through REST, as the superuser."""

import requests
from django.utils.text import slugify

__all__ = ("call", "find_segments", "make_pool")


def call(live, method, path, **kwargs):
    """
    Call the API of a LiveNetBox.

    Args:
        live: The LiveNetBox.
        method: An HTTP method, such as "GET".
        path: The path below /api/.
        kwargs: For requests.request(), such as json.

    Returns:
        The answer's JSON.
    """
    headers = {"Authorization": f"Bearer {live.token}"}
    response = requests.request(method, f"{live.url}/api/{path}", headers=headers, timeout=60, **kwargs)
    assert response.ok, response.text
    return response.json()


def find_segments(live, pool):
    """
    Return up to 1,000 segments of a pool, as the API shows them, by VLAN ID.

    Args:
        live: The LiveNetBox.
        pool: The pool's id.
    """
    found = call(live, "GET", "plugins/vlan-manager/segments/", params={"pool_id": pool, "limit": 0})["results"]
    return {segment["vid"]: segment for segment in found}


def make_pool(live, name, vids=()):
    """
    Make a pool that serves the site "<name> site" in the VRF "<name> network", and segments in it.

    Args:
        live: The LiveNetBox.
        name: The pool's name.
        vids: The VLAN IDs of its segments. The first has the prefix 10.70.0.0/24, and the EPG name "EPG_<VLAN ID>".

    Returns:
        The pool's id.
    """

    def make(path, **values):
        return call(live, "POST", f"{path}/", json=values)["id"]

    slug = slugify(name)
    vrf = make("ipam/vrfs", name=f"{name} network")
    pool = make(
        "plugins/vlan-manager/pools",
        name=name,
        slug=slug,
        vrf=vrf,
        scope_type="dcim.site",
        scope_id=make("dcim/sites", name=f"{name} site", slug=slug),
        vlan_group=make("ipam/vlan-groups", name=name, slug=slug, vid_ranges=[[1, 4094]]),
        prefixes=[make("ipam/prefixes", prefix="10.0.0.0/8", vrf=vrf, status="container")],
    )
    rows = [
        {
            "site": f"{name} site",
            "vrf": f"{name} network",
            "vlan_id": vid,
            "epg_name": f"EPG_{vid}",
            "segment": f"10.70.{number}.0/24",
        }
        for number, vid in enumerate(vids)
    ]
    if rows:
        call(live, "POST", "plugins/vlan-manager/segments/import/", json=rows)
    return pool
