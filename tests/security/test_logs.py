import io
import logging
from contextlib import suppress
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command

from core.exceptions import JobFailed
from core.models import Job
from ipam.models import VLAN
from netbox_vlan_manager import jobs
from netbox_vlan_manager.exceptions import SegmentInUse
from netbox_vlan_manager.logs import JSONFormatter, as_line
from netbox_vlan_manager.models import Segment, SegmentPool
from netbox_vlan_manager.services.drift.repair import FAILED, RepairResult
from tests.api.base import client_of, url_of
from tests.factories import make_pool, make_user

pytestmark = pytest.mark.django_db

FORGED = "x\r\n2026-01-01 00:00:00 ERROR forged\x1b[2J\x85\u2028forged"
FORMATS = (logging.Formatter("%(levelname)s %(name)s %(message)s"), JSONFormatter())


@pytest.fixture(params=FORMATS, ids=["text", "json"])
def log(request):
    """The output of the plugin's loggers, including those of its jobs."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(request.param)
    loggers = [logging.getLogger(name) for name in ("netbox_vlan_manager", "netbox.jobs")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
    yield stream
    for logger, level in zip(loggers, levels, strict=True):
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
    from netbox_vlan_manager.services.pools import retiring

    pool = make_pool(name=FORGED[:90])
    SegmentPool.objects.filter(pk=pool.pk).update(status="retiring")

    def refuse(*args, **kwargs):
        raise SegmentInUse(FORGED)

    monkeypatch.setattr(retiring, "_delete_retiring_locked", refuse)
    retiring.delete_drained()
    assert "cannot be deleted" in log.getvalue()
    check(log.getvalue())


def run(runner, **data):
    """Run a job as a worker does, and return the texts of its log."""
    job = Job.objects.create(name=runner.name, user=make_user("root", is_superuser=True), job_id=uuid4(), data=data)
    with suppress(JobFailed, ExceptionGroup):
        runner(job).run()
    return [entry["message"] for entry in job.log_entries]


def test_jobs_of_users(log, monkeypatch):
    pool = make_pool(name=FORGED[:90])
    header = "site,vlan_id,epg_name,segment,vrf"
    asked = {"count": 1, "prefix_length": 24, "epg_template": f"EPG_{{vid}}{FORGED}"}
    result = RepairResult(f"vlan:{FORGED}", FAILED, FORGED)
    monkeypatch.setattr(jobs.user, "repair_drift", lambda *args, **kwargs: [result])
    for texts in (
        run(jobs.SegmentImportJob, text=f'{header},"{FORGED}"\n1', atomic=True, dry_run=True),
        run(jobs.GenerateSegmentsJob, pool=pool.pk, asked=asked, dry_run=True),
        run(jobs.DriftRepairJob, items=[], changelog_message=""),
    ):
        assert "forged" in "".join(texts)
        assert "".join(texts).isprintable()
    check(log.getvalue())


def test_jobs_of_the_system(log, monkeypatch):
    def refuse():
        raise SegmentInUse(FORGED)

    def refuse_some():
        raise ExceptionGroup("Some", [SegmentInUse(FORGED)])

    monkeypatch.setattr(jobs.system, "promote_all", refuse)
    monkeypatch.setattr(jobs.system, "expire_due", refuse_some)
    texts = run(jobs.LifeCycleJob)
    assert sum("forged" in text for text in texts) == 2
    assert "".join(texts).isprintable()
    check(log.getvalue())


def test_commands():
    """Commands print to terminals and to cron's mails, so their lines must not contain control characters."""
    make_pool(segments=1)
    VLAN.objects.update(name=FORGED[:64])
    Segment.objects.update(vid=999)
    for arguments in ((), ("--repair", "--dry-run")):
        stream = io.StringIO()
        with pytest.raises(CommandError):
            call_command("vlan_manager_check", *arguments, stdout=stream)
        assert "forged" in stream.getvalue()
        assert not set(stream.getvalue()) & set("\r\x1b\x85\u2028")
        assert not any("forged" in line and line.startswith("2026") for line in stream.getvalue().splitlines())


def test_what_prints_stays():
    assert as_line("Größe, 東京 🙂 'x' \\n") == "Größe, 東京 🙂 'x' \\n"
    assert as_line("a\nb\x1b\u2028\ud800") == "a\\nb\\x1b\\u2028\\ud800"
