"""A one-second cache for endpoints without login (health, metrics), so that polling costs no queries."""

import threading
import time
from functools import wraps

__all__ = ("once_a_second",)


def once_a_second(function):
    """
    Decorate `function`, which takes no arguments: it runs at most once a second in this process; its result is kept.

    One caller at a time runs it; the others wait for its result. The decorated function's `forget()` drops the result.
    """
    lock = threading.Lock()
    kept = {}

    @wraps(function)
    def remembered():
        with lock:
            if not kept or time.monotonic() - kept["at"] >= 1:
                result = function()
                kept.update(at=time.monotonic(), result=result)
            return kept["result"]

    remembered.forget = kept.clear
    return remembered
