"""Rules for the tests themselves."""

from tests.conftest import FAST, SLOW, TESTS


def test_every_folder_is_fast_or_slow():
    folders = {path.relative_to(TESTS).parts[0] for path in TESTS.glob("*/**/*.py")}
    # The folders of an optional part are missing without it.
    assert folders <= {*FAST, *SLOW}
    assert not {*FAST} & {*SLOW}
