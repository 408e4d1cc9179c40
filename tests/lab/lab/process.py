"""Processes on this machine that end when the lab ends, however it ends."""

import contextlib
import ctypes
import os
import pathlib
import signal
import subprocess

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)
END_SECONDS_MAX = 10.0
# What runs in the guests keeps deadlines of real time (corosync's token, iSCSI's pings), so they go before a build that runs beside them.
NICENESS = -6


def _in_the_child() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, NICENESS)


def spawn(command: list[str], log: pathlib.Path, **options) -> subprocess.Popen:
    """Starts it in a session of its own, so that Ctrl-C does not reach it. Only from the main thread: the kernel ends a child
    with the thread that made it."""
    with log.open("ab") as out:
        return subprocess.Popen(command, stdin=options.pop("stdin", subprocess.DEVNULL), stdout=out, stderr=subprocess.STDOUT,
                                preexec_fn=_in_the_child, start_new_session=True, **options)


def end(process: subprocess.Popen | None) -> None:
    """SIGKILL, and waits."""
    if process is not None:
        process.kill()
        process.wait(END_SECONDS_MAX)
        if process.stdin is not None:
            process.stdin.close()
