"""
Every persona calls every endpoint and page: the status is right, a refused call changes nothing, and no answer shows
anything that the caller may not view.

UPDATE_PERMISSIONS=1 writes the results to matrix.txt instead; review the diff then.
"""

import os
from pathlib import Path

import pytest
from django.db import transaction
from django.utils.text import slugify

from . import docs, matrix
from .base import FINGERPRINT, FORBIDDEN, WRITTEN, WorldTestCase, find_told
from .world import PERSONAS

UPDATE = "UPDATE_PERMISSIONS" in os.environ
# The personas with limited permissions. Every call that writes must work for one of them.
LIMITED = [PERSONAS.index(name) for name in ("bound", "allocator")]
# Answers each call with the address of the overview.
READ_ONLY = {"plugins:netbox_vlan_manager:root"}
DOCUMENT = Path(__file__).parents[2] / "docs/permissions.md"


class MatrixTestCase(WorldTestCase):
    def check(self, section):
        lines = matrix.read()
        problems = []
        for row in matrix.sections(lines)[section]:
            for number, persona in enumerate(PERSONAS):
                if row.answers[number] != "-":
                    row.answers[number] = self.check_answer(row, persona, row.answers[number], problems)
        if UPDATE:
            matrix.write(lines)
        self.assertEqual(problems, [], "\n" + "\n".join(problems))

    def check_answer(self, row, persona, expected, problems):
        """Return the answer in the matrix's notation, and add its errors to `problems`."""
        with transaction.atomic():
            written = self.ask(WRITTEN)
            response, text = self.send(row, persona)
            # The fingerprint takes long, so it is compared only if rows were written.
            changed = self.ask(WRITTEN) != written and self.ask(FINGERPRINT) != self.before
            transaction.set_rollback(True)
        tells = expected.endswith("~")
        answer = f"{response.status_code}{'+' * changed}{'~' * tells}"
        what = f"{row.call} {row.body}".strip()
        if answer != expected and not UPDATE:
            problems.append(f"{what} for {persona}: {answer}, not {expected}")
        if changed and response.status_code >= 400:
            problems.append(f"{what} refuses {persona} and changes the database")
        for pattern in () if tells else FORBIDDEN.get(persona, ()):
            if found := find_told(pattern, text, row, self.ids):
                problems.append(f"{what} tells {persona} {found}")
        return answer

    def test_every_endpoint_is_in_the_matrix(self):
        rows = {row.endpoint for row in matrix.read() if isinstance(row, matrix.Row)}
        self.assertEqual(rows, matrix.endpoints())

    def test_every_call_that_writes_is_allowed_to_somebody(self):
        """A call that nobody may make might be refused only for its values."""
        done = {
            row.endpoint
            for row in matrix.read()
            if isinstance(row, matrix.Row) and any("+" in row.answers[number] for number in LIMITED)
        }
        asked = {(method, name) for method, name in matrix.endpoints() if method != "GET" and name not in READ_ONLY}
        self.assertEqual(asked - done, set())

    def test_document(self):
        """The table of docs/permissions.md agrees with the matrix."""
        text = DOCUMENT.read_text()
        if UPDATE:
            DOCUMENT.write_text(docs.replace_table(text))
        else:
            self.assertEqual(docs.replace_table(text), text)


def _make_test(section):
    @pytest.mark.slow("Hundreds of calls")
    def test(self):
        self.check(section)

    return test


for section in matrix.sections(matrix.read()):
    setattr(MatrixTestCase, f"test_{slugify(section).replace('-', '_')}", _make_test(section))
