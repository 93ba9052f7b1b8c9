"""What the tests themselves keep to."""

from tests.conftest import FAST, SLOW, TESTS


def test_every_folder_is_fast_or_slow():
    folders = {path.relative_to(TESTS).parts[0] for path in TESTS.glob("*/**/*.py")}
    # Those of an optional part go with it.
    assert folders <= {*FAST, *SLOW}
    assert not {*FAST} & {*SLOW}
