"""CHAP in both directions, digests, IPv6 beside IPv4, 4096-byte blocks, discards down to the disk; the usual tools find nothing strange.

One node without a cluster: its disk is a sparse file of this machine's, so that it can be seen what a discard gives back.
"""

import re

from lab.errors import eventually
from lab.initiator import ISCSID_CONF, MPATH, fio_result
from lab.lab import DISK_BYTES
from lab.targets import DATA_NODES, IQN, NODES, in_parallel

SECONDS_MAX = 2400
NODE = DATA_NODES[0]
LAST = NODES[NODE]
ADDRESSES = [f"192.168.222.{LAST}", f"192.168.221.{LAST}", f"[fd00:222::{LAST}]", f"[fd00:221::{LAST}]"]
USER, SECRET = "tester", "one-way-secret-1"
MUTUAL_USER, MUTUAL_SECRET = "storage", "and-back-secret-2"
WRONG = "never-that-secret"
CONFIG = f"""[[target]]
name = "{IQN}"
portals = [{", ".join(f'"{address}"' for address in ADDRESSES)}]
header_digest = "required"
data_digest = "required"

[target.chap]
user = "{USER}"
secret_file = "/etc/itgtd/{USER}.secret"
mutual_user = "{MUTUAL_USER}"
mutual_secret_file = "/etc/itgtd/{MUTUAL_USER}.secret"

[[target.lun]]
path = "/dev/vda"
serial = "aaaaaaa0"
product = "p_iscsi_lun_0"
block_size = 4096
"""
INITIATOR_CONF = ISCSID_CONF + f"""node.session.auth.authmethod = CHAP
node.session.auth.username = {USER}
node.session.auth.password = {SECRET}
node.session.auth.username_in = {MUTUAL_USER}
node.session.auth.password_in = {MUTUAL_SECRET}
node.conn[0].iscsi.HeaderDigest = CRC32C
node.conn[0].iscsi.DataDigest = CRC32C
"""
BLOCK_BYTES = 4096
FILLER_MIB = 64
# What the tools say of a page or a command that they can't make sense of.
STRANGE = re.compile(r"malformed|too short|unexpected|unable to|[Ii]nvalid|[Ii]llegal|[Uu]nknown|could not|truncated|\?\?")
# sdparm asks for a page of each kind that it knows; a disk that lacks one is told of with this status, and with nothing else.
SDPARM_STATUS = 5


def run(lab):
    lab.also_prepare = prepare
    lab.config = CONFIG
    with lab.step("a node without a cluster, an initiator"):
        lab.build_machines()
        node, initiator = lab.guest(NODE), lab.initiator
        lab.boot([node, initiator])
        in_parallel(lab.prepare, [node, initiator])
        node.start_itgtd()
        eventually(lambda: initiator.discover(ADDRESSES[0]), 60, "the target is found")
    wrong_secrets(lab, node, initiator)
    four_paths(lab, node, initiator)
    pages(lab, initiator)
    discards(lab, node, initiator)
    verified(lab, initiator)
    with lab.step("no errors in the kernels' logs"):
        lab.expect_no_kernel_errors()


def prepare(guest):
    """Addresses and secrets."""
    for network in ("222", "221"):
        guest.run(["ip", "address", "add", f"fd00:{network}::{NODES.get(guest.name, 254)}/64", "dev", f"enp0s{8 if network == '222' else 9}", "nodad"])
    if guest.name == NODE:
        guest.write(f"/etc/itgtd/{USER}.secret", SECRET + "\n", 0o600)
        guest.write(f"/etc/itgtd/{MUTUAL_USER}.secret", MUTUAL_SECRET + "\n", 0o600)
    else:
        guest.write("/etc/iscsi/iscsid.conf", INITIATOR_CONF, 0o600)


def set_record(initiator, name, value):
    initiator.run(["iscsiadm", "-m", "node", "-T", IQN, "-o", "update", "-n", name, "-v", value])


def wrong_secrets(lab, node, initiator):
    login = ["iscsiadm", "-m", "node", "-T", IQN, "-p", f"{ADDRESSES[0]}:3260", "-l"]
    with lab.step("a wrong secret is refused, and the log says why"):
        set_record(initiator, "node.session.auth.password", WRONG)
        outcome = initiator.run(login, check=False, seconds=120)
        lab.expect(outcome.status == 24 and "authorization failure" in outcome.text, f"status {outcome.status}: {outcome.text}")
        said = node.log("itgtd")
        lab.expect("login failed: the CHAP name or response is wrong" in said, said)
        lab.expect(WRONG not in said and SECRET not in said, "a secret is in the log")
        set_record(initiator, "node.session.auth.password", SECRET)
    with lab.step("an initiator that expects another secret of the target goes away"):
        set_record(initiator, "node.session.auth.password_in", WRONG)
        outcome = initiator.run(login, check=False, seconds=120)
        lab.expect(outcome.status == 19, f"status {outcome.status}: {outcome.text}")
        lab.expect("received incorrect CHAP response from target" in initiator.log("iscsid"), initiator.log("iscsid"))
        lab.expect(not initiator.sessions(), "there is a session")
        set_record(initiator, "node.session.auth.password_in", MUTUAL_SECRET)


def four_paths(lab, node, initiator):
    with lab.step("CHAP in both directions, digests, IPv4 and IPv6: four paths of one disk with 4096-byte blocks"):
        found = initiator.discover(ADDRESSES[0])
        lab.expect(len(found) == len(ADDRESSES) and all(line.endswith(f":3260,1 {IQN}") for line in found), f"{found}")
        initiator.login(vips=tuple(ADDRESSES))
        initiator.wait_paths(len(ADDRESSES), seconds=300)
        initiator.wait_map()
        said = initiator.output(["iscsiadm", "-m", "session", "-P", "2"])
        for what in ("HeaderDigest: CRC32C", "DataDigest: CRC32C"):
            lab.expect(said.count(what) == len(ADDRESSES), f"{what}: {said}")
        lab.expect(initiator.output(["blockdev", "--getss", "--getpbsz", MPATH]).split() == ["4096", "4096"], "the map's blocks")


def pages(lab, initiator):
    """What the tools read is whole, and the same facts are the same wherever they are told."""
    device = initiator.paths()[0].device
    with lab.step("sg_vpd, sg_inq, sg_readcap: identity, limits, capacity"):
        vpd = asked(lab, initiator, "sg_vpd", "--all", f"/dev/{device}")
        listed = re.findall(r"\[(\w+)\]$", vpd.split("\n\n")[0], re.MULTILINE)
        lab.expect(listed == ["sv", "sn", "di", "ei", "mpp", "sp", "tpc", "bl", "bdc", "lbpv"], f"{listed}")
        lab.expect(len(re.findall(r"VPD page.*:$", vpd, re.MULTILINE)) == len(listed), f"a page is listed and not there:\n{vpd}")
        told(lab, vpd, "Unit serial number: aaaaaaa0", "      0x6001405aaaaaaa000000000000000000", "vendor id: LIO-ORG", f"{IQN},t,0x0001",
             "Relative target port: 0x1", "Maximum transfer length: 2048 blocks", "Maximum compare and write length: 255 blocks",
             "Maximum unmap LBA count: 1048576", "Unmap command supported (LBPU): 1", "Write same (16) with unmap bit supported (LBPWS): 1",
             "Write same (10) with unmap bit supported (LBPWS10): 1", "Logical block provisioning read zeros (LBPRZ): 1",
             "Provisioning type: 2 (thin provisioned)", "FUAB=1")
        inquiry = asked(lab, initiator, "sg_inq", f"/dev/{device}")
        told(lab, inquiry, "PDT=0", "version=0x06  [SPC-4]", "TPGS=3", "3PC=1", "CmdQue=1", "Protect=0", "Product identification: p_iscsi_lun_0")
        capacity = asked(lab, initiator, "sg_readcap", "--long", f"/dev/{device}")
        told(lab, capacity, "prot_en=0", "lbpme=1, lbprz=1", f"Number of logical blocks={DISK_BYTES // BLOCK_BYTES}\n",
             f"Logical block length={BLOCK_BYTES} bytes", "Logical blocks per physical block exponent=0", f"Device size: {DISK_BYTES} bytes")
        told(lab, asked(lab, initiator, "sg_rtpg", "--decode", f"/dev/{device}"), "0x00 (active/optimized)")
    with lab.step("the kernel's view of the disk is what the pages promise"):
        wanted = {"logical_block_size": BLOCK_BYTES, "physical_block_size": BLOCK_BYTES, "discard_granularity": BLOCK_BYTES,
                  "discard_max_bytes": 1048576 * BLOCK_BYTES, "write_cache": "write back", "fua": 1, "rotational": 0}
        for name, value in wanted.items():
            found = initiator.read(f"/sys/block/{device}/queue/{name}").strip()
            lab.expect(found == str(value), f"{name} is {found}, not {value}")
    with lab.step("sdparm, sg_modes: mode pages"):
        modes = asked(lab, initiator, "sdparm", "--all", "--long", f"/dev/{device}", status=SDPARM_STATUS)
        told(lab, modes, "WP=0  DPOFUA=1", "Read write error recovery", "Caching (SBC)", "Control [co]", "Control extension", "Informational exceptions")
        lab.expect(set(re.findall(r"^  (\w+) +1  ", modes, re.MULTILINE)) == {"WCE", "GLTSD", "QAM", "TCMOS", "SCSIP", "DEXCPT"}, modes)
        changeable = set(re.findall(r"^  (\w+) +\d+  \[cha: y", modes, re.MULTILINE))
        lab.expect(changeable == {"WCE", "D_SENSE", "SWP", "EWASC", "DEXCPT", "TEST", "MRIE", "REPC"}, f"changeable: {changeable}")
        told(lab, asked(lab, initiator, "sg_modes", "--all", f"/dev/{device}"), "WP=0, DpoFua=1", f" 00     00 02 00 00 00 00 {BLOCK_BYTES >> 8:02x} 00")
    with lab.step("sg_logs: the pages agree with each other"):
        logs = asked(lab, initiator, "sg_logs", "--all", f"/dev/{device}")
        told(lab, logs, *(f"{page}  [" for page in ("Supported log pages", "Write error counter page", "Read error counter page", "Temperature page",
                          "Start-stop cycle counter page", "General Statistics and Performance", "Informational Exceptions page")), "IE asc = 0x0, ascq = 0x0")
        lab.expect(re.findall(r"Total uncorrected errors = (\d+)", logs) == ["0", "0"], logs)
        read_bytes = int(re.findall(r"Total bytes processed = (\d+)", logs)[1])
        read_blocks = int(re.findall(r"number of logical blocks transmitted = (\d+)", logs)[0])
        lab.expect(0 < read_bytes <= read_blocks * BLOCK_BYTES, f"read: {read_bytes} bytes in one page, {read_blocks} blocks in the next one")
    with lab.step("sg_opcodes: every command has a name and a usage that begins with its code"):
        commands = asked(lab, initiator, "sg_opcodes", "--mask", f"/dev/{device}")
        rows = re.findall(r"^ ([0-9a-f]{2}) [^\n]*?\d,\d    ([^\n]*)\n +cdb usage: ([0-9a-f]{2}) ", commands, re.MULTILINE)
        lab.expect(len(rows) > 60 and len(rows) == commands.count("cdb usage:"), commands)
        for code, name, usage in rows:
            lab.expect(name.strip() != "" and code == usage, f"{code}: {name}: usage {usage}")


def asked(lab, initiator, *words, status=0):
    outcome = initiator.run(list(words), check=False)
    lab.expect(outcome.status == status and not outcome.err.strip(), f"{' '.join(words)}: status {outcome.status}: {outcome.text}")
    if strange := [line for line in outcome.out.splitlines() if STRANGE.search(line)]:
        lab.expect(False, f"{' '.join(words)}: {strange}")
    return outcome.out


def told(lab, text, *parts):
    missing = [part for part in parts if part not in text]
    lab.expect(not missing, f"{missing} is not in\n{text}")


def discards(lab, node, initiator):
    """fstrim of a mounted file system."""
    disk = node.machine.disks[0]
    with lab.step(f"fstrim gives {FILLER_MIB} MiB back to the disk"):
        initiator.make_filesystem()
        initiator.write_files(count=4)
        initiator.run(["dd", "if=/dev/urandom", "of=/mnt/filler", "bs=1M", f"count={FILLER_MIB}", "conv=fsync"], seconds=300)
        before = disk.stat().st_blocks * 512
        initiator.run("rm /mnt/filler && sync")
        initiator.run(["fstrim", "-v", "/mnt"], seconds=180)
        initiator.run(["blockdev", "--flushbufs", MPATH])
        after = disk.stat().st_blocks * 512
        lab.expect(before - after >= FILLER_MIB << 20, f"allocated before {before} bytes, after {after}")
        initiator.remount()
        initiator.check_files()
        initiator.run(["umount", "/mnt"])


def verified(lab, initiator):
    for engine in ("libaio", "io_uring"):
        with lab.step(f"fio verifies, {engine}"):
            found = fio_result(initiator.fio(engine, f"ioengine={engine}", "rw=randrw", "bs=4k-64k", "size=16m", "iodepth=16", "verify=crc32c",
                                             "verify_fatal=1", "do_verify=1", "verify_state_save=0"), seconds=600)
            lab.expect(found["write"]["total_ios"] > 0 and found["read"]["total_ios"] > 0, f"{found}")
