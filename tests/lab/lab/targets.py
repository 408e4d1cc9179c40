"""A node of the target cluster: DRBD, corosync and itgtd, as the seed has them."""

import json
import threading

from lab.agent import Job
from lab.errors import LabError, eventually
from lab.guest import BUILD, Guest, Machine
from lab.network import NETWORKS, RING

IQN = "iqn.2017-01.com.linbit:drbd0"
WWID = "36001405aaaaaaa000000000000000000"
GROUP = "drbd0"
RESOURCE = "r0"
VIPS = {"enp0s8": "192.168.222.35", "enp0s9": "192.168.221.35"}
# Names and the last number of the addresses; the first two have the data.
NODES = {"iscsi-0": 30, "iscsi-1": 31, "iscsi-2": 32}
DATA_NODES = ("iscsi-0", "iscsi-1")
# corosync's token timeout in ms, to which it adds 650 for the third node. Emulated CPUs are late now and then.
TOKEN_MS = 1000
# As the unit has it.
RESTART_SECONDS = 0.1
STATE_DIR = "/var/lib/itgtd"
DRBD_PORT = 7788

DRBD_CONF = """global {{ usage-count no; }}
common {{
  net {{
    protocol C; ping-int 2; ping-timeout 20; timeout 40; connect-int 2;
    after-sb-0pri discard-zero-changes; after-sb-1pri discard-secondary; after-sb-2pri disconnect;
  }}
  disk {{ c-plan-ahead 0; resync-rate 100M; }}
}}
resource {resource} {{
  device /dev/drbd0;
  disk /dev/vda;
  meta-disk internal;
{hosts}}}
"""

# The seed's group and target, in this project's words.
CONFIG = f"""[cluster]

[[group]]
name = "{GROUP}"
drbd = "{RESOURCE}"
vips = ["{VIPS['enp0s8']}/24", "{VIPS['enp0s9']}/24"]
nodes = ["{DATA_NODES[0]}", "{DATA_NODES[1]}"]

[[target]]
name = "{IQN}"
group = "{GROUP}"

[[target.lun]]
path = "/dev/drbd0"
serial = "aaaaaaa0"
product = "p_iscsi_lun_0"
"""


def corosync_conf(token_ms: int = TOKEN_MS) -> str:
    """For all three nodes, over one link. A brace ends its line. On the one slow CPU of a guest a corosync with realtime
    priority leaves nothing to the others while it looks for nodes that are gone.
    """
    nodes = "".join(
        f"  node {{\n    nodeid: {number}\n    name: {name}\n    ring0_addr: {NETWORKS[RING]}.{last}\n  }}\n"
        for number, (name, last) in enumerate(NODES.items(), 1))
    return f"""totem {{
  version: 2
  cluster_name: lab
  transport: knet
  crypto_cipher: none
  crypto_hash: none
  token: {token_ms}
}}
nodelist {{
{nodes}}}
quorum {{
  provider: corosync_votequorum
}}
logging {{
  to_stderr: yes
  to_syslog: no
  timestamp: hires
}}
system {{
  move_to_root_cgroup: no
  sched_rr: no
  priority: -10
}}
"""


def drbd_conf() -> str:
    hosts = "".join(f"  on {name} {{ address {NETWORKS[RING]}.{NODES[name]}:{DRBD_PORT}; }}\n" for name in DATA_NODES)
    return DRBD_CONF.format(resource=RESOURCE, hosts=hosts)


class Service:
    """What systemd does for the unit: started again when it ends, after `itgtd --release` has had a look."""

    def __init__(self, guest: Guest, command: list[str], release: list[str], log: str):
        self._guest = guest
        self._command = command
        self._release = release
        self._log = log
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._job: Job | None = None
        self.starts = 0
        self._thread = threading.Thread(target=self._keep, daemon=True, name=f"itgtd of {guest.name}")
        self._start()
        self._thread.start()

    @property
    def pid(self) -> int:
        assert self._job is not None
        return self._job.pid

    def signal(self, number: int) -> None:
        assert self._job is not None
        self._job.kill(number)

    def stop(self, seconds: float = 60.0) -> int:
        """SIGTERM; returns the exit status."""
        self._stopping.set()
        assert self._job is not None
        self._job.kill(15)
        status = self._job.wait(seconds).status
        self._thread.join(seconds)
        return status

    def _start(self) -> None:
        self._job = self._guest.start(self._command, log=self._log)
        self.starts += 1

    def _keep(self) -> None:
        while True:
            assert self._job is not None
            outcome = self._job.wait(24 * 3600)
            if self._guest.agent.lost.is_set():
                return
            result, status = ("success", "0") if outcome.status == 0 else ("exit-code", str(outcome.status))
            if outcome.status > 128:
                result, status = "signal", {137: "KILL", 134: "ABRT", 139: "SEGV"}.get(outcome.status, str(outcome.status - 128))
            words = ["env", f"SERVICE_RESULT={result}", f"EXIT_STATUS={status}", "RUNTIME_DIRECTORY=/run/itgtd", *self._release]
            try:
                self._guest.start(words, log=self._log, seconds=30).wait(60)
                if self._stopping.wait(RESTART_SECONDS) or outcome.status == 2:
                    return
                self._start()
            except LabError:
                return  # the guest is gone


class TargetNode(Guest):
    """A guest of the cluster; iscsi-2 is there for quorum alone."""

    def __init__(self, machine: Machine, folder):
        super().__init__(machine, folder)
        self.has_data = self.name in DATA_NODES
        self.service: Service | None = None
        self.corosync: Job | None = None

    # --- Set up.

    def prepare(self, config: str, token_ms: int = TOKEN_MS) -> None:
        """Files and modules; after every boot."""
        self.write("/etc/corosync/corosync.conf", corosync_conf(token_ms))
        self.write("/etc/drbd.conf", drbd_conf())
        self.write("/etc/itgtd/itgtd.toml", config)
        self.write("/etc/hosts", "127.0.0.1 localhost\n" + "".join(f"{NETWORKS[RING]}.{last} {name}\n" for name, last in NODES.items()))
        self.run(["mkdir", "-p", "/run/itgtd", "/run/drbd", "/run/lock"])
        self.run(["modprobe", "drbd"])

    def create_drbd(self) -> None:
        """New metadata: what was on the disk is gone."""
        self.run(["drbdadm", "create-md", "--force", RESOURCE])

    def start_drbd(self) -> None:
        """drbdadm gives each step 5 s, which a busy machine may exceed; adjust goes on from wherever that left it."""
        if self.has_data:
            eventually(lambda: self.run(["drbdadm", "adjust", RESOURCE]), 120, f"DRBD of {self.name} up", 1)

    def start_corosync(self) -> None:
        self.corosync = self.start(["corosync", "-f"], log="corosync")

    def start_itgtd(self) -> None:
        command = [f"{BUILD}/itgtd", "--config", "/etc/itgtd/itgtd.toml"]
        self.service = Service(self, command, [command[0], "--release", *command[1:]], "itgtd")

    def stop_itgtd(self) -> None:
        if self.service is not None:
            self.service.stop()
            self.service = None

    # --- How it is.

    def drbd(self) -> dict[str, str]:
        """cs, ro and ds of /proc/drbd: {"cs": "Connected", "ro": "Primary/Secondary", "ds": "UpToDate/UpToDate"}."""
        for line in self.read("/proc/drbd").splitlines():
            words = line.split()
            if words and words[0] == "0:":
                return dict(word.split(":", 1) for word in words[1:] if ":" in word)
        return {}

    def quorum(self) -> tuple[bool, int]:
        """Quorate, and how many nodes are in its list."""
        out = self.output(["corosync-quorumtool", "-s"], check=False)
        found = dict(line.split(":", 1) for line in out.splitlines() if line.count(":") == 1)
        return found.get("Quorate", "").strip() == "Yes", int(found.get("Nodes", "0").strip() or 0)

    def itgtctl(self, *arguments: str, check: bool = True, seconds: float = 90.0) -> str:
        return self.run([f"{BUILD}/itgtctl", *arguments], check=check, seconds=seconds).text

    def status(self) -> dict:
        try:
            return json.loads(self.output([f"{BUILD}/itgtctl", "--json", "status"], seconds=30))
        except ValueError as error:
            raise LabError(f"{self.name}: itgtctl --json status: {error}") from None

    def group(self, name: str = GROUP) -> dict:
        """As this node has it."""
        unknown = {"name": name, "state": "unknown", "owner": None, "epoch": 0}
        return next((group for group in self.status()["groups"] if group["name"] == name), unknown)


def bring_up(nodes: list[TargetNode], new_disks: bool = True) -> None:
    """DRBD and corosync of booted and prepared nodes, then itgtd. With new disks both sides are declared equal, without a sync:
    they are, since both are zero."""
    data = [node for node in nodes if node.has_data]
    for node in nodes:
        node.start_corosync()
    if new_disks:
        in_parallel(TargetNode.create_drbd, data)
    in_parallel(TargetNode.start_drbd, data)
    if new_disks:
        for node in data:
            eventually(lambda node=node: node.drbd().get("cs") == "Connected", 60, f"DRBD of {node.name} connected")
        data[0].run(["drbdadm", "--", "--clear-bitmap", "new-current-uuid", RESOURCE])
    for node in nodes:
        eventually(lambda node=node: node.quorum() == (True, len(nodes)), 90, f"{node.name} quorate with {len(nodes)} nodes", 0.5)
    for node in nodes:
        node.start_itgtd()


def in_parallel(what, guests: list) -> None:
    """what(guest) for all at once; the first error is raised when all have ended."""
    errors: list[BaseException] = []

    def one(guest) -> None:
        try:
            what(guest)
        except BaseException as error:  # pylint: disable=broad-except
            errors.append(error)

    threads = [threading.Thread(target=one, args=(guest,)) for guest in guests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
