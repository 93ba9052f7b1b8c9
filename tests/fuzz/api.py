"""
Calls every operation of the plugin's OpenAPI schema with values that the schema allows and values that it forbids:
python -m tests.fuzz.api.

Requests go through NetBox's WSGI application in this process, in a database with one of everything. Each is rolled back
after PostgreSQL's deferred checks, so every case finds the same objects and can be tried alone.
"""

import argparse
import logging
import sys
import time
import traceback
import zlib
from collections import Counter
from contextlib import suppress

import django

django.setup()

import schemathesis  # noqa: E402
from django.core.signals import got_request_exception, request_finished, request_started  # noqa: E402
from django.db import connection, transaction  # noqa: E402
from hypothesis import HealthCheck, Phase, assume, given, seed, settings  # noqa: E402
from hypothesis.errors import Unsatisfiable  # noqa: E402
from schemathesis import GenerationMode  # noqa: E402
from schemathesis.checks import not_a_server_error  # noqa: E402
from schemathesis.core.failures import Failure, FailureGroup  # noqa: E402
from schemathesis.specs.openapi.checks import (  # noqa: E402
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from dcim.models import Location, Region, Site, SiteGroup  # noqa: E402
from ipam.models import VLAN, VRF, Prefix, VLANGroup  # noqa: E402
from netbox.wsgi import application  # noqa: E402
from netbox_vlan_manager.models import Allocation, Segment, SegmentPool  # noqa: E402
from tests.factories import make_user, permit  # noqa: E402
from tests.openapi import ROOT, openapi_schema  # noqa: E402
from tests.stack.accounts import create_superuser  # noqa: E402
from tests.upgrade.filling import fill  # noqa: E402
from users.models import Token  # noqa: E402

TOKENS = {"superuser": f"nbt_{'a' * 12}.{'b' * 40}", "limited": f"nbt_{'c' * 12}.{'d' * 40}"}
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]
# Of this many drawn values, one stays as it is; ids and names of existing objects replace the others.
UNTOUCHED = 4
# The distance between the seeds of two rounds.
SEEDS = 1_000_000


class Fuzzer:
    """
    Attributes:
        counts: The number of answers of each status.
        findings: The errors, each once; each is printed when it is found.
    """

    def __init__(self, account):
        self.counts = Counter()
        self.findings = set()
        self.headers = {"Authorization": f"Bearer {TOKENS[account]}"}
        self.known = known_values()
        self.schema = schemathesis.openapi.from_dict(openapi_schema())
        self.schema.app = application
        for container in ("path_parameters", "query", "body"):
            # A hook has to be a function, not a method.
            self.schema.hook(f"map_{container}")(lambda context, value: self.put_known(context, value))
        self.raised = []
        got_request_exception.connect(self.note_exception, weak=False)

    def note_exception(self, **kwargs):
        self.raised.append(traceback.format_exc())

    def put_known(self, context, value):
        """Return `value` with ids and names of existing objects in the fields that take them."""
        if isinstance(value, list):
            return [self.put_known(context, item) for item in value]
        if not isinstance(value, dict):
            return value
        put = {}
        for name, drawn in value.items():
            number = zlib.crc32(repr((name, drawn)).encode())
            known = self.known.get(name)
            if name == "id" and context.operation is not None:
                known = self.known.get(context.operation.path.removeprefix(ROOT).split("/")[0])
            if known and number % UNTOUCHED:
                put[name] = known[number // UNTOUCHED % len(known)]
            else:
                put[name] = self.put_known(context, drawn)
        return put

    def run(self, cases, number):
        """
        Try at least that many cases, spread over the operations.

        Args:
            cases: How many.
            number: The seed. The same seed tries the same cases.
        """
        operations = [result.ok() for result in self.schema.get_all_operations()]
        # Some operations have fewer cases than their share: another round, with another seed, draws the rest.
        while (left := cases - self.counts.total()) > 0:
            share = -(-left // (2 * len(operations)))
            for operation in operations:
                for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                    self.try_operation(operation, mode, share, number)
            number += SEEDS

    def try_operation(self, operation, mode, examples, number):
        @seed(number)
        @settings(
            max_examples=examples,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def try_case(case):
            self.try_case(case)

        # An operation without values to get wrong has no negative cases.
        with suppress(Unsatisfiable):
            try_case()

    def try_case(self, case):
        # A path with these characters has no route, and NetBox's page "not found" answers.
        assume(not set("./?#") & set(str(case.path_parameters.get("id", ""))))
        checks = [check for check in CHECKS if not (check is response_schema_conformance and leaves_out(case))]
        self.raised.clear()
        with transaction.atomic():
            response = case.call(headers=self.headers)
            self.counts[response.status_code] += 1
            try:
                case.validate_response(response, checks=checks)
                if response.status_code < 400:
                    connection.check_constraints()
            except (FailureGroup, Failure, django.db.Error) as e:
                self.note(case, response, e)
            transaction.set_rollback(True)

    def note(self, case, response, error):
        for failure in getattr(error, "exceptions", [error]):
            message = getattr(failure, "message", str(failure))
            finding = (case.operation.label, type(failure).__name__, message.split("\n")[0], response.status_code)
            if finding in self.findings:
                continue
            self.findings.add(finding)
            print("\n" + " | ".join(map(str, finding)))
            print(f"{case.method} {case.formatted_path} query={case.query!r}"[:1500])
            print(f"body={case.body!r}"[:1500])
            print(
                message[:1500], response.text[:800], *[raised[-1800:] for raised in self.raised], sep="\n", flush=True
            )


def leaves_out(case):
    """Return whether the answer may lack fields: NetBox's schemas ignore ?fields, ?omit and ?brief."""
    return any(name in (case.query or {}) for name in ("fields", "omit", "brief"))


def known_values():
    """Return the ids and names of existing objects: {name of a field, parameter or collection: values}."""

    def ids(model, **conditions):
        return list(model.objects.filter(**conditions).order_by("pk").values_list("pk", flat=True))

    prefixes = [str(prefix) for prefix in Prefix.objects.order_by("pk").values_list("prefix", flat=True)]
    return {
        "pools": ids(SegmentPool),
        "segments": ids(Segment),
        "allocations": ids(Allocation),
        "pool": ids(SegmentPool),
        "into": ids(SegmentPool),
        "segment": [*ids(Segment), *prefixes],
        "vlan": ids(VLAN),
        "vlan_group": ids(VLANGroup),
        "vrf": [*ids(VRF), "Network1", "network2"],
        "site": [*ids(Site), "Site1", "SITE1", "Hall A"],
        "prefix": [*ids(Prefix), *prefixes, "10.0.200.0/24"],
        "ipv6_prefix": ["2001:db8::/64", "2001:db8:0:77::/64", None],
        "prefixes": [ids(Prefix)[:1], ["10.9.0.0/16"], prefixes[:1]],
        "scope_type": ["dcim.site", "dcim.location", "dcim.region", "dcim.sitegroup"],
        "scope_id": [*ids(Site), *ids(Location), *ids(Region), *ids(SiteGroup)],
        "cluster_name": ["prod-01", "PROD-03", "old-01", "new-01", "edge-01", "edge-02"],
        "cluster_names": ["prod-01", "prod-02,new-01", "", ["prod-01", "new-01"], []],
        "purpose": ["", "storage"],
        "vid": [100, 106, 150, 203, 4094],
        "vlan_id": [100, 106, 150, 203],
        "epg_name": ["EPG_new", "EPG_100"],
        "expires_at": ["2030-01-01T00:00:00Z", "2000-01-01T00:00:00Z", None],
        "tags": [[], [{"name": "Gold"}], [{"slug": "gold"}]],
        "custom_fields": [{}, {"ticket": "NET-1"}, {"ticket": None}, {"unknown": 1}],
        "owner": [None],
        "dry_run": [True, False],
        "ordering": ["vid", "-pool", "name", "status", "-allocated_at"],
        "format": ["csv", "json", "xlsx"],
    }


def make_accounts():
    create_superuser("fuzz", "fuzz", TOKENS["superuser"])
    user = make_user("limited")
    key, secret = TOKENS["limited"].removeprefix("nbt_").split(".")
    Token.objects.create(user=user, key=key, token=secret)
    pool = SegmentPool.objects.order_by("pk").first()
    permit(user, SegmentPool, "view", "allocate", constraints={"pk": pool.pk})
    permit(user, Segment, "view", constraints={"pool": pool.pk})
    permit(user, Allocation, "view", "change", constraints={"pool": pool.pk})


def main():
    """
    Run the fuzzer, and print the number of cases and the findings.

    Returns:
        1 if an answer was wrong, else 0.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.api")
    parser.add_argument("--cases", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    # The transaction around a case must survive its request.
    request_started.disconnect(django.db.close_old_connections)
    request_finished.disconnect(django.db.close_old_connections)
    if not SegmentPool.objects.exists():
        fill()
        make_accounts()
    findings = set()
    for account, share in (("superuser", 0.85), ("limited", 0.15)):
        started = time.monotonic()
        fuzzer = Fuzzer(account)
        fuzzer.run(round(options.cases * share), options.seed)
        findings |= fuzzer.findings
        answers = ", ".join(f"{count} {status}" for status, count in sorted(fuzzer.counts.items()))
        seconds = time.monotonic() - started
        print(f"{account}: {fuzzer.counts.total()} cases in {seconds:.0f} s: {answers}", flush=True)
    print(f"{len(findings)} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
