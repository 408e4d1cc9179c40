"""An emulated machine: QEMU without acceleration, a Debian kernel, this machine's root."""

import json
import pathlib
import re
import socket
import subprocess
import time
from dataclasses import dataclass, field

from lab import process
from lab.agent import COMMAND_SECONDS_MAX, Agent, Job, Outcome
from lab.errors import LabError
from lab.network import Network

BOOT_SECONDS_MAX = 300.0
# Where a guest has the build folder and where the logs of what runs in it are.
BUILD = "/run/lab/build"
LOGS = "/run/lab"
# The kernel tests its ciphers, measures its clocks and zeroes what it allocates: long work for an emulated CPU, and clocks that
# were measured while the machine was busy are wrong.
KERNEL_OPTIONS = ("console=ttyS0", "loglevel=5", "panic=-1", "net.ifnames=0", "mitigations=off", "nokaslr", "random.trust_cpu=on",
                  "cryptomgr.notests", "pci=noacpi", "init_on_alloc=0", "no_timer_check", "rcupdate.rcu_cpu_stall_timeout=300", "audit=0")
_PANIC = re.compile(r"Kernel panic|---\[ end Kernel|Oops:|BUG: |Attempted to kill init")
# What the kernel says when something is wrong with it or with its disks. A path that fails is no such thing: device mapper sends what
# was on it down another one; so lines about sdX are left out unless they tell what the target said.
_KERNEL_ERROR = re.compile(
    r"I/O error, dev (?!sd)|Buffer I/O|EXT4-fs (error|warning)|XFS \(.*\): .*([Ee]rror|[Cc]orruption|shut)|JBD2: .*[Ee]rror|Aborting journal|"
    r"blocked for more than|BUG:|WARNING:|Oops|Call Trace|detected stall|soft lockup|"
    r"Sense Key : (Medium Error|Hardware Error|Illegal Request|Data Protect|Aborted Command)",
)


def _tsc_option() -> list[str]:
    """An emulated CPU's time stamp counter is the real one's, whose frequency this machine's kernel knows. Nothing else that a guest could
    compare it with goes right on a busy machine, where ticks are lost."""
    found = re.search(r"^cpu MHz\s*: (\d+)\.(\d{3})", pathlib.Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return [f"tsc_early_khz={found.group(1)}{found.group(2)}", "tsc=reliable"] if found else []


@dataclass
class Nic:
    """An interface of a guest; named as its network is."""

    network: Network
    mac: str
    address: str  # with the prefix

    @property
    def name(self) -> str:
        return self.network.name


@dataclass
class Machine:
    """What a guest is made of."""

    name: str
    kernel: pathlib.Path
    initramfs: pathlib.Path
    build: pathlib.Path  # the programs that were built; in the guest at BUILD
    nics: list[Nic]
    disks: list[pathlib.Path] = field(default_factory=list)
    memory_mb: int = 512
    cpus: int = 1
    # Its clock is what it has executed, 1 ns for each instruction: what runs in it alone takes as long on a busy machine as on an idle one.
    counted: bool = False


class Guest:
    """Its disks outlive its power. Everything but boot() from any thread."""

    def __init__(self, machine: Machine, folder: pathlib.Path):
        self.machine = machine
        self.name = machine.name
        self.folder = folder / machine.name
        self.folder.mkdir(parents=True)
        self.console_path = self.folder / "console.log"
        self._life = 0
        self._qemu: subprocess.Popen | None = None
        self._agent: Agent | None = None

    # --- Power.

    def boot(self) -> None:
        """Switches it on; wait_up() waits. From the main thread."""
        self._life += 1
        self._agent = Agent(self.name, self._socket_path("agent"))
        self._qemu = process.spawn(self._command(), self.folder / "qemu.log")
        self._agent.connect(30)

    def wait_up(self, seconds: float = BOOT_SECONDS_MAX) -> None:
        deadline = time.monotonic() + seconds
        while not self.agent.hello.wait(0.1):
            self.check_alive()
            if time.monotonic() > deadline:
                raise LabError(f"{self.name} did not boot within {seconds:g} s; its console:\n{self.console()[-3000:]}")

    def cut_power(self) -> None:
        """As pulling the plug: what was not on its disks is gone."""
        process.end(self._qemu)
        self._qemu = None
        if self._agent is not None:
            self._agent.lost.set()
            self._agent.close()

    def powered(self) -> bool:
        return self._qemu is not None and self._qemu.poll() is None

    def hang(self) -> None:
        """Every CPU stops, until resume()."""
        self.qmp("stop")

    def resume(self) -> None:
        self.qmp("cont")

    def set_link(self, network: str, up: bool) -> None:
        self.qmp("set_link", name=network, up=up)

    # --- What runs in it.

    @property
    def agent(self) -> Agent:
        if self._agent is None:
            raise LabError(f"{self.name} was never switched on")
        return self._agent

    def run(self, command: str | list[str], check: bool = True, seconds: float = COMMAND_SECONDS_MAX, stdin: bytes = b"") -> Outcome:
        """Runs it and waits. A string is for a shell. `check`: a status other than 0 is an error."""
        outcome = self.agent.start(command, stdin=stdin, seconds=seconds).wait(seconds + 30)
        if outcome.timed_out or (check and outcome.status):
            self.check_alive()
            how = f"not done after {seconds:g} s" if outcome.timed_out else f"status {outcome.status}"
            raise LabError(f"{self.name}: {outcome.command}: {how}: {outcome.text[-2000:]}")
        return outcome

    def output(self, command: str | list[str], **options) -> str:
        return self.run(command, **options).out

    def start(self, command: str | list[str], log: str = "", seconds: float = 0) -> Job:
        """Starts it and does not wait for its end; `log`: name of a file that is kept with the logs."""
        return self.agent.start(command, log=f"{LOGS}/{log}.log" if log else "", seconds=seconds).wait_started()

    def write(self, path: str, content: str, mode: int = 0o644) -> None:
        outcome = self.agent.write(path, content.encode(), mode)
        if outcome.status:
            raise LabError(f"{self.name}: {outcome.text}")

    def read(self, path: str) -> str:
        """Empty when there is no such file."""
        return self.agent.read(path).out

    def log(self, name: str) -> str:
        return self.read(f"{LOGS}/{name}.log")

    def addresses(self, interface: str = "") -> set[str]:
        """IPv4 and IPv6, without prefixes."""
        command = ["ip", "-o", "address", "show", *(["dev", interface] if interface else [])]
        return {line.split()[3].split("/")[0] for line in self.output(command).splitlines()}

    def kernel_log(self) -> str:
        return self.output(["dmesg"])

    def kernel_errors(self) -> list[str]:
        """Lines of the kernel's log that nobody wants to see."""
        return [line for line in self.kernel_log().splitlines() if _KERNEL_ERROR.search(line)]

    # --- How it is.

    def console(self) -> str:
        return self.console_path.read_text(errors="replace") if self.console_path.exists() else ""

    def panicked(self) -> str:
        """The console from where the kernel gave up; empty: it did not."""
        text = self.console()
        found = _PANIC.search(text)
        return text[max(0, found.start() - 2000) :] if found else ""

    def check_alive(self) -> None:
        if panic := self.panicked():
            raise LabError(f"the kernel of {self.name} gave up:\n{panic[:6000]}")
        if not self.powered():
            said = (self.folder / "qemu.log").read_text(errors="replace")[-2000:]
            raise LabError(f"{self.name} is off; QEMU said:\n{said}\nits console:\n{self.console()[-2000:]}")

    def keep_logs(self, to: pathlib.Path) -> None:
        """Console, kernel log and whatever is in /run/lab; of a guest that is off only the console."""
        to.mkdir(parents=True, exist_ok=True)
        for path in (self.console_path, self.folder / "qemu.log"):
            if path.exists():
                (to / path.name).write_bytes(path.read_bytes())
        if not self.powered() or self.agent.lost.is_set():
            return
        try:
            (to / "dmesg.log").write_text(self.output(["dmesg", "-T"], seconds=20))
            for path in self.output(f"ls {LOGS}/*.log 2>/dev/null || true", seconds=20).split():
                (to / pathlib.Path(path).name).write_text(self.read(path))
        except LabError as error:
            (to / "incomplete.log").write_text(f"{error}\n")

    def qmp(self, command: str, **arguments) -> dict:
        """A command of QEMU's monitor."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(20)
            connection.connect(str(self._socket_path("qmp")))
            stream = connection.makefile("rw")
            stream.readline()  # its greeting
            answer: dict = {}
            for request in ({"execute": "qmp_capabilities"}, {"execute": command, "arguments": arguments}):
                stream.write(json.dumps(request) + "\n")
                stream.flush()
                answer = json.loads(stream.readline())
                while "event" in answer:
                    answer = json.loads(stream.readline())
            if "error" in answer:
                raise LabError(f"{self.name}: QEMU: {command}: {answer['error'].get('desc')}")
            return answer

    # --- QEMU.

    def _socket_path(self, kind: str) -> pathlib.Path:
        return self.folder / f"{kind}-{self._life}"

    def _command(self) -> list[str]:
        machine = self.machine
        nics = ";".join(f"{nic.name},{nic.mac},{nic.address}" for nic in machine.nics)
        words = [*KERNEL_OPTIONS, *([] if machine.counted else _tsc_option()), f"lab_name={self.name}", f"lab_build={machine.build}",
                 f'"lab_nics={nics}"']
        command = [
            "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
            "-machine", "pc,hpet=off",
            *(["-accel", "tcg,thread=single,tb-size=256", "-icount", "shift=0"] if machine.counted else ["-accel", "tcg,thread=multi,tb-size=256"]),
            "-cpu", "max,la57=off", "-smp", str(machine.cpus), "-m", str(machine.memory_mb),
            "-kernel", str(machine.kernel), "-initrd", str(machine.initramfs), "-append", " ".join(words),
            "-chardev", f"file,id=console,path={self.console_path},append=on", "-serial", "chardev:console",
            "-qmp", f"unix:{self._socket_path('qmp')},server=on,wait=off",
            "-fsdev", "local,id=root,path=/,security_model=none,readonly=on,multidevs=remap",
            "-device", "virtio-9p-pci,fsdev=root,mount_tag=root",
            "-chardev", f"socket,id=agent,path={self._socket_path('agent')},server=on,wait=off",
            "-device", "virtio-serial-pci", "-device", "virtserialport,chardev=agent,name=itgt.lab",
            "-object", "rng-random,id=rng,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=rng",
        ]
        for number, disk in enumerate(machine.disks):
            command += ["-drive", f"file={disk},if=none,id=disk{number},format=raw,cache=writeback,discard=unmap",
                        "-device", f"virtio-blk-pci,drive=disk{number},serial=disk{number}"]
        for nic in machine.nics:
            command += ["-netdev", f"vde,id={nic.name},sock={nic.network.socket}",
                        "-device", f"virtio-net-pci,netdev={nic.name},mac={nic.mac}"]
        return command

    def __repr__(self) -> str:
        return f"<{self.name}>"

