"""Machines that share a ring network and two storage networks, each with a corosync of its own.

A machine is a network namespace and a mount namespace, kept by one process; the switches are bridges in a namespace of
their own. Nothing of it has a name outside: when the processes end, however they end, all of it is gone.
"""

import contextlib
import ctypes
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

from harness import daemon as daemons
from harness.case import Case
from harness.daemon import Folder
from harness.netns import connect_inside

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)
COMMAND_SECONDS_MAX = 20.0
STOP_SECONDS_MAX = 10.0
# Token timeout in ms; corosync adds 650 for the third node.
TOKEN_MS = 1000
NETWORKS = {"ring": "10.77.0", "enp0s8": "192.168.222", "enp0s9": "192.168.221"}
STORAGE = ("enp0s8", "enp0s9")
CONTROL_SOCKET = "/run/itgtd.sock"
# What a daemon may write to without another machine seeing it.
PRIVATE_FOLDERS = ("/run", "/etc/corosync", "/var/lib/corosync", "/dev/shm")


class ClusterError(AssertionError):
    """The cluster did not do what it was told in time."""


def missing() -> str:
    """Why there can be no cluster on this machine; empty: there can."""
    if os.geteuid() != 0:
        return "namespaces need root"
    for tool in ("corosync", "corosync-quorumtool", "unshare", "nsenter", "ip", "mount"):
        if shutil.which(tool) is None:
            return f"{tool} is not installed"
    tried = subprocess.run(["unshare", "--net", "--mount", "ip", "link", "add", "x", "type", "bridge"], check=False,
                           capture_output=True, text=True, timeout=COMMAND_SECONDS_MAX)
    return f"no namespaces with bridges: {tried.stderr.strip()}" if tried.returncode else ""


def eventually(condition, seconds: float, what: str, pause: float = 0.05):
    """Waits until it is true; the caller's error is the last thing that was seen."""
    deadline = time.monotonic() + seconds * (2 if daemons.sanitized() else 1)
    last: object = None
    while True:
        try:
            last = condition()
            if last:
                return last
        except (OSError, subprocess.SubprocessError, AssertionError) as error:
            last = error
        if time.monotonic() > deadline:
            raise ClusterError(f"{what}: not within {seconds} s (last: {last})")
        time.sleep(pause)


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Process:
    """A program in a machine. Its output is in a file."""

    def __init__(self, machine: "Machine", name: str, command: list[str], **options):
        self.name = name
        self.log_path = machine.folder.path / f"{machine.name}-{name}.log"
        self._log = self.log_path.open("ab")
        self.popen = subprocess.Popen(
            machine.command(command), stdin=options.pop("stdin", subprocess.DEVNULL), stdout=options.pop("stdout", self._log),
            stderr=subprocess.STDOUT, preexec_fn=_die_with_parent, **options,
        )

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def running(self) -> bool:
        return self.popen.poll() is None

    def signal(self, number: int) -> None:
        if self.running():
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.popen.wait(STOP_SECONDS_MAX)
        self._log.close()

    def stop(self, seconds: float = STOP_SECONDS_MAX) -> int:
        """SIGTERM; returns the exit status."""
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            return self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            raise ClusterError(f"{self.name} did not end within {seconds} s of SIGTERM:\n{self.log[-4000:]}") from None
        finally:
            self.kill()


class Machine:
    """A network namespace and a mount namespace. `private`: with folders of its own for daemons."""

    def __init__(self, folder: Folder, name: str, private: bool = True):
        self.folder = folder
        self.name = name
        self.processes: list[Process] = []
        mounts = [f"mount -t tmpfs -o mode=755 tmpfs {path}" for path in PRIVATE_FOLDERS if pathlib.Path(path).exists()] if private else []
        script = " && ".join(["set -e", "mount -t sysfs sysfs /sys", *mounts, "echo ready", "exec cat"])
        # The keeper reads from us: it ends with us, whatever ends us.
        self.keeper = subprocess.Popen(
            ["unshare", "--net", "--mount", "--propagation", "private", "sh", "-c", script], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=_die_with_parent,
        )
        if self.keeper.stdout.readline().strip() != "ready":
            raise ClusterError(f"no namespaces for {name}: {self.keeper.stderr.read()}")
        self.run("ip", "link", "set", "lo", "up")

    def command(self, command: list[str]) -> list[str]:
        return ["nsenter", "--target", str(self.keeper.pid), "--net", "--mount", "--", *command]

    def run(self, *command: str, check: bool = True, seconds: float = COMMAND_SECONDS_MAX, **options) -> str:
        """Output of a program that runs in here, both streams."""
        done = subprocess.run(self.command(list(command)), check=False, stdin=options.pop("stdin", subprocess.DEVNULL),
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                              timeout=seconds, **options)
        if check and done.returncode:
            raise ClusterError(f"{self.name}: {' '.join(command)}: status {done.returncode}: {done.stdout.strip()}")
        return done.stdout

    def start(self, name: str, command: list[str], **options) -> Process:
        process = Process(self, name, command, **options)
        self.processes.append(process)
        return process

    def connect(self, address: tuple[str, int], timeout: float = 10.0) -> socket.socket:
        return connect_inside(f"/proc/{self.keeper.pid}/ns/net", address, timeout)

    def addresses(self) -> set[str]:
        out = self.run("ip", "-o", "address", "show")
        return {line.split()[3].split("/")[0] for line in out.splitlines()}

    def remove(self) -> None:
        for process in self.processes:
            with contextlib.suppress(Exception):
                process.kill()
        with contextlib.suppress(Exception):
            self.keeper.kill()
            self.keeper.wait(STOP_SECONDS_MAX)
            for pipe in (self.keeper.stdin, self.keeper.stdout, self.keeper.stderr):
                pipe.close()


class Node(Machine):
    """A machine of the cluster; `number` from 1, also its nodeid and the end of its addresses."""

    def __init__(self, cluster: "Cluster", number: int):
        super().__init__(cluster.folder, f"node-{number}")
        self.cluster = cluster
        self.number = number
        self.corosync: Process | None = None
        self.itgtd: Process | None = None  # its supervisor

    def address(self, network: str) -> str:
        return f"{NETWORKS[network]}.{self.number}"

    def start_corosync(self) -> None:
        self.run("cp", str(self.folder.path / "corosync.conf"), "/etc/corosync/corosync.conf")
        self.corosync = self.start("corosync", ["corosync", "-f"])

    def quorum(self) -> tuple[bool, int]:
        """Quorate, and how many nodes are in its list."""
        out = self.run("corosync-quorumtool", "-s", check=False, seconds=5.0)
        found = dict(line.split(":", 1) for line in out.splitlines() if line.count(":") == 1)
        return found.get("Quorate", "").strip() == "Yes", int(found.get("Nodes", "0").strip())

    # --- itgtd. A service manager in small starts it again when it dies, as systemd would.

    @property
    def _pid_file(self) -> pathlib.Path:
        return self.folder.path / f"{self.name}.pid"

    def start_itgtd(self, config: str | None = None, restart_ms: int = 100) -> None:
        """`config`: without its [daemon]; None: the one that it had before. `restart_ms`: from a death to the next start."""
        path = self.folder.path / f"{self.name}.toml"
        if config is not None:
            state = self.folder.path / f"{self.name}-state"
            state.mkdir(exist_ok=True)
            path.write_text(f'[daemon]\nworkers = 2\nlog_level = "debug"\ncontrol_socket = "{CONTROL_SOCKET}"\n'
                            f'state_dir = "{state}"\n\n{config}')
        self._pid_file.write_text("")
        self.itgtd = self.start("itgtd", [
            sys.executable, str(pathlib.Path(__file__).parent / "supervise.py"), "--pid-file", str(self._pid_file),
            "--restart-ms", str(restart_ms), "--", "setpriv", "--pdeathsig", "KILL", "--", daemons.binary(), "--config", str(path),
        ], env={**os.environ, **daemons.SANITIZER_OPTIONS})

    def daemon_pid(self) -> int:
        """Of the daemon that runs now; waits for it when it is being started again."""
        def pid() -> int:
            text = self._pid_file.read_text().strip()
            return int(text) if text and pathlib.Path(f"/proc/{text}").exists() else 0

        return eventually(pid, 5.0, f"{self.name}: a running itgtd")

    def signal_daemon(self, number: int) -> None:
        os.kill(self.daemon_pid(), number)

    def kill_itgtd(self) -> None:
        """SIGKILL, and nobody starts it again."""
        if self.itgtd is not None:
            self.itgtd.kill()  # its child goes with it
            eventually(lambda: not self._daemon_lives(), 10.0, f"{self.name}: end of itgtd")
            self.itgtd = None

    def _daemon_lives(self) -> bool:
        text = self._pid_file.read_text().strip()
        return bool(text) and pathlib.Path(f"/proc/{text}").exists()

    def stop_itgtd(self) -> int:
        """SIGTERM; what it owns is handed over first. Returns the exit status."""
        process, self.itgtd = self.itgtd, None
        return process.stop(30.0)

    def itgtctl(self, *arguments: str, check: bool = True, seconds: float = 60.0) -> str:
        tool = str(pathlib.Path(daemons.binary()).parent / "itgtctl")
        return self.run(tool, "--socket", CONTROL_SOCKET, *arguments, check=check, seconds=seconds)

    def status(self) -> dict:
        return json.loads(self.itgtctl("--json", "status", seconds=5.0))

    def power_off(self) -> None:
        """All its daemons at once, and its cables, as when the current goes. The machine itself stays, to be started again."""
        self.cluster.unplug(self, *NETWORKS)
        if self.corosync is not None:
            self.corosync.kill()
        self.kill_itgtd()
        for network in STORAGE:
            self.run("ip", "address", "flush", "dev", network)
            self.run("ip", "address", "add", f"{self.address(network)}/24", "dev", network)
        self.run("nft", "flush", "ruleset", check=False)

    def power_on(self) -> None:
        self.cluster.plug(self, *NETWORKS)
        self.start_corosync()


class Cluster:
    """`count` nodes, and a client on both storage networks. remove() is always to be called."""

    def __init__(self, folder: Folder, count: int = 3):
        self.folder = folder
        self.machines: list[Machine] = []
        self.nodes: list[Node] = []
        try:
            self.switch = self._keep(Machine(folder, "switch", private=False))
            for network in NETWORKS:
                self._bridge(network)
            for number in range(1, count + 1):
                node = self._keep(Node(self, number))
                self.nodes.append(node)
                for network in NETWORKS:
                    self._cable(node, network, node.address(network))
            self.client = self._keep(Machine(folder, "client"))
            for network in STORAGE:
                self._cable(self.client, network, f"{NETWORKS[network]}.200")
            folder.file("corosync.conf", self.corosync_conf())
        except BaseException:
            self.remove()
            raise

    def _keep(self, machine):
        self.machines.append(machine)
        return machine

    def _bridge(self, name: str) -> None:
        self.switch.run("ip", "link", "add", name, "type", "bridge", "mcast_snooping", "0", "stp_state", "0")
        self.switch.run("ip", "link", "set", name, "up")

    def _cable(self, machine: Machine, network: str, address: str) -> None:
        port = self.port(machine, network)
        self.switch.run("ip", "link", "add", port, "type", "veth", "peer", "name", network, "netns", str(machine.keeper.pid))
        self.switch.run("ip", "link", "set", port, "master", network, "up")
        machine.run("ip", "address", "add", f"{address}/24", "dev", network)
        machine.run("ip", "link", "set", network, "up")

    @staticmethod
    def port(machine: Machine, network: str) -> str:
        return f"{machine.name}.{network[-5:]}"

    def corosync_conf(self) -> str:
        nodes = "\n".join(
            f"  node {{\n    ring0_addr: {node.address('ring')}\n    name: {node.name}\n    nodeid: {node.number}\n  }}"
            for node in self.nodes
        )
        return f"""totem {{
  version: 2
  cluster_name: itgt-test
  transport: knet
  token: {TOKEN_MS}
  crypto_cipher: none
  crypto_hash: none
}}
logging {{
  to_stderr: yes
  to_syslog: no
  to_logfile: no
  timestamp: hires
}}
nodelist {{
{nodes}
}}
quorum {{
  provider: corosync_votequorum
}}
system {{
  allow_knet_handle_fallback: yes
  move_to_root_cgroup: no
}}
"""

    # --- corosync.

    def start_corosync(self, seconds: float = 30.0) -> float:
        """On all nodes; returns after how many seconds all of them had quorum."""
        started = time.monotonic()
        for node in self.nodes:
            node.start_corosync()
        self.wait_quorate(self.nodes, seconds)
        return time.monotonic() - started

    def wait_quorate(self, nodes: list[Node], seconds: float = 30.0) -> None:
        """Until these, and no others, see each other in a quorate ring."""
        for node in nodes:
            eventually(lambda node=node: node.quorum() == (True, len(nodes)), seconds, f"{node.name} quorate with {len(nodes)} nodes")

    # --- Cables.

    def unplug(self, machine: Machine, *networks: str) -> None:
        """The machine's interface loses its carrier, as when a cable is pulled."""
        for network in networks:
            self.switch.run("ip", "link", "set", self.port(machine, network), "down")

    def plug(self, machine: Machine, *networks: str) -> None:
        for network in networks:
            self.switch.run("ip", "link", "set", self.port(machine, network), "up")

    def partition(self, network: str, *sides: list[Machine]) -> None:
        """Each side has a switch of its own from now on; links stay up. Who is in no side stays with the first."""
        for number, side in enumerate(sides):
            bridge = network if number == 0 else f"{network}-{number}"
            if number and self.switch.run("ip", "link", "show", bridge, check=False).find("does not exist") >= 0:
                self._bridge(bridge)
            for machine in side:
                self.switch.run("ip", "link", "set", self.port(machine, network), "master", bridge)

    def heal(self, network: str) -> None:
        """One switch again."""
        self.partition(network, [*self.nodes, self.client] if network in STORAGE else list(self.nodes))

    # --- The end.

    def logs(self, bytes_each: int = 6000) -> str:
        out = ""
        for path in sorted(self.folder.path.glob("*.log")):
            out += f"\n=== {path.name}\n{path.read_text(errors='replace')[-bytes_each:]}"
        return out

    def remove(self) -> None:
        for machine in reversed(self.machines):
            machine.remove()
        self.machines = []


class ClusterCase(Case):
    """A test with a cluster: skipped where there can be none; when it fails, the logs are shown."""

    seconds_max = 120

    def setUp(self) -> None:
        super().setUp()
        if why := missing():
            self.skipTest(why)
        self.cluster = Cluster(self.folder)
        self.addCleanup(self.cluster.remove)
        self.addCleanup(self._show_logs)
        self.addCleanup(self._check_logs)
        self.nodes = self.cluster.nodes

    def failed(self) -> bool:
        # run.py's results: a cleanup is not told how its test ended.
        outcomes = getattr(self._outcome.result, "outcomes", {})
        return any(self.id().endswith(name) and outcome == "failed" for name, (outcome, _) in outcomes.items())

    def _show_logs(self) -> None:
        if self.failed():
            print(self.cluster.logs(), flush=True)

    def _check_logs(self) -> None:
        for path in self.folder.path.glob("*.log"):
            if not path.name.endswith("-corosync.log"):
                bad = daemons.BAD_IN_LOG.search(path.read_text(errors="replace"))
                self.assertIsNone(bad, f"in {path.name}")
