import io
import logging

import pytest

from netbox_vlan_manager.logs import JSONFormatter
from netbox_vlan_manager.models import SegmentPool
from tests.api.base import client_of, url_of
from tests.factories import make_pool, make_user

pytestmark = pytest.mark.django_db

FORGED = "x\r\n2026-01-01 00:00:00 ERROR forged\x1b[2J\x85\u2028forged"
FORMATS = (logging.Formatter("%(levelname)s %(name)s %(message)s"), JSONFormatter())


@pytest.fixture(params=FORMATS, ids=["text", "json"])
def log(request):
    """What the plugin's loggers write."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(request.param)
    logger = logging.getLogger("netbox_vlan_manager")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield stream
    logger.removeHandler(handler)
    logger.setLevel(level)


def check(text):
    for line in text.splitlines():
        assert line.startswith(("{", "DEBUG ", "INFO ", "WARNING ", "ERROR ")), line
    assert not set(text) & set("\r\x1b\x85\u2028")


def test_calls(log, settings, monkeypatch, django_capture_on_commit_callbacks):
    monkeypatch.setitem(settings.PLUGINS_CONFIG["netbox_vlan_manager"], "slow_operation_threshold", 0.001)
    pool = make_pool(segments=2, name=FORGED[:90], description=FORGED)
    api = client_of(make_user("root", is_superuser=True))
    with django_capture_on_commit_callbacks(execute=True):
        for data in (
            {"cluster_name": FORGED, "pool": pool.pk},
            {"cluster_name": "c", "pool": pool.pk, "purpose": FORGED},
            {"cluster_name": "c", "site": FORGED, "vrf": FORGED},
            {"cluster_name": "c", "pool": pool.pk},
        ):
            headers = {"Idempotency-Key": FORGED.encode().decode("latin-1"), "User-Agent": FORGED}
            api.post(url_of("allocation-list"), data, format="json", headers=headers)
            api.post(url_of("allocation-list"), data, format="json")
    assert "allocate" in log.getvalue()
    check(log.getvalue())


def test_pool_that_cannot_be_deleted(log, monkeypatch):
    from netbox_vlan_manager.exceptions import SegmentInUse
    from netbox_vlan_manager.services import retiring

    pool = make_pool(name=FORGED[:90])
    SegmentPool.objects.filter(pk=pool.pk).update(status="retiring")

    def refuse(*args, **kwargs):
        raise SegmentInUse(FORGED)

    monkeypatch.setattr(retiring, "_delete_retiring", refuse)
    retiring.delete_drained()
    assert "cannot be deleted" in log.getvalue()
    check(log.getvalue())
