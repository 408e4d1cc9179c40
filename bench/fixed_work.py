"""Runs a daemon that serves one LUN for exactly as long as a measurement takes, and loads it with exact counts.

Shared by bench/instructions, bench/allocations and bench/syscalls. What they print does not depend on how busy the
machine is: each takes the difference between two amounts of work, so that start, login and end cancel out.
"""

import argparse
import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = "iqn.2017-01.com.linbit:bench"
# The port that itgt-bench's first session has with this seed: bench/login.cc.
LOAD_NAME = "iqn.2017-01.com.linbit:itgt-bench"
LOAD_SEED = 1
LOAD_ISID = bytes([0x80, 0, 0, LOAD_SEED, 0, 0])
START_LIMIT_S = 60  # a daemon under valgrind takes seconds to start
STOP_LIMIT_S = 30
LOAD_LIMIT_S = 600


class Failure(Exception):
    """Why there is no figure, in a sentence for the person who asked."""


def common_arguments(description, counts):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--itgtd", type=pathlib.Path, default=ROOT / "build" / "itgtd", help="the daemon to measure")
    parser.add_argument("--bench", type=pathlib.Path, help="itgt-bench (default: beside the daemon)")
    parser.add_argument("--lun", default="null:1G", help="path of the LUN (default: null:1G)")
    parser.add_argument("--mode", choices=["read", "write"], action="append", help="default: both")
    parser.add_argument("--block-size", default="4k")
    parser.add_argument("--depth", type=int, default=32)
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--few", type=int, default=counts[0], help=f"the smaller amount of I/Os ({counts[0]})")
    parser.add_argument("--many", type=int, default=counts[1], help=f"the larger one ({counts[1]})")
    parser.add_argument("--polling", default="off", help="[daemon] polling (default: off)")
    parser.add_argument("--json", action="store_true", help="one JSON object in place of text")
    return parser


def parse(parser):
    options = parser.parse_args()
    options.bench = options.bench or options.itgtd.parent / "itgt-bench"
    options.mode = options.mode or ["read", "write"]
    if options.few >= options.many:
        parser.error("--few must be less than --many")
    for program in (options.itgtd, options.bench):
        if not os.access(program, os.X_OK):
            parser.error(f"{program} is not there: build it first, or say where it is")
    return options


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def config_text(directory, port, options):
    return f"""[daemon]
workers = 1
polling = "{options.polling}"
control_socket = "{directory}/control.sock"
state_dir = "{directory}/state"

[[target]]
name = "{TARGET}"
portals = ["127.0.0.1:{port}"]

[[target.lun]]
path = "{options.lun}"
serial = "bench0"
"""


def tail_of(path, lines=15):
    with contextlib.suppress(OSError):
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
    return ""


class Daemon:
    """itgtd behind `wrapper` (a list: valgrind, strace), stopped when the block ends."""

    def __init__(self, options, wrapper=(), environment=None):
        self.options = options
        self.wrapper = list(wrapper)
        self.environment = {**os.environ, **(environment or {})}
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="itgtd-bench-"))
        self.port = free_port()
        self.log = self.directory / "log"
        self.process = None

    def __enter__(self):
        config = self.directory / "itgtd.toml"
        (self.directory / "state").mkdir()
        config.write_text(config_text(self.directory, self.port, self.options))
        command = [*self.wrapper, str(self.options.itgtd), "--config", str(config)]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            self.wait_until_listening()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *unused):
        self.stop()

    def wait_until_listening(self):
        deadline = time.monotonic() + START_LIMIT_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise Failure(f"the daemon ended with status {self.process.returncode}:\n{tail_of(self.log)}")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            time.sleep(0.05)
        raise Failure(f"the daemon does not listen after {START_LIMIT_S} s:\n{tail_of(self.log)}")

    def daemon_pid(self):
        """Under strace the daemon is a child of what was started; valgrind becomes it."""
        if not self.wrapper or self.wrapper[0] != "strace":
            return self.process.pid
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        pids = children.read_text().split()
        return int(pids[0]) if pids else self.process.pid

    def stop(self):
        if self.process.poll() is None:
            with contextlib.suppress(OSError):
                os.kill(self.daemon_pid(), signal.SIGTERM)
            try:
                self.process.wait(timeout=STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(OSError):
                    os.kill(self.daemon_pid(), signal.SIGKILL)
                self.process.kill()
                self.process.wait()
                raise Failure(f"the daemon did not stop within {STOP_LIMIT_S} s:\n{tail_of(self.log)}") from None

    def load(self, mode, count):
        options = self.options
        command = [options.bench, "load", f"127.0.0.1:{self.port}", TARGET, "0", f"--{mode}", "--json"]
        command += ["--block-size", options.block_size, "--depth", str(options.depth), "--count", str(count)]
        command += ["--connections", str(options.connections), "--seed", str(LOAD_SEED)]
        done = subprocess.run(
            [str(part) for part in command], capture_output=True, text=True, timeout=LOAD_LIMIT_S, check=False
        )
        if done.returncode != 0:
            raise Failure(f"the load failed: {done.stderr.strip()}\n{done.stdout.strip()}\n{tail_of(self.log)}")
        result = json.loads(done.stdout)
        if result["all"]["ios"] != count:
            raise Failure(f"{result['all']['ios']} I/Os were done where {count} were asked for")
        return result

    def reserve(self, registrants):
        """Registers so many initiator ports with the LUN; the load's own holds a reservation, write exclusive, registrants only."""
        sys.path.insert(0, str(ROOT / "tests" / "system"))
        from harness import scsi
        from harness.initiator import Initiator

        def good(session, action, kind, **keys):
            task = session.command(scsi.persistent_reserve_out(action, kind), write=scsi.reservation_list(**keys))
            if task.status != scsi.GOOD:
                raise Failure(f"PERSISTENT RESERVE OUT failed: {task.sense_code}")

        for number in range(registrants):
            own = number == 0
            name = LOAD_NAME if own else f"iqn.2017-01.com.linbit:registrant-{number}"
            with Initiator(("127.0.0.1", self.port), name, LOAD_ISID, timeout=START_LIMIT_S) as session:
                session.login(TARGET)
                while session.command(scsi.TEST_UNIT_READY).status != scsi.GOOD:
                    pass
                good(session, 0, 0, action_key=0x1000 + number)  # REGISTER
                if own:
                    good(session, 1, 5, key=0x1000)  # RESERVE
                session.logout()

    def remove(self):
        """The temporary directory; not when the block failed, so that its log can be read."""
        for path in sorted(self.directory.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        self.directory.rmdir()


def main_checked(main):
    sys.dont_write_bytecode = True
    try:
        main()
    except Failure as failure:
        sys.exit(f"{pathlib.Path(sys.argv[0]).name}: {failure}")
    except subprocess.TimeoutExpired as failure:
        sys.exit(f"{pathlib.Path(sys.argv[0]).name}: not done within {failure.timeout} s: {failure.cmd}")
