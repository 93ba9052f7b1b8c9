"""The same for code that runs inside pytest, where NetBox's own test classes expect what their configuration sets."""

from tests.stack.configuration import *  # noqa: F403

DEFAULT_PERMISSIONS = {}
RQ = {"COMMIT_MODE": "auto"}
