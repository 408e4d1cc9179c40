"""The base of every system test: addresses of its own, a folder, a daemon, and a limit in time."""

import itertools
import os
import shutil
import signal
import subprocess
import time
import unittest

from harness import daemon as daemons
from harness.daemon import Daemon, Folder
from harness.initiator import Initiator

IQN = "iqn.2017-01.com.linbit:drbd0"
MIB = 1 << 20
_NUMBERS = itertools.count(1)


def portal(last: int | None = None) -> tuple[str, int]:
    """A loopback portal that no other test process uses: the address is made from the process id."""
    pid = os.getpid()
    return (f"127.{64 + (pid >> 16 & 0x3F)}.{pid >> 8 & 0xFF}.{pid & 0xFF}", 3260 + (next(_NUMBERS) if last is None else last))


def text(address: tuple[str, int]) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def target(portals: list[tuple[str, int]], luns: list[str], name: str = IQN, more: str = "", chap: str = "") -> str:
    """A [[target]] of the configuration; each LUN is the body of a [[target.lun]]."""
    out = f'[[target]]\nname = "{name}"\nportals = [{", ".join(chr(34) + text(p) + chr(34) for p in portals)}]\n{more}\n'
    if chap:
        out += f"[target.chap]\n{chap}\n"
    for lun in luns:
        out += f"[[target.lun]]\n{lun}\n"
    return out + "\n"


class Case(unittest.TestCase):
    """A test may take `seconds_max`; three times as long with sanitizers."""

    seconds_max = 60

    def setUp(self) -> None:
        self.folder = Folder()
        self.addCleanup(self.folder.remove)
        signal.signal(signal.SIGALRM, self._too_long)
        signal.alarm(self.seconds_max * (3 if daemons.sanitized() else 1))
        self.addCleanup(signal.alarm, 0)

    def _too_long(self, *_) -> None:
        raise TimeoutError(f"the test took more than {self.seconds_max} s")

    def daemon(self, config: str, portals: list[tuple[str, int]], **options) -> Daemon:
        """A started daemon; at the test's end it is stopped, and how it ended is checked."""
        started = Daemon(self.folder, config, portals, **options)
        self.addCleanup(started.stop)
        return started.start()

    def serve(self, luns: list[str] | None = None, more: str = "", chap: str = "", portals: int = 1, **options) -> tuple:
        """A daemon with one target; (daemon, portal...)."""
        where = [portal() for _ in range(portals)]
        config = target(where, luns or ['path = "ram:16M"\nserial = "aaaaaaa0"'], more=more, chap=chap)
        return (self.daemon(config, where, **options), *where)

    def initiator(self, address: tuple[str, int], **options) -> Initiator:
        made = Initiator(address, timeout=options.pop("timeout", 15.0), **options)
        self.addCleanup(made.close)
        return made

    def session(self, address: tuple[str, int], name: str = IQN, login: dict | None = None, **options) -> Initiator:
        """A logged-in session whose unit attentions are cleared."""
        made = self.initiator(address, **options).login(name, **(login or {}))
        for _ in range(8):
            if made.command(bytes(6)).status == 0:
                break
        return made

    def eventually(self, condition, seconds: float = 10.0, what: str = "condition"):
        """Waits until it is true; exceptions of connections count as not yet."""
        deadline = time.monotonic() + seconds * (2 if daemons.sanitized() else 1)
        last: object = None
        while time.monotonic() < deadline:
            try:
                last = condition()
                if last:
                    return last
            except (OSError, EOFError, AssertionError) as error:
                last = error
            time.sleep(0.05)
        self.fail(f"{what} did not become true in {seconds} s (last: {last})")

    def need(self, *tools: str) -> None:
        for tool in tools:
            if shutil.which(tool) is None:
                self.skipTest(f"{tool} is not installed")

    def run_tool(self, command: list[str], timeout: float = 60.0, check: bool = True, **extra) -> str:
        """Output of a program, both streams."""
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, errors="replace", timeout=timeout, check=False, **extra)
        if check:
            self.assertEqual(done.returncode, 0, f"{' '.join(command)}:\n{done.stdout}")
        return done.stdout
