"""The harness's end of the agent in a guest (tests/lab/agent.cc has the protocol)."""

import pathlib
import shlex
import socket
import threading
import time
from dataclasses import dataclass

from lab.errors import LabError

COMMAND_SECONDS_MAX = 180.0
# Beyond a command's own limit, until the guest counts as not answering.
ANSWER_SECONDS = 20.0


@dataclass
class Outcome:
    """How a program ended. `status`: its exit status; 128 + the signal that ended it."""

    command: str
    status: int
    out: str
    err: str
    timed_out: bool = False

    @property
    def text(self) -> str:
        return (self.out + self.err).strip()


class Job:
    """A program that runs in a guest."""

    def __init__(self, agent: "Agent", number: int, command: str):
        self._agent = agent
        self._number = number
        self.command = command
        self.pid = 0
        self._started = threading.Event()
        self._done = threading.Event()
        self._outcome: Outcome | None = None

    def running(self) -> bool:
        return not self._done.is_set()

    def kill(self, signal: int) -> None:
        """To the program and its children."""
        self._agent.send("kill", self._number, number=signal)

    def wait_started(self) -> "Job":
        if not self._started.wait(ANSWER_SECONDS):
            raise LabError(f"{self._agent.name}: no answer to {self.command}")
        return self

    def wait(self, seconds: float = COMMAND_SECONDS_MAX) -> Outcome:
        if not self._done.wait(seconds):
            raise LabError(f"{self._agent.name}: {self.command}: still running after {seconds:g} s")
        assert self._outcome is not None
        return self._outcome

    def answered(self, kind: str, number: int, out: str, err: str) -> None:
        if kind == "started":
            self.pid = number
            self._started.set()
            return
        status = number if kind == "exited" else 127 if kind == "failed" else 128 + number
        self._outcome = Outcome(self.command, status, out, err, kind == "timeout")
        self._started.set()
        self._done.set()


class Agent:
    """One connection, for one life of the guest. Any thread."""

    def __init__(self, name: str, path: pathlib.Path):
        self.name = name
        self.hello = threading.Event()
        self.lost = threading.Event()
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX)
        self._lock = threading.Lock()
        self._jobs: dict[int, Job] = {}
        self._next = 1

    def connect(self, seconds: float) -> None:
        """QEMU makes the socket soon after it has started."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                self._socket.connect(str(self._path))
                break
            except OSError as error:
                if time.monotonic() > deadline:
                    raise LabError(f"{self.name}: no socket of the agent: {error}") from None
                time.sleep(0.02)
        threading.Thread(target=self._read, daemon=True, name=f"agent {self.name}").start()

    def close(self) -> None:
        self._socket.close()

    # --- What can be asked for.

    def start(self, command: str | list[str], stdin: bytes = b"", log: str = "", seconds: float = 0) -> Job:
        """A string is for a shell. `seconds`: it is killed after that; 0: never. `log`: a file in the guest for what it says."""
        words = ["/bin/sh", "-c", command] if isinstance(command, str) else command
        packed = b"".join(word.encode() + b"\0" for word in words)
        text = command if isinstance(command, str) else shlex.join(command)
        return self.send("run", 0, (packed, stdin, log.encode()), int(seconds * 1000), text)

    def write(self, path: str, content: bytes, mode: int) -> Outcome:
        return self.send("write", 0, (path.encode(), content, b""), mode, f"write {path}").wait(ANSWER_SECONDS)

    def read(self, path: str) -> Outcome:
        return self.send("read", 0, (path.encode(), b"", b""), 0, f"read {path}").wait(ANSWER_SECONDS)

    def send(self, verb: str, job_number: int, texts: tuple = (b"", b"", b""), number: int = 0, what: str = "") -> Job:
        with self._lock:
            job = Job(self, job_number or self._next, what)
            if not job_number:
                self._jobs[self._next] = job
                self._next += 1
            sizes = " ".join(str(len(text)) for text in texts)
            head = f"{verb} {job._number} {sizes} {number}\n".encode()
            try:
                self._socket.sendall(head + b"".join(texts))
            except OSError as error:
                job.answered("failed", 0, "", f"the guest is gone: {error}")
        if self.lost.is_set():
            job.answered("failed", 0, "", "the guest is gone")
        return job

    # --- What comes back.

    def _read(self) -> None:
        try:
            with self._socket.makefile("rb") as stream:
                while line := stream.readline():
                    kind, job_number, number, out_bytes, err_bytes = line.decode().split()
                    out = stream.read(int(out_bytes)).decode(errors="replace")
                    err = stream.read(int(err_bytes)).decode(errors="replace")
                    self._answer(kind, int(job_number), int(number), out, err)
        except (OSError, ValueError):
            pass
        self.lost.set()
        with self._lock:
            left, self._jobs = list(self._jobs.values()), {}
        for job in left:
            job.answered("failed", 0, "", "the guest is gone")

    def _answer(self, kind: str, job_number: int, number: int, out: str, err: str) -> None:
        if kind == "hello":
            self.hello.set()
            return
        with self._lock:
            job = self._jobs.get(job_number) if kind == "started" else self._jobs.pop(job_number, None)
        if job is not None:
            job.answered(kind, number, out, err)
