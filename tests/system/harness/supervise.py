#!/usr/bin/env python3
"""A service manager in small: what systemd does for the unit, where there is no systemd.

  supervise.py --pid-file FILE [--restart-ms 100] -- COMMAND...

Runs the command with a notification socket, keeps the descriptors that it stores (FDSTORE=1), and starts it again with
them when it dies of anything but SIGTERM to this process. FILE has the process id of the running command; it is
empty in between. Stops by itself after --seconds, whatever happens.
"""

import argparse
import array
import fcntl
import os
import pathlib
import select
import signal
import socket
import sys
import tempfile
import time

LISTEN_FDS_START = 3
DESCRIPTORS_PER_MESSAGE = 64


class Store:
    """Descriptors by name, as sd_notify(3) FDSTORE has them."""

    def __init__(self, path: str):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.bind(path)
        self.held: list[tuple[str, int]] = []

    def read(self) -> None:
        while True:
            try:
                text, ancillary, _, _ = self.socket.recvmsg(
                    4096, socket.CMSG_SPACE(DESCRIPTORS_PER_MESSAGE * array.array("i").itemsize)
                )
            except BlockingIOError:
                return
            fds = array.array("i")
            for level, kind, data in ancillary:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
            words = dict(line.split("=", 1) for line in text.decode().splitlines() if "=" in line)
            name = words.get("FDNAME", "stored")
            if "FDSTORE" in words:
                self.held += [(name, fd) for fd in fds]
                continue
            for fd in fds:
                os.close(fd)
            if "FDSTOREREMOVE" in words:
                for entry in [entry for entry in self.held if entry[0] == name]:
                    os.close(entry[1])
                    self.held.remove(entry)


def start(command: list[str], store: Store, notify: str) -> int:
    child = os.fork()
    if child != 0:
        return child
    os.environ["NOTIFY_SOCKET"] = notify
    if store.held:
        # First out of the way, so that none is overwritten while they are put in place.
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD, LISTEN_FDS_START + len(store.held)) for _, fd in store.held]
        for i, fd in enumerate(high):
            os.dup2(fd, LISTEN_FDS_START + i, inheritable=True)
            os.close(fd)
        os.environ["LISTEN_PID"] = str(os.getpid())
        os.environ["LISTEN_FDS"] = str(len(high))
        os.environ["LISTEN_FDNAMES"] = ":".join(name for name, _ in store.held)
    os.execvp(command[0], command)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pid-file", required=True, type=pathlib.Path)
    parser.add_argument("--restart-ms", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("command", nargs="+")
    args = parser.parse_args()

    directory = tempfile.mkdtemp(prefix="itgtd-notify-")
    notify = os.path.join(directory, "notify")
    store = Store(notify)
    stop_at = time.monotonic() + args.seconds
    stopping = False
    child = 0

    def on_term(*_):
        nonlocal stopping
        stopping = True
        if child:
            os.kill(child, signal.SIGTERM)

    signal.signal(signal.SIGTERM, on_term)
    signal.signal(signal.SIGINT, on_term)
    status = 0
    try:
        while not stopping and time.monotonic() < stop_at:
            child = start(args.command, store, notify)
            args.pid_file.write_text(f"{child}\n")
            while True:
                ended, status = os.waitpid(child, os.WNOHANG)
                if ended:
                    break
                if time.monotonic() >= stop_at:
                    os.kill(child, signal.SIGKILL)
                select.select([store.socket], [], [], 0.02)
                store.read()
            args.pid_file.write_text("")
            child = 0
            if not stopping:
                select.select([], [], [], args.restart_ms / 1000)
    finally:
        os.unlink(notify)
        os.rmdir(directory)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main())
