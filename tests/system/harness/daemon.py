"""itgtd as a process of a test: its configuration, its start, its end, and what its log must not have."""

import fcntl
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from harness.netns import Netns

START_SECONDS_MAX = 20.0
STOP_SECONDS_MAX = 20.0
# None of these may ever be in the log of a daemon, whatever the test did to it.
BAD_IN_LOG = re.compile(
    r"AddressSanitizer|LeakSanitizer|ThreadSanitizer|UndefinedBehavior|runtime error:|[Aa]ssertion|terminate called|Segmentation"
)
SANITIZER_OPTIONS = {
    "ASAN_OPTIONS": "detect_leaks=1:strict_string_checks=1:detect_stack_use_after_return=1:exitcode=99",
    "TSAN_OPTIONS": f"exitcode=99:second_deadlock_stack=1:suppressions={pathlib.Path(__file__).parent.parent}/tsan.suppressions",
    "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1:exitcode=99",
}


class DaemonError(AssertionError):
    """The daemon did what no daemon may do."""


def binary() -> str:
    """Set by run.py."""
    return os.environ["ITGTD"]


def sanitized() -> bool:
    """True when the daemon was built with sanitizers: it is slower, and its limits in the tests are wider."""
    return os.environ.get("ITGTD_SANITIZED") == "1"


class Folder:
    """A temporary folder of a test, for disks, secrets and configurations."""

    def __init__(self):
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="itgt-test."))

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)

    def file(self, name: str, text: str | bytes, mode: int = 0o600) -> str:
        path = self.path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        path.chmod(mode)
        return str(path)

    def disk(self, name: str, size_bytes: int) -> str:
        """A sparse file."""
        path = self.path / name
        with path.open("wb") as disk:
            disk.truncate(size_bytes)
        return str(path)


def _is_locked(path: pathlib.Path) -> bool:
    try:
        with path.open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False


class Daemon:
    """A running itgtd. `portals`: where it must answer before start() returns."""

    def __init__(self, folder: Folder, config: str, portals: list[tuple[str, int]], netns: Netns | None = None,
                 workers: int = 2, log_level: str = "debug"):
        self.folder = folder
        self.portals = portals
        self.netns = netns
        self.workers = workers
        self.log_level = log_level
        number = len(list(folder.path.glob("itgtd*.toml")))
        self.config_path = folder.path / f"itgtd{number}.toml"
        self.log_path = folder.path / f"itgtd{number}.log"
        # Two daemons on one are refused; a later one finds what an earlier one left.
        other = str(number) if _is_locked(folder.path / "state" / "lock") else ""
        self.state_dir = folder.path / f"state{other}"
        self.control_socket = folder.path / f"control{other}.sock"
        self.write_config(config)
        self.process: subprocess.Popen | None = None

    def write_config(self, config: str) -> None:
        head = (
            f'[daemon]\nworkers = {self.workers}\nlog_level = "{self.log_level}"\n'
            f'control_socket = "{self.control_socket}"\nstate_dir = "{self.state_dir}"\n\n'
        )
        self.state_dir.mkdir(exist_ok=True)
        # Renamed into place, as an operator's tools do: a reload must not meet half a file.
        new = self.config_path.with_suffix(".new")
        new.write_text(config if "[daemon]" in config else head + config)
        new.rename(self.config_path)

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def command(self) -> list[str]:
        command = [binary(), "--config", str(self.config_path)]
        return self.netns.command(command) if self.netns else command

    def start(self) -> "Daemon":
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                env={**os.environ, **SANITIZER_OPTIONS},
            )
        deadline = time.monotonic() + START_SECONDS_MAX
        for portal in self.portals:
            while not self.answers(portal):
                if self.process.poll() is not None:
                    raise DaemonError(f"itgtd ended with status {self.process.returncode} at start:\n{self.log}")
                if time.monotonic() > deadline:
                    raise DaemonError(f"itgtd does not answer at {portal} after {START_SECONDS_MAX} s:\n{self.log}")
                time.sleep(0.02)
        return self

    def connect(self, address: tuple[str, int], timeout: float = 10.0) -> socket.socket:
        if self.netns:
            return self.netns.connect(address, timeout)
        return socket.create_connection(address, timeout)

    def answers(self, portal: tuple[str, int]) -> bool:
        try:
            self.connect(portal, 2.0).close()
            return True
        except OSError:
            return False

    def reload(self, config: str | None = None) -> None:
        """SIGHUP; what it changes is to be waited for by the test."""
        if config is not None:
            self.write_config(config)
        os.kill(self.pid, signal.SIGHUP)

    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def resident_bytes(self) -> int:
        pages = int(pathlib.Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def cpu_seconds(self) -> float:
        fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def terminate(self) -> None:
        os.kill(self.pid, signal.SIGTERM)

    def wait(self, timeout: float = STOP_SECONDS_MAX) -> int:
        assert self.process is not None
        return self.process.wait(timeout)

    def kill(self) -> None:
        """SIGKILL, as a crash would: nothing is tidied up. start() starts it again with the same state_dir."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.process = None
        # The kernel ends the rings of a process after the process: until then its sockets listen, and reset who comes.
        deadline = time.monotonic() + STOP_SECONDS_MAX
        while any(self.answers(portal) for portal in self.portals):
            if time.monotonic() > deadline:
                raise DaemonError("the portals of a killed itgtd still answer")
            time.sleep(0.02)

    def stop(self) -> None:
        """SIGTERM, then everything that must be true of an end: status 0, in time, and a clean log."""
        if self.process is None:
            return
        process = self.process
        early = process.poll()
        hung = False
        if early is None:
            process.terminate()
            try:
                process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                hung = True
                process.kill()
                process.wait()
        self.process = None
        bad = BAD_IN_LOG.search(self.log)
        if hung:
            raise DaemonError(f"itgtd did not stop within {STOP_SECONDS_MAX} s of SIGTERM:\n{self.log[-4000:]}")
        if bad:
            raise DaemonError(f"'{bad.group(0)}' in the log of itgtd:\n{self.log[-8000:]}")
        if process.returncode != 0:
            when = "by itself" if early is not None else "on SIGTERM"
            raise DaemonError(f"itgtd ended {when} with status {process.returncode}:\n{self.log[-4000:]}")
