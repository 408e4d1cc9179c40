"""What can go wrong in the lab, and waiting for what has to become true."""

import time


class LabError(AssertionError):
    """What was expected did not happen; the text says where and what was seen."""


class Skip(Exception):
    """This machine lacks something; the text says what."""


def eventually(condition, seconds: float, what: str, pause: float = 0.3):
    """Waits until `condition()` is true and returns it; a LabError in it counts as not yet."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            last = condition()
            if last:
                return last
        except LabError as error:
            last = error
        if time.monotonic() > deadline:
            raise LabError(f"{what}: not within {seconds:g} s (last: {last})")
        time.sleep(pause)
