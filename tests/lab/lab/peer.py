"""What other targets are set up with in this lab: LIO by configfs, with the seed's names, addresses and serial number."""

import pathlib
import re

from lab import image
from lab.agent import Job, Outcome
from lab.errors import eventually
from lab.guest import BUILD, Guest, Machine
from lab.initiator import Initiator
from lab.targets import IQN, VIPS

RAM_DISK_MIB = 128
BACKSTORE = "p_iscsi_lun_0"
SERIAL = "aaaaaaa0"
LIO_MODULES = ("configfs", "target_core_mod", "target_core_iblock", "iscsi_target_mod")
_CORE = f"/sys/kernel/config/target/core/iblock_0/{BACKSTORE}"
_TARGET = f"/sys/kernel/config/target/iscsi/{IQN}"
_TPG = f"{_TARGET}/tpgt_1"
# There when the LUN is.
LUN_PATH = f"{_TPG}/lun/lun_0"
# As the seed's resource agents have it: any initiator, no authentication, writable.
_START = f"""set -e
mkdir -p {_CORE} {_TPG}
echo udev_path=/dev/drbd0 > {_CORE}/control
echo /dev/drbd0 > {_CORE}/udev_path
echo 1 > {_CORE}/enable
echo {SERIAL} > {_CORE}/wwn/vpd_unit_serial
mkdir -p {_TPG}/lun/lun_0
ln -s {_CORE} {_TPG}/lun/lun_0/{BACKSTORE}
for portal in {' '.join(f'{vip}:3260' for vip in VIPS.values())}; do mkdir -p {_TPG}/np/$portal; done
echo 0 > {_TPG}/attrib/authentication
echo 0 > {_TPG}/attrib/demo_mode_write_protect
echo 1 > {_TPG}/attrib/generate_node_acls
echo 1 > {_TPG}/attrib/cache_dynamic_acls
echo 1 > {_TPG}/enable
"""
_STOP = f"""set -e
echo 0 > {_TPG}/enable
rm {_TPG}/lun/lun_0/{BACKSTORE}
rmdir {_TPG}/lun/lun_0 {_TPG}/np/* {_TPG} {_TARGET} {_CORE}
"""


def prepare_lio(node: Guest) -> None:
    """Modules and configfs; after every boot."""
    node.run(["modprobe", "-a", *LIO_MODULES])
    node.run("mountpoint -q /sys/kernel/config || mount -t configfs configfs /sys/kernel/config")


def start_lio(node: Guest) -> None:
    """Where DRBD is primary and both addresses are."""
    node.run(_START)


def stop_lio(node: Guest) -> None:
    node.run(_STOP)


def log_in(initiator: Initiator) -> None:
    """Two active paths, whoever serves."""
    initiator.login()
    initiator.wait_paths(2, 300)
    initiator.wait_map()


def log_out(initiator: Initiator) -> None:
    """Without the map: it queues for ever when its paths are gone."""
    initiator.run(["multipathd", "disablequeueing", "maps"], check=False)
    initiator.run(["iscsiadm", "--mode", "node", "-u"])
    # multipathd flushes a map without paths by itself; where something had it open a moment longer, it has to be told.
    initiator.run(["multipath", "-F"], check=False)
    eventually(lambda: not initiator.paths(), 60, f"the map of {initiator.name} is gone", 1)
    initiator.run(["multipathd", "restorequeueing", "maps"], check=False)


# --- Target and initiator in one machine, whose clock counts instructions.

ITGTD_CONFIG = f"""[[target]]
name = "{IQN}"
portals = ["{VIPS['enp0s8']}:3260", "{VIPS['enp0s9']}:3260"]

[[target.lun]]
path = "/dev/drbd0"
serial = "{SERIAL}"
product = "{BACKSTORE}"
"""
# Both sides of one device, on two RAM disks: (resource, minor, own port, the other one's).
_SIDES = (("r0", 0, 7788, 7789), ("r1", 1, 7789, 7788))
_DRBD_CONF = """global {{ usage-count no; }}
resource {resource} {{
  net {{ protocol C; ping-int 10; ping-timeout 100; }}
  device /dev/drbd{minor};
  disk /dev/ram{minor};
  meta-disk internal;
  on {name} {{ address 127.0.0.1:{port}; }}
  on other-side {{ address 127.0.0.1:{other}; }}
}}
"""


class Single(Initiator):
    """Initiator, target and both sides of DRBD. No CPU but its own and no network but lo have a part in what it does."""

    itgtd: Job | None = None

    def prepare(self, name: str = "") -> None:
        super().prepare(name)
        self.patient()
        self.run(["modprobe", "-a", "dummy", "drbd"])
        self.run(["modprobe", "brd", "rd_nr=2", f"rd_size={RAM_DISK_MIB << 10}"])
        for network, vip in VIPS.items():
            self.run(["ip", "link", "add", network, "type", "dummy"])
            self.run(["ip", "address", "add", f"{vip}/24", "dev", network])
            self.run(["ip", "link", "set", network, "up"])
        self.run(["mkdir", "-p", "/run/drbd", "/run/lock", "/run/itgtd"])
        self.write("/etc/itgtd/itgtd.toml", ITGTD_CONFIG)
        for resource, minor, port, other in _SIDES:
            text = _DRBD_CONF.format(resource=resource, minor=minor, name=self.name, port=port, other=other)
            self.write(f"/etc/drbd-{resource}.conf", text)
            self.drbdadm(resource, "create-md", "--force")
            eventually(lambda resource=resource: self.drbdadm(resource, "adjust"), 300, f"{resource} up", 1)
        eventually(lambda: self.read("/proc/drbd").count("cs:Connected") == 2, 300, "both sides connected", 1)
        self.run(["drbdadm", "-c", "/etc/drbd-r0.conf", "--", "--clear-bitmap", "new-current-uuid", "r0"])
        self.drbdadm("r0", "primary")
        prepare_lio(self)

    def drbdadm(self, resource: str, *words: str) -> Outcome:
        return self.run(["drbdadm", "-c", f"/etc/drbd-{resource}.conf", *words, resource], seconds=120)

    def start_itgtd(self) -> None:
        self.itgtd = self.start([f"{BUILD}/itgtd", "--config", "/etc/itgtd/itgtd.toml"], log="itgtd")
        eventually(lambda: self.run([f"{BUILD}/itgtctl", "status"], check=False).status == 0, 120, "itgtd answers", 1)

    def stop_itgtd(self) -> None:
        assert self.itgtd is not None
        self.itgtd.kill(15)
        self.itgtd.wait(300)
        self.itgtd = None


def single(build: pathlib.Path, folder: pathlib.Path) -> Single:
    version, kernel = image.kernel()
    machine = Machine("single", image.unpacked(build, version, kernel), image.initramfs(build, version), folder / "build", [],
                      memory_mb=1024 + 2 * RAM_DISK_MIB, counted=True)
    return Single(machine, folder)


TRACING = "/sys/kernel/tracing"
# Event and by what it is counted.
COUNTED = {
    "raw_syscalls/sys_enter": "keys=common_pid.execname,id.syscall",
    "sched/sched_switch": "keys=prev_comm",
    "io_uring/io_uring_queue_async_work": "keys=common_pid.execname",
}


class Counts:
    """System calls and switches by thread, and I/Os that io_uring gave to a kernel worker, from start() to stop()."""

    def __init__(self, node: Guest):
        self._node = node
        node.run(f"mountpoint -q {TRACING} || mount -t tracefs tracefs {TRACING}")

    def start(self) -> None:
        for event, keys in COUNTED.items():
            self._node.run(f"echo 'hist:{keys}' > {TRACING}/events/{event}/trigger")

    def stop(self) -> dict[str, float]:
        """Name and how often."""
        found: dict[str, float] = {}
        for event, keys in COUNTED.items():
            text = self._node.output(f"cat {TRACING}/events/{event}/hist; echo '!hist:{keys}' > {TRACING}/events/{event}/trigger")
            for line in text.splitlines():
                if match := re.match(r"\{ (.*) \} hitcount: +(\d+)", line):
                    name = f"{_KIND[event]} {_name(match.group(1))}"
                    found[name] = found.get(name, 0) + float(match.group(2))
        return found


_KIND = {"raw_syscalls/sys_enter": "system call", "sched/sched_switch": "switch from", "io_uring/io_uring_queue_async_work": "io_uring worker for"}


def _name(keys: str) -> str:
    """{ common_pid: itgtd-0 [ 917], id: sys_io_uring_enter [426] } without the numbers; a kernel worker's name without its own."""
    values = [re.sub(r" *\[ *\d+\]", "", key.split(":", 1)[1]).strip() for key in re.split(r", (?=id:)", keys)]
    values[0] = re.sub(r"^(kworker|iou-wrk|drbd_\w_\w+)[-/].*", r"\1", values[0])
    return ": ".join(value.removeprefix("sys_") for value in values)
