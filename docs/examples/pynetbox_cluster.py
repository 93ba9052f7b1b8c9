#!/usr/bin/env python3
"""
Allocate the network of a cluster, or release it.

    pynetbox_cluster.py allocate prod-01 --site Site1 --vrf Network1
    pynetbox_cluster.py release 19

NETBOX_URL and NETBOX_TOKEN say which NetBox.
"""

import argparse
import os
import sys
import time

import pynetbox
import requests

TRIES = 6
# pynetbox has an error of its own for 409.
REFUSALS = (pynetbox.RequestError, pynetbox.AllocationError)


def patiently(call, *args, **kwargs):
    """Make a call, and make it again while NetBox is busy or away. The plugin's calls may be made twice."""
    for attempt in range(TRIES):
        try:
            return call(*args, **kwargs)
        except (*REFUSALS, requests.ConnectionError) as error:
            response = getattr(error, "req", None)
            temporary = response is None or response.status_code in (429, 502, 503, 504)
            if not temporary or attempt == TRIES - 1:
                raise
            wait = response.headers.get("Retry-After", "") if response is not None else ""
        time.sleep(int(wait) if wait.isdigit() else 2**attempt)


def allocate(manager, cluster, site, vrf):
    """Return the cluster's allocation: the one it has, or a new one."""
    return patiently(manager.allocations.create, cluster_name=cluster, site=site, vrf=vrf)


def release(manager, allocation_id):
    """Release an allocation. One that was released already is left as it is."""
    allocation = patiently(manager.allocations.get, allocation_id)
    if allocation is None:
        sys.exit(f"There is no allocation {allocation_id}")
    patiently(allocation.delete)


def main():
    parser = argparse.ArgumentParser(description="Allocate or release the network of a cluster")
    actions = parser.add_subparsers(dest="action", required=True)
    allocating = actions.add_parser("allocate")
    allocating.add_argument("cluster")
    allocating.add_argument("--site", required=True)
    allocating.add_argument("--vrf", required=True)
    releasing = actions.add_parser("release")
    releasing.add_argument("id", type=int, help="of the allocation, as allocate prints it")
    options = parser.parse_args()

    manager = pynetbox.api(os.environ["NETBOX_URL"], token=os.environ["NETBOX_TOKEN"]).plugins.vlan_manager
    try:
        if options.action == "allocate":
            made = allocate(manager, options.cluster, options.site, options.vrf)
            print(f"{made.outcome} {made.id}: VLAN {made.vid}, {made.prefix}, EPG {made.epg_name}")
        else:
            release(manager, options.id)
            print(f"released {options.id}")
    except REFUSALS as error:
        sys.exit(f"NetBox refused: {error.req.text}")


if __name__ == "__main__":
    main()
