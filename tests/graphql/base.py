import json

from django.db import connection
from django.test import TestCase
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from tests.api.base import client_of, grant
from tests.factories import make_user


class GraphQLTestCase(TestCase):
    """
    Asks the GraphQL API as `self.user`, who has no permissions at first.
    """

    def setUp(self):
        self.user = make_user("alice")
        self.client = client_of(self.user)

    def grant(self, *actions, model, **constraints):
        grant(self.user, *actions, model=model, **constraints)

    def execute(self, query, client=None):
        """Return the whole answer, which may have errors."""
        response = (client or self.client).post(reverse("graphql"), {"query": query}, format="json")
        self.assertEqual(response.status_code, 200, response.content)
        return json.loads(response.content)

    def ask(self, query, client=None):
        """Return the data of the answer, which must have no errors."""
        answer = self.execute(query, client)
        self.assertNotIn("errors", answer)
        return answer["data"]

    def count_queries(self, query):
        """Return the number of database queries, once the caches that outlive a request are filled."""
        self.ask(query)
        with CaptureQueriesContext(connection) as queries:
            self.ask(query)
        return len(queries)
