"""What the scenarios of faults share: a cluster that is written to, packets that are dropped, and what must hold afterwards."""

import contextlib
import json

from lab.errors import LabError, eventually
from lab.guest import Guest
from lab.initiator import MPATH
from lab.targets import DRBD_PORT, GROUP, NODES, RESOURCE, TargetNode

OFFSET_BYTES = 256 << 20
# A part of the disk that only marks are in.
MARK_OFFSET_MIB = 300
COROSYNC_PORT = 5405


@contextlib.contextmanager
def written(lab, what: str):
    """Within, the disk is written to; afterwards no write has failed, none is lost, and the kernel of the initiator is content."""
    steady = lab.initiator.steady_io(seconds=1500, offset_bytes=OFFSET_BYTES)
    yield steady
    steady.wait_more()
    lab.initiator.wait_paths(2, seconds=120)
    lab.verify_steady(steady, what)
    with lab.step("no errors in the initiator's kernel log"):
        lab.expect_no_kernel_errors(lab.initiator)


# --- Packets.

def drop(guest: Guest, *matches: str) -> None:
    """Packets that match are dropped on their way in and out, until heal()."""
    rules = "\n".join(f"    {match} drop" for match in matches)
    chains = "\n".join(f"  chain {hook} {{\n    type filter hook {hook} priority -200;\n{rules}\n  }}" for hook in ("input", "output"))
    guest.write("/run/lab/cut.nft", f"table inet cut {{\n{chains}\n}}\n")
    guest.run(["nft", "-f", "/run/lab/cut.nft"])


def drop_drbd(node: TargetNode) -> None:
    drop(node, f"tcp dport {DRBD_PORT}", f"tcp sport {DRBD_PORT}")


def drop_corosync(node: TargetNode) -> None:
    drop(node, f"udp dport {COROSYNC_PORT}", f"udp sport {COROSYNC_PORT}")


def heal(guest: Guest) -> None:
    guest.run(["nft", "delete", "table", "inet", "cut"])


# --- What must hold.

def serves(node: TargetNode) -> bool:
    """As the node itself says."""
    return any(found["node"] == node.name and found.get("phase") == "active" for found in node.group().get("nodes", []))


def expect_alone(lab, owner: TargetNode, seconds: float = 30.0) -> None:
    """Nobody else serves, and soon nobody else has an address either."""
    for node in lab.nodes:
        lab.expect(node is owner or not node.powered() or not serves(node), f"{node.name} serves besides {owner.name}")

    def alone() -> bool:
        others = {name: vips for name, vips in lab.vip_holders().items() if name != owner.name and vips}
        if others:
            raise LabError(f"besides {owner.name} there are addresses on {others}")
        return True

    eventually(alone, seconds, f"the addresses are on {owner.name} alone", 0.2)


def expect_passive(lab, node: TargetNode, seconds: float = 120.0) -> None:
    """It is back: Secondary, in sync with the owner, without addresses; nothing was declared a split brain."""
    eventually(lambda: node.drbd().get("ro") == "Secondary/Primary", seconds, f"DRBD of {node.name} is the Secondary of the owner")
    lab.wait_in_sync(seconds)
    lab.expect(not lab.vip_holders()[node.name], f"{node.name} has addresses")
    lab.expect(not serves(node), f"{node.name} serves")
    eventually(lambda: candidate(lab, node)["storage"] == "usable", 60, f"{node.name} could take over")


def candidate(lab, node: TargetNode) -> dict:
    """What `itgtctl why` says of it."""
    found = json.loads(lab.itgtctl("--json", "why", GROUP))
    return next(one for one in found["candidates"] if one["node"] == node.name)


# --- Marks: what must be there later, whoever serves then.

def write_mark(lab, kib: int = 512) -> None:
    """Random bytes, on the disk when this returns."""
    lab.initiator.run(["dd", "if=/dev/urandom", "of=/run/lab/mark", "bs=1k", f"count={kib}"])
    lab.initiator.run(["dd", "if=/run/lab/mark", f"of={MPATH}", "bs=64k", f"seek={MARK_OFFSET_MIB * 16}", "oflag=direct", "conv=fsync,notrunc"])


def read_mark(lab, kib: int = 512) -> None:
    lab.initiator.run(["dd", f"if={MPATH}", "of=/run/lab/read", "bs=64k", f"skip={MARK_OFFSET_MIB * 16}", f"count={kib // 64}", "iflag=direct"],
                      seconds=120)
    lab.initiator.run(["cmp", "/run/lab/mark", "/run/lab/read"])


# --- Disks.

def put_dm_below(lab, node: TargetNode) -> None:
    """A linear map between DRBD and the disk of a Secondary, which break_disk() can change."""
    sectors = node.output(["blockdev", "--getsz", "/dev/vda"]).strip()
    node.run(["modprobe", "dm_mod"])
    node.run(["drbdadm", "detach", RESOURCE])
    node.write("/run/lab/linear", f"0 {sectors} linear /dev/vda 0\n")
    node.run(["dmsetup", "--noudevsync", "create", "data", "/run/lab/linear"])
    node.write("/etc/drbd.conf", node.read("/etc/drbd.conf").replace("disk /dev/vda;", "disk /dev/mapper/data;"))
    node.run(["drbdadm", "attach", RESOURCE])
    lab.wait_in_sync()


def break_disk(node: TargetNode) -> None:
    """From now on every I/O of it fails."""
    sectors = node.output(["blockdev", "--getsz", "/dev/vda"]).strip()
    _load(node, f"0 {sectors} error\n")


def mend_disk(node: TargetNode) -> None:
    sectors = node.output(["blockdev", "--getsz", "/dev/vda"]).strip()
    _load(node, f"0 {sectors} linear /dev/vda 0\n")


def _load(node: TargetNode, table: str) -> None:
    node.write("/run/lab/table", table)
    node.run(["dmsetup", "--noudevsync", "suspend", "--noflush", "--nolockfs", "data"])
    node.run(["dmsetup", "--noudevsync", "load", "data", "/run/lab/table"])
    node.run(["dmsetup", "--noudevsync", "resume", "data"])


def others_of(node: TargetNode) -> list[str]:
    """Last numbers of the addresses of the other nodes."""
    return [str(last) for name, last in NODES.items() if name != node.name]
