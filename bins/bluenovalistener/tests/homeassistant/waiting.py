"""Waiting for what other programs do."""

import time


def wait_until(what, condition):
    """Returns what `condition` does, as soon as that is true. It has no limit: `./test` has one for
    the whole, and what is waited for is the last line that was printed."""
    print(f"   {what}", flush=True)
    while not (result := condition()):
        time.sleep(0.1)
    return result
