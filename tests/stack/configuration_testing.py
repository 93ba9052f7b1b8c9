"""The test configuration inside pytest, with the settings that NetBox's own test classes expect."""

from tests.stack.configuration import *  # noqa: F403

DEFAULT_PERMISSIONS = {}
RQ = {"COMMIT_MODE": "auto"}
