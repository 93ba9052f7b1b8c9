"""A one-second cache for endpoints without login (health, metrics), so that polling costs no queries."""

import threading
import time
from functools import wraps

__all__ = ("once_a_second",)


def once_a_second(function):
    """
    Have `function`, which takes nothing, called at most once a second in this process; others get what it returned.

    One caller at a time computes, and the others wait for its answer. `forget()` of what is returned forgets.
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
