"""The disk grows while a file system on it is in use: backing disk, DRBD, LUN, paths, map, file system; then failovers.

Each step is what an administrator does, in that order, and no file system is unmounted, no session logged out.
"""

from lab.errors import eventually
from lab.initiator import MPATH
from lab.lab import DISK_BYTES
from lab.targets import IQN, RESOURCE

GROWN_BYTES = DISK_BYTES + (256 << 20)
# What DRBD's metadata at the end of the disk takes, at most.
METADATA_BYTES_MAX = 1 << 20
SECONDS_MAX = 2400


def run(lab):
    lab.up_with_paths()
    initiator = lab.initiator
    with lab.step("a file system, files with checksums"):
        initiator.make_filesystem()
        initiator.write_files()
        steady = initiator.steady_io(device="/mnt/steady")
    before = bytes_of(initiator, MPATH)
    owner = lab.owner()
    the_target_grows(lab, owner)
    grown = bytes_of(owner, "/dev/drbd0")
    lab.expect(GROWN_BYTES - METADATA_BYTES_MAX <= grown < GROWN_BYTES, f"DRBD grew to {grown} bytes")
    the_initiator_is_told(lab, grown)
    the_map_and_the_file_system_grow(lab, before, grown)
    steady.wait_more()
    with lab.step("files beyond the old end"):
        initiator.run(["mkdir", "/mnt/beyond"])
        initiator.run(["fallocate", "-l", "380M", "/mnt/filler"])
        initiator.write_files("/mnt/beyond", count=4)
    with lab.step("a planned move"):
        to = lab.other(lab.owner())
        lab.wait_in_sync()
        lab.move(to)
        steady.wait_more()
        initiator.wait_paths(2)
        same_size(lab, to, grown)
    with lab.step(f"{to.name} loses its power"):
        to.cut_power()
        lab.wait_served(not_on=to)
        steady.wait_more()
        initiator.wait_paths(2)
        same_size(lab, lab.owner(), grown)
    lab.verify_steady(steady, "growth, a move, a power cut")
    with lab.step("everything read back and compared"):
        initiator.run("echo 3 > /proc/sys/vm/drop_caches")
        initiator.run("cd /mnt && sha256sum --quiet -c sums && cd beyond && sha256sum --quiet -c sums", seconds=180)
        initiator.run(["umount", "/mnt"])
        initiator.run(["e2fsck", "-f", "-n", MPATH], seconds=180)
    with lab.step("no errors in the kernels' logs"):
        lab.expect_no_kernel_errors()


def the_target_grows(lab, owner):
    with lab.step("the backing disks and DRBD grow"):
        for node in lab.data_nodes:
            node.qmp("block_resize", device="disk0", size=GROWN_BYTES)
            eventually(lambda node=node: bytes_of(node, "/dev/vda") == GROWN_BYTES, 30, f"the disk of {node.name} has grown")
        # New space is zero on both.
        owner.run(["drbdadm", "--", "--assume-clean", "resize", RESOURCE])
        lab.wait_in_sync()
    with lab.step("itgtd sees it by itself"):
        eventually(lambda: f"{IQN} LUN 0: the size changed" in owner.log("itgtd"), 60, "itgtd logs the new size")


def the_initiator_is_told(lab, grown):
    """The unit attention comes with the next command of each path; what the kernel does with it is a line in its log."""
    initiator = lab.initiator
    with lab.step("CAPACITY DATA HAS CHANGED on both paths; a rescan sees the new size"):
        devices = [path.device for path in initiator.wait_paths(2)]
        eventually(lambda: initiator.kernel_log().count("Capacity data has changed") >= 2, 60, "both paths are told of the new capacity")
        initiator.run(["iscsiadm", "-m", "session", "--rescan"])
        for device in devices:
            eventually(lambda device=device: bytes_of(initiator, f"/dev/{device}") == grown, 60, f"{device} has {grown} bytes")


def the_map_and_the_file_system_grow(lab, before, grown):
    initiator = lab.initiator
    with lab.step("the map and the file system grow"):
        lab.expect(bytes_of(initiator, MPATH) == before, "the map grew before it was told to")
        initiator.run(["multipathd", "resize", "map", "mpatha"])
        lab.expect(bytes_of(initiator, MPATH) == grown, f"mpatha: {bytes_of(initiator, MPATH)} bytes, the disk {grown}")
        files_before = filesystem_bytes(initiator)
        initiator.run(["resize2fs", MPATH], seconds=180)
        added = filesystem_bytes(initiator) - files_before
        lab.expect(added > (GROWN_BYTES - DISK_BYTES) * 0.9, f"the file system grew by {added} bytes")


def same_size(lab, node, size_bytes):
    """The new owner serves what the old one did."""
    lab.expect(bytes_of(node, "/dev/drbd0") == size_bytes, f"DRBD of {node.name}: {bytes_of(node, '/dev/drbd0')} bytes")
    device = lab.initiator.paths()[0].device
    said = lab.initiator.output(["sg_readcap", "--long", f"/dev/{device}"])
    lab.expect(f"Device size: {size_bytes} bytes" in said, said)


def bytes_of(guest, device):
    return int(guest.output(["blockdev", "--getsize64", device]))


def filesystem_bytes(guest):
    return int(guest.output(["stat", "-f", "-c", "%b", "/mnt"])) * int(guest.output(["stat", "-f", "-c", "%S", "/mnt"]))
