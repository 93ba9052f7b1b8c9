from pathlib import Path
from unittest.mock import patch
from uuid import uuid4

from django.test import TestCase
from django.urls import reverse
from rest_framework.test import APIClient

from core.models import Job, ObjectChange, ObjectType
from netbox.jobs import AsyncAPIJob
from tests.factories import make_user
from users.constants import TOKEN_PREFIX
from users.models import ObjectPermission, Token
from utilities.testing import query_counts

NAMESPACE = "plugins-api:netbox_vlan_manager"


def url_of(name, **kwargs):
    """Return the URL of one of the plugin's endpoints."""
    return reverse(f"{NAMESPACE}-api:{name}", kwargs=kwargs)


def grant(user, *actions, model, **constraints):
    """Let `user` do the actions on the objects of `model` that the constraints match."""
    permission = ObjectPermission.objects.create(
        name=f"{user} {actions} {model.__name__} {constraints}", actions=list(actions), constraints=constraints or None
    )
    permission.users.add(user)
    permission.object_types.add(ObjectType.objects.get_for_model(model))
    # Permissions are read once for each User instance.
    user.__dict__.pop("_object_perm_cache", None)


def client_of(user, **token):
    """Return a client that calls the API with a new token of `user`."""
    token = Token.objects.create(user=user, **token)
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {TOKEN_PREFIX}{token.key}.{token.token}")
    return client


def run_in_background(client, method, url, data):
    """Make a call with ?background=true, run its job, and return the job."""
    with (
        patch("netbox.api.viewsets.mixins.any_workers_for_queue", return_value=True),
        patch.object(AsyncAPIJob, "enqueue") as enqueue,
    ):
        enqueue.return_value = Job(pk=1, status="pending")
        response = getattr(client, method)(f"{url}?background=true", data, format="json")
        assert response.status_code == 202, response.content
    arguments = enqueue.call_args.kwargs
    job = Job.objects.create(name=arguments.pop("name"), user=arguments.pop("user"), job_id=uuid4())
    AsyncAPIJob.handle(job, **arguments)
    job.refresh_from_db()
    return job


class ModelTests:
    """Adapts NetBox's test cases of a model's endpoints to the plugin."""

    view_namespace = NAMESPACE

    def setUp(self):
        super().setUp()
        # NetBox keeps the query counts in the package; this plugin keeps them next to the tests.
        path = Path(__file__).parent / query_counts.BASELINE_FILENAME
        self.enterContext(patch.object(query_counts, "_baseline_path", lambda app_label: path))
        self.enterContext(patch.object(query_counts, "_loaded_baselines", {}))
        # NetBox's tests expect only the changes of the request, but the services also log those of the test data.
        ObjectChange.objects.all().delete()


class PlainTestCase(TestCase):
    """
    Calls the API as `self.user`, who has no permissions at first.
    """

    def setUp(self):
        self.user = make_user("alice")
        self.client = client_of(self.user)

    def grant(self, *actions, model, **constraints):
        grant(self.user, *actions, model=model, **constraints)

    def call(self, method, url, data=None, status=200, client=None, **headers):
        """Make a call, check the status, and return the body of the answer."""
        response = getattr(client or self.client, method)(url, data, format="json", headers=headers)
        body = response.json() if response.content else None
        self.assertEqual(response.status_code, status, body)
        return body

    def get(self, url, params=None, **kwargs):
        response = (kwargs.pop("client", None) or self.client).get(url, params)
        self.assertEqual(response.status_code, kwargs.get("status", 200), response.content)
        return response.json()

    def post(self, url, data, **kwargs):
        return self.call("post", url, data, **kwargs)
