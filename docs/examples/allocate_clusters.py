#!/usr/bin/env python3
"""
Give every cluster file of a GitOps repository its network, or give back those of files that are gone.

    allocate_clusters.py --out networks.json clusters
    allocate_clusters.py --release --keep clusters removed

A cluster file is YAML with `name`, `site` and `vrf`, each on a line of its own; other keys are left alone. Asking again
is harmless: a cluster gets the network that it has. So all files may be given every time.

NETBOX_URL and NETBOX_TOKEN say which NetBox. Nothing beside Python 3.9 or newer is needed.

Exit status: 0 done; 1 refused, and asking again will not help; 75 NetBox was busy or away until the deadline.
"""

import argparse
import json
import os
import re
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

REFUSED, TRY_LATER = 1, 75
# What may be asked again: too many calls, busy, or something between here and NetBox that is restarting.
TEMPORARY = (429, 502, 503, 504)
KEYS = ("name", "site", "vrf")
LINE = re.compile(r"""(name|site|vrf):[ \t]+(?:"([^"]*)"|'([^']*)'|([^"'#\s][^#]*?))[ \t]*(?:#.*)?""")


class Refused(Exception):
    """NetBox said no, or a file is not what it should be."""


class TryLater(Exception):
    """NetBox did not answer in time."""


def find_files(paths):
    """Yield the files that the paths name, and the YAML files in the folders that they name."""
    for path in map(Path, paths):
        if path.is_dir():
            yield from sorted([*path.glob("*.yaml"), *path.glob("*.yml")])
        else:
            yield path


def read_cluster(path):
    """Return {"name", "site", "vrf"} of a cluster file."""
    cluster = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if match := LINE.fullmatch(line.rstrip()):
            cluster[match[1]] = next(value for value in match.groups()[1:] if value is not None)
    if missing := [key for key in KEYS if not cluster.get(key)]:
        raise Refused(f"no {', '.join(missing)} in the file")
    return cluster


def identify(cluster):
    # As NetBox compares them.
    return tuple(cluster[key].casefold() for key in KEYS)


def call(path, cluster, deadline):
    """
    Make a call of the plugin, again and again while NetBox is busy.

    Args:
        path: allocate-vlan or release-vlan.
        cluster: {"name", "site", "vrf"}.
        deadline: When to give up, in seconds of time.monotonic().

    Returns:
        The status and the answer, a dict.
    """
    url = f"{os.environ['NETBOX_URL'].rstrip('/')}/api/plugins/vlan-manager/{path}/"
    body = {"cluster_name": cluster["name"], "site": cluster["site"], "vrf": cluster["vrf"]}
    headers = {"Authorization": f"Bearer {os.environ['NETBOX_TOKEN']}", "Content-Type": "application/json"}
    pause = 1
    while True:
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code not in TEMPORARY:
                return error.code, read_error(error)
            problem = f"NetBox answers {error.code} ({read_error(error).get('code', 'no code')})"
            asked = error.headers.get("Retry-After", "")
            wait = int(asked) if asked.isdigit() else pause
        except (OSError, ValueError) as error:
            problem, wait = f"NetBox does not answer: {error}", pause
        if time.monotonic() + wait > deadline:
            raise TryLater(problem)
        print(f"{cluster['name']}: {problem}; again in {wait} s", file=sys.stderr)
        time.sleep(wait)
        pause = min(2 * pause, 30)


def read_error(error):
    """Return the body of an error, also where it is a proxy's page."""
    try:
        body = json.load(error)
    except (OSError, ValueError):
        body = None
    return body if isinstance(body, dict) else {}


def allocate(cluster, deadline):
    """Return what NetBox says of the cluster's network."""
    status, answer = call("allocate-vlan", cluster, deadline)
    if status != 200:
        raise Refused(explain(status, answer))
    return answer


def release(cluster, deadline):
    """Return what was done. A cluster that holds nothing is what was wanted."""
    status, answer = call("release-vlan", cluster, deadline)
    if status == 404 and answer.get("code") == "allocation_not_found":
        return "holds nothing"
    if status != 200:
        raise Refused(explain(status, answer))
    return answer["message"]


def explain(status, answer):
    """Return in words why NetBox refused, for the pipeline's log."""
    if answer.get("code") == "pool_exhausted":
        return f"no network is left (pool_exhausted): {answer['detail']}"
    known = ", ".join(f"{pool['site']}/{pool['vrf']}" for pool in answer.get("combinations", ()))
    detail = answer.get("detail", "no explanation")
    return f"{detail} ({answer.get('code', status)})" + (f" There are: {known}" if known else "")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("paths", nargs="+", help="cluster files, or folders of them")
    parser.add_argument("--release", action="store_true", help="give the networks back")
    parser.add_argument("--keep", nargs=1, default=(), help="with --release: not those of the clusters in this folder")
    parser.add_argument("--out", type=Path, help="a JSON file for the networks, by the names of the cluster files")
    parser.add_argument("--wait", type=float, default=300, help="seconds to go on asking a busy NetBox (300)")
    options = parser.parse_args()

    if missing := [name for name in ("NETBOX_URL", "NETBOX_TOKEN") if not os.environ.get(name)]:
        parser.error(f"{' and '.join(missing)} must be set in the environment")

    deadline = time.monotonic() + options.wait
    try:
        kept = {identify(read_cluster(path)) for path in find_files(options.keep)}
    except (Refused, OSError, UnicodeDecodeError) as error:
        # To take an unreadable file for one that is gone would take away a network in use.
        print(f"ERROR {options.keep[0]}: {error}; nothing was released", file=sys.stderr)
        return REFUSED
    networks, status = {}, 0
    for path in find_files(options.paths):
        try:
            cluster = read_cluster(path)
            if not options.release:
                network = networks[path.stem] = allocate(cluster, deadline)
                verb = "got" if network["created"] else "has"
                print(f"{path}: {verb} VLAN {network['vlan_id']}, {network['segment']}, EPG {network['epg_name']}")
            elif identify(cluster) in kept:
                print(f"{path}: kept, another file has the same cluster")
            else:
                print(f"{path}: {release(cluster, deadline)}")
        except (Refused, OSError, UnicodeDecodeError) as error:
            print(f"ERROR {path}: {error}", file=sys.stderr)
            status = REFUSED
        except TryLater as error:
            print(f"ERROR {path}: {error}; run this job again later", file=sys.stderr)
            status = status or TRY_LATER
    if options.out:
        options.out.write_text(json.dumps(networks, indent=2) + "\n", encoding="utf-8")
    return status


if __name__ == "__main__":
    sys.exit(main())
