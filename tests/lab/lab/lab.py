"""All of it together: what a scenario is given."""

import contextlib
import json
import os
import pathlib
import shutil
import tempfile
import time

from lab import image
from lab.errors import LabError, Skip, eventually
from lab.guest import BUILD, Guest, Machine, Nic
from lab.initiator import Initiator
from lab.network import NETWORKS, STORAGE, Network
from lab.targets import CONFIG, DATA_NODES, GROUP, NODES, TOKEN_MS, VIPS, TargetNode, bring_up, in_parallel

DISK_BYTES = 512 << 20
INITIATOR_ADDRESS = 254
# Program and the Debian package that has it.
NEEDED = {
    "qemu-system-x86_64": "qemu-system-x86", "busybox": "busybox-static", "cpio": "cpio", "modprobe": "kmod", "vde_switch": "vde2",
    "iscsiadm": "open-iscsi", "multipathd": "multipath-tools", "fio": "fio", "drbdadm": "drbd-utils", "corosync": "corosync",
    "nft": "nftables", "udevadm": "udev", "mkfs.ext4": "e2fsprogs", "ip": "iproute2",
    "sg_persist": "sg3-utils", "sdparm": "sdparm", "fstrim": "util-linux",
}
PROGRAMS = ("itgtd", "itgtctl", "tests/lab/itgt-lab-agent", "tests/lab/itgt-steady-io")


def missing(build: pathlib.Path) -> str:
    """Why there can be no lab here; empty: there can."""
    if os.geteuid() != 0:
        return "the guests see this machine's root, which only root may read"
    lacking = [package for program, package in NEEDED.items() if shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin:/sbin") is None]
    if lacking:
        return f"not installed: {' '.join(lacking)}"
    unbuilt = [program for program in PROGRAMS if not (build / program).exists()]
    if unbuilt:
        return f"not built in {build}: {' '.join(unbuilt)}"
    try:
        image.kernel()
    except Skip as why:
        return str(why)
    return ""


def markdown(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


class Lab:
    """The cluster, the initiator and the networks between them. From the main thread."""

    def __init__(self, build: pathlib.Path, say=print):
        self.build = build.resolve()
        self.say = say
        self.figures: list[dict] = []
        self.steps: list[dict] = []
        self.tables: list[tuple[str, list[str], list[list[str]]]] = []
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="itgt-lab."))
        self.binaries = self.folder / "build"
        self._copy_programs()
        self.networks: dict[str, Network] = {}
        self.guests: dict[str, Guest] = {}
        self.config = CONFIG
        self.token_ms = TOKEN_MS
        # Called with every guest that prepare() is through with, before anything of it is used: files and addresses of a scenario's own.
        self.also_prepare = lambda guest: None
        self.started = time.monotonic()

    def _copy_programs(self) -> None:
        """A build meanwhile must not change what runs in the guests."""
        for program in PROGRAMS:
            (self.binaries / program).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(self.build / program, self.binaries / program)

    # --- What a scenario tells.

    @contextlib.contextmanager
    def step(self, text: str):
        """A line with how long it took."""
        started = time.monotonic()
        try:
            yield
        except BaseException:
            self.say(f"  FAILED {time.monotonic() - started:7.1f} s  {text}")
            raise
        seconds = time.monotonic() - started
        self.steps.append({"step": text, "seconds": round(seconds, 2)})
        self.say(f"  ok     {seconds:7.1f} s  {text}")

    def measured(self, what: str, value: float, unit: str = "ms") -> None:
        """A figure: printed, and in the JSON."""
        self.figures.append({"what": what, "value": value, "unit": unit})
        self.say(f"         {value:g} {unit}: {what}")

    def table(self, title: str, head: list[str], rows: list[list[str]]) -> None:
        """For the results: printed, and in the file that --results writes."""
        self.tables.append((title, head, rows))
        self.say(f"{title}\n{markdown(head, rows)}")

    def expect(self, condition: bool, what: str) -> None:
        if not condition:
            raise LabError(what)

    # --- The guests.

    def guest(self, name: str) -> Guest:
        return self.guests[name]

    @property
    def nodes(self) -> list[TargetNode]:
        return [guest for guest in self.guests.values() if isinstance(guest, TargetNode)]

    @property
    def data_nodes(self) -> list[TargetNode]:
        return [node for node in self.nodes if node.has_data]

    @property
    def initiator(self) -> Initiator:
        return next(guest for guest in self.guests.values() if isinstance(guest, Initiator))

    def other(self, node: TargetNode) -> TargetNode:
        """The other one with data."""
        return next(found for found in self.data_nodes if found is not node)

    # --- Up and down.

    def build_machines(self, disk_bytes: int = DISK_BYTES, initiators: int = 1) -> None:
        """Networks, disks and guests; nothing is switched on. More initiators are called initiator-2 ..."""
        version, kernel = image.kernel()
        kernel = image.unpacked(self.build, version, kernel)
        initramfs = image.initramfs(self.build, version)
        self.networks = {name: Network(name, self.folder) for name in NETWORKS}

        def machine(name: str, last: int, networks, disks, memory_mb: int) -> Machine:
            nics = [Nic(self.networks[network], f"52:54:00:00:{number:02x}:{last:02x}", f"{NETWORKS[network]}.{last}/24")
                    for number, network in enumerate(networks)]
            return Machine(name, kernel, initramfs, self.binaries, nics, disks, memory_mb)

        for name, last in NODES.items():
            disks = [self.disk(f"{name}.disk", disk_bytes)] if name in DATA_NODES else []
            self.guests[name] = TargetNode(machine(name, last, NETWORKS, disks, 640), self.folder)
        for number in range(initiators):
            name = "initiator" if number == 0 else f"initiator-{number + 1}"
            self.guests[name] = Initiator(machine(name, INITIATOR_ADDRESS - number, STORAGE, [], 640), self.folder)

    def disk(self, name: str, size_bytes: int) -> pathlib.Path:
        """A sparse file."""
        path = self.folder / name
        with path.open("wb") as disk:
            disk.truncate(size_bytes)
        return path

    def boot(self, guests: list[Guest] | None = None) -> None:
        """Side by side."""
        chosen = list(self.guests.values()) if guests is None else guests
        for guest in chosen:
            guest.boot()
        for guest in chosen:
            guest.wait_up()

    def up(self, **options) -> None:
        """The whole cluster, served, and an initiator that has not logged in yet."""
        with self.step("guests boot"):
            self.build_machines(**options)
            self.boot()
        with self.step("modules, iscsid, multipathd"):
            in_parallel(self.prepare, list(self.guests.values()))
        with self.step("DRBD in sync, corosync quorate, itgtd started"):
            bring_up(self.nodes)
        with self.step("the group is served"):
            self.wait_served()

    def up_with_paths(self) -> None:
        """up(), and the initiator has the disk by two active paths."""
        self.up()
        with self.step("two active paths"):
            self.initiator.login()
            self.initiator.wait_paths(2)
            self.initiator.wait_map()

    def prepare(self, guest: Guest) -> None:
        """After every boot."""
        if isinstance(guest, TargetNode):
            guest.prepare(self.config, self.token_ms)
        else:
            guest.prepare()
        self.also_prepare(guest)

    def power_on(self, node: TargetNode) -> None:
        """A node whose power was cut comes back with its disks, as its services would start it."""
        self.boot([node])
        self.prepare(node)
        node.start_corosync()
        node.start_drbd()
        node.start_itgtd()

    def remove(self) -> None:
        for guest in self.guests.values():
            with contextlib.suppress(Exception):
                guest.cut_power()
        for network in self.networks.values():
            with contextlib.suppress(Exception):
                network.remove()
        shutil.rmtree(self.folder, ignore_errors=True)

    def keep_logs(self, to: pathlib.Path) -> None:
        """Of every guest, in to/GUEST."""
        shutil.rmtree(to, ignore_errors=True)
        for guest in self.guests.values():
            guest.keep_logs(to / guest.name)

    # --- The cluster.

    def asked(self) -> TargetNode:
        """A node that can be asked."""
        return next(node for node in reversed(self.nodes) if node.powered() and node.service is not None)

    def owner(self, ask: TargetNode | None = None) -> TargetNode:
        """The node that serves the group now."""
        found = (ask or self.asked()).group()
        if found["state"] != "active":
            raise LabError(f"the group is not served: {found['state']}")
        return next(node for node in self.nodes if node.name == found["owner"])

    def wait_served(self, on: TargetNode | None = None, not_on: TargetNode | None = None, seconds: float = 120.0,
                    ask: TargetNode | None = None) -> TargetNode:
        def owner() -> TargetNode | None:
            asked = ask or next(node for node in reversed(self.nodes) if node.powered() and node.service and node is not not_on)
            found = self.owner(asked)
            return found if found is not not_on and on in (None, found) else None

        wanted = f" on {on.name}" if on else f" not on {not_on.name}" if not_on else ""
        return eventually(owner, seconds, f"the group is served{wanted}", 0.5)

    def itgtctl(self, *arguments: str, node: TargetNode | None = None, **options) -> str:
        return (node or self.asked()).itgtctl(*arguments, **options)

    def move(self, to: TargetNode) -> float:
        """A planned move; the pause in ms as the cluster measured it."""
        self.itgtctl("move", GROUP, to.name)
        self.wait_served(on=to)
        return self.pause_ms(to)

    def pause_ms(self, node: TargetNode) -> float:
        """Of the newest change of owner, as that node has it."""
        changes = json.loads(node.output([f"{BUILD}/itgtctl", "--json", "history", GROUP, "-n", "1"]))["changes"]
        return float(changes[0].get("pause_ms") or 0)

    def vip_holders(self) -> dict[str, set[str]]:
        """Which VIPs each node that is on has."""
        return {node.name: node.addresses() & set(VIPS.values()) for node in self.nodes if node.powered()}

    # --- Cables and disks.

    def pull_cable(self, guest: str, network: str) -> None:
        self.guests[guest].set_link(network, False)

    def put_back(self, guest: str, network: str) -> None:
        self.guests[guest].set_link(network, True)

    def wait_in_sync(self, seconds: float = 240.0) -> None:
        """Until both DRBD nodes are connected and have all data."""
        for node in self.data_nodes:
            eventually(lambda node=node: (node.drbd().get("cs"), node.drbd().get("ds")) == ("Connected", "UpToDate/UpToDate"), seconds,
                       f"DRBD of {node.name} in sync")

    def kernel_errors(self, guest: Guest | str) -> list[str]:
        return (self.guests[guest] if isinstance(guest, str) else guest).kernel_errors()

    def expect_no_kernel_errors(self, *guests: Guest) -> None:
        for guest in guests or [found for found in self.guests.values() if found.powered()]:
            found = guest.kernel_errors()
            self.expect(not found, f"in the kernel's log of {guest.name}:\n" + "\n".join(found[:20]))

    def verify_steady(self, steady, what: str, longest_ms: float | None = None) -> dict:
        """Ends the steady writer; tells its figures."""
        found = steady.finish()
        self.measured(f"{what}: longest write of {found['writes']}", found["longest_ms"])
        if longest_ms is not None:
            self.expect(found["longest_ms"] <= longest_ms, f"{what}: a write took {found['longest_ms']} ms; at most {longest_ms:g}")
        return found
