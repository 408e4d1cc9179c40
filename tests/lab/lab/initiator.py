"""The initiator: open-iscsi, dm-multipath and what runs on it."""

import json
import re

from lab.agent import Job
from lab.errors import LabError, eventually
from lab.guest import BUILD, Guest
from lab.targets import IQN, VIPS, WWID

MPATH = "/dev/mapper/mpatha"
ISCSID_CONF = """node.startup = manual
node.leading_login = No
node.session.timeo.replacement_timeout = 5
node.conn[0].timeo.login_timeout = 15
node.conn[0].timeo.logout_timeout = 15
node.conn[0].timeo.noop_out_interval = 2
node.conn[0].timeo.noop_out_timeout = 2
node.session.err_timeo.abort_timeout = 15
node.session.err_timeo.lu_reset_timeout = 30
node.session.err_timeo.tgt_reset_timeout = 30
node.session.initial_login_retry_max = 8
node.session.cmds_max = 128
node.session.queue_depth = 32
node.session.xmit_thread_priority = -20
node.session.iscsi.InitialR2T = No
node.session.iscsi.ImmediateData = Yes
node.session.iscsi.FirstBurstLength = 262144
node.session.iscsi.MaxBurstLength = 16776192
node.conn[0].iscsi.MaxRecvDataSegmentLength = 262144
node.session.nr_sessions = 1
node.session.reopen_max = 0
node.session.scan = auto
"""
MULTIPATH_CONF = """defaults {
  user_friendly_names yes
  find_multipaths no
  polling_interval 2
  max_polling_interval 4
}
blacklist {
  devnode "^(vd|drbd|sr|loop|ram)"
}
overrides {
  no_path_retry queue
  fast_io_fail_tmo 5
}
"""
# Rules of sg3-utils, a dozen shells for each disk: in an emulated machine that takes longer than multipathd waits for a uevent. What
# they find out, scsi_id of udev's own rules finds out too.
MASKED_RULES = ("55-scsi-sg3_id.rules", "58-scsi-sg3_symlink.rules")
MODULES = ("scsi_mod", "sd_mod", "iscsi_tcp", "dm_multipath", "dm_service_time", "scsi_dh_alua")


class Path:
    """A line of multipath -ll: a SCSI disk of the map."""

    def __init__(self, line: str, priority: int):
        words = re.sub(r"^[ |`+-]+", "", line).split()
        self.hctl, self.device, self.state = words[0], words[1], " ".join(words[3:6])
        self.priority = priority

    @property
    def active(self) -> bool:
        return self.state == "active ready running"

    def __repr__(self) -> str:
        return f"{self.device} {self.state} prio={self.priority}"


class Initiator(Guest):
    """A guest with an iscsid and a multipathd."""

    def prepare(self, name: str = "") -> None:
        self.write("/etc/iscsi/initiatorname.iscsi", f"InitiatorName={name or 'iqn.1993-08.org.debian:01:' + self.name}\n", 0o600)
        self.write("/etc/iscsi/iscsid.conf", ISCSID_CONF, 0o600)
        self.write("/etc/multipath.conf", MULTIPATH_CONF)
        self.run(["mkdir", "-p", "/run/lock/iscsi", "/run/udev", "/run/udev/rules.d"])
        for rules in MASKED_RULES:
            self.write(f"/run/udev/rules.d/{rules}", "")
        self.run(["modprobe", "-a", *MODULES])
        self.start(["/lib/systemd/systemd-udevd"], log="udevd")
        self.run(["udevadm", "trigger", "--type=all", "--action=add", "--subsystem-match=block", "--subsystem-match=misc"])
        self.start(["iscsid", "-f", "-d", "2"], log="iscsid")
        self.start(["multipathd", "-d", "-s"], log="multipathd")
        eventually(lambda: self.run(["multipathd", "show", "status"], check=False).status == 0, 60, f"multipathd of {self.name}")

    # --- iSCSI.

    def patient(self) -> None:
        """Sessions from now on are not given up for a late answer to a ping."""
        self.write("/etc/iscsi/iscsid.conf", ISCSID_CONF.replace("noop_out_interval = 2", "noop_out_interval = 0").replace(
            "noop_out_timeout = 2", "noop_out_timeout = 0"), 0o600)

    def discover(self, vip: str) -> list[str]:
        return self.output(["iscsiadm", "--mode", "discovery", "-t", "st", "-p", vip]).splitlines()

    def login(self, iqn: str = IQN, vips: tuple[str, ...] = tuple(VIPS.values())) -> None:
        """Discovers from the first and logs in to all of them."""
        self.discover(vips[0])
        for vip in vips:
            out = self.output(["iscsiadm", "--mode", "node", "-T", iqn, "-p", f"{vip}:3260", "-l"])
            if "successful" not in out:
                raise LabError(f"{self.name}: login at {vip}: {out}")

    def logout(self, iqn: str = IQN) -> None:
        self.run(["iscsiadm", "--mode", "node", "-T", iqn, "-u"])

    def sessions(self) -> list[str]:
        """As iscsiadm lists them."""
        return [line for line in self.run(["iscsiadm", "-m", "session"], check=False).out.splitlines() if line.startswith("tcp:")]

    # --- Multipath.

    def multipath(self) -> str:
        return self.output(["multipathd", "show", "topology"])

    def paths(self, wwid: str = WWID) -> list[Path]:
        """Of the map with that WWID; none: there is no such map."""
        found: list[Path] = []
        inside, priority = False, -1
        for line in self.multipath().splitlines():
            if re.match(r"\S+ (\(\S+\) )?dm-\d+", line):
                inside = f"({wwid})" in line
            elif inside and (match := re.search(r"prio=(-?\d+)", line)):
                priority = int(match.group(1))
            elif inside and re.match(r"^[ |`+-]+\d+:\d+:\d+:\d+ ", line):
                found.append(Path(line, priority))
        return found

    def wait_paths(self, count: int = 2, seconds: float = 60.0, wwid: str = WWID) -> list[Path]:
        """Until that many are active and ready, and no other one is."""
        def right() -> list[Path] | None:
            found = self.paths(wwid)
            if sum(path.active for path in found) != count:
                raise LabError(f"{found or self.multipath() or 'no map'}")
            return found

        return eventually(right, seconds, f"{count} active paths on {self.name}", 0.5)

    def wait_map(self, seconds: float = 60.0) -> None:
        eventually(lambda: self.run(["test", "-b", MPATH], check=False).status == 0, seconds, MPATH)

    # --- What runs on it.

    def make_filesystem(self, kind: str = "ext4", device: str = MPATH, mount: str = "/mnt") -> None:
        options = ["-F", "-q", "-E", "nodiscard"] if kind == "ext4" else ["-f", "-q", "-K"]
        self.run([f"mkfs.{kind}", *options, device], seconds=120)
        self.run(["modprobe", kind])
        self.run(["mount", "-t", kind, device, mount])

    def remount(self, device: str = MPATH, mount: str = "/mnt") -> None:
        """What is read from now on comes from the disk."""
        self.run(["umount", mount])
        self.run("echo 3 > /proc/sys/vm/drop_caches")
        self.run(["mount", device, mount])

    def write_files(self, folder: str = "/mnt", count: int = 8, kib: int = 1024) -> None:
        """Random content, durable; their checksums are in FOLDER/sums."""
        self.run(f"cd {folder} && for i in $(seq {count}); do dd if=/dev/urandom of=file-$i bs=64k count={kib // 64} conv=fsync 2>/dev/null; done"
                 f" && sha256sum file-* > sums && sync", seconds=180)

    def check_files(self, folder: str = "/mnt") -> None:
        self.run(f"cd {folder} && sha256sum --quiet -c sums", seconds=180)

    def failed_paths(self) -> int:
        """How often multipathd took a path out of use."""
        return len(re.findall(r"mark as failed|Failing path|path is down|checker timed out", self.log("multipathd")))

    def steady_io(self, seconds: float = 600.0, interval_ms: int = 5, device: str = MPATH, offset_bytes: int = 0) -> "SteadyIo":
        """On a device or in a file; 4 MiB of it from the offset on."""
        return SteadyIo(self, seconds, interval_ms, device, offset_bytes)

    def fio(self, name: str, *options: str, device: str = MPATH) -> Job:
        """Starts it; fio_result() has what it found. Options without the dashes."""
        words = [f"--{option}" for option in (f"name={name}", f"filename={device}", "direct=1", "output-format=json", *options)]
        return self.start(["fio", *words])


class SteadyIo:
    """itgt-steady-io: one write after another, each timed; at the end all of it is read back and compared."""

    _number = 0

    def __init__(self, initiator: Initiator, seconds: float, interval_ms: int, device: str, offset_bytes: int):
        SteadyIo._number += 1
        self.initiator = initiator
        self.log = f"steady-io-{SteadyIo._number}"
        words = [f"{BUILD}/tests/lab/itgt-steady-io", device, str(offset_bytes), str(int(seconds)), str(interval_ms)]
        self.job = initiator.start(words, log=self.log)
        self.wait_more(10)

    def writes(self) -> int:
        """How many have ended, some tenths of a second ago."""
        lines = [line for line in self.initiator.log(self.log).splitlines() if line.startswith("progress ")]
        return int(lines[-1].split()[1]) if lines else 0

    def wait_more(self, count: int = 10, seconds: float = 90.0) -> None:
        before = self.writes()
        eventually(lambda: self.writes() >= before + count, seconds, f"{count} writes after {before}", 0.2)

    def finish(self, seconds: float = 150.0, strict: bool = True) -> dict:
        """Ends it; no write may have been lost, and none may have failed. Not `strict`: that is for the caller to judge."""
        self.job.kill(15)
        self.job.wait(seconds)
        lines = self.initiator.log(self.log).splitlines()
        try:
            found = json.loads(lines[-1])
        except (IndexError, ValueError):
            raise LabError(f"itgt-steady-io ended without a result: {lines[-5:]}") from None
        if strict and (found["errors"] or found["lost"]):
            raise LabError(f"itgt-steady-io: {found['errors']} errors, {found['lost']} blocks lost: {found['said']}")
        return found


# Writes and, soon after, reads back and compares, until it is interrupted.
VERIFYING = ("rw=randwrite", "bs=4k", "size=32m", "iodepth=4", "ioengine=libaio", "rate_iops=60", "time_based", "verify=crc32c", "verify_backlog=64",
             "verify_fatal=1", "verify_state_save=0", "runtime=1800", "thread")


# How fio ends when it was interrupted.
_INTERRUPTED = 128


def fio_result(job: Job, seconds: float = 300.0, interrupt: bool = False) -> dict:
    """Its first job's part of the JSON; an error of fio's is one of the scenario's. `interrupt`: it is ended now."""
    if interrupt:
        job.kill(2)
    outcome = job.wait(seconds)
    start = outcome.out.find("{")
    if outcome.status not in ((0, _INTERRUPTED) if interrupt else (0,)) or start < 0:
        raise LabError(f"{outcome.command}: status {outcome.status}: {outcome.text[-1500:]}")
    found = json.loads(outcome.out[start:])["jobs"][0]
    if found["error"]:
        raise LabError(f"fio: error {found['error']}: {outcome.err[-1500:]}")
    return found
