"""The same blocks from several sessions on both workers: what must be true of them whatever the order. See races.cc."""

import os
import pathlib
import subprocess

from harness import daemon as daemons
from harness.case import IQN, Case, text

SKIPPED = 77
SECONDS = float(os.environ.get("ITGT_RACE_SECONDS", "1.5"))
LUNS = {
    "memory": 'path = "ram:64M"\nserial = "aaaaaaa0"',
    "file": 'path = "{folder}/disk"\ncreate = "64M"\nserial = "aaaaaaa1"',
    "4096": 'path = "{folder}/disk-4096"\ncreate = "64M"\nblock_size = 4096\nserial = "aaaaaaa2"',
}


class Concurrency(Case):
    seconds_max = 120

    def setUp(self) -> None:
        super().setUp()
        self.races = pathlib.Path(os.environ.get("ITGT_RACES", pathlib.Path(daemons.binary()).parent / "tests/system/itgt-races"))
        if not self.races.exists():
            self.skipTest(f"{self.races} is not built")
        luns = [keys.replace("{folder}", str(self.folder.path)) for keys in LUNS.values()]
        self.itgtd, *self.portals = self.serve(luns, portals=2, workers=2, log_level="info")

    def race(self, scenario: str) -> None:
        absent = ""
        for lun, kind in enumerate(LUNS):
            with self.subTest(kind):
                urls = [f"iscsi://{text(address)}/{IQN}/{lun}" for address in self.portals]
                done = subprocess.run([self.races, scenario, str(SECONDS), *urls], stdin=subprocess.DEVNULL,
                                      capture_output=True, text=True, timeout=60, check=False)
                if done.returncode == SKIPPED:
                    absent = done.stdout.strip()
                    continue
                self.assertEqual(done.returncode, 0, f"{scenario} on {kind}:\n{done.stdout}{done.stderr}")
                print(f"    {kind}: {' '.join(done.stdout.split())}")
        if absent:
            self.skipTest(absent)

    def busiest_thread(self, session) -> int:
        """The thread of the daemon that has the session."""
        def spent() -> dict[int, int]:
            tasks = pathlib.Path(f"/proc/{self.itgtd.pid}/task")
            return {int(task.name): int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir()}

        before = spent()
        for _ in range(200):
            session.nop(b"x")
        after = spent()
        return max(after, key=lambda thread: after[thread] - before.get(thread, 0))

    def test_both_workers_have_sessions(self):
        """Otherwise the rest would prove less than it says."""
        sessions = [self.session(address, isid=bytes([0x80, 0, 0, 0, 0, 2 * n + m]))
                    for n in range(2) for m, address in enumerate(self.portals)]
        self.assertEqual(len({self.busiest_thread(session) for session in sessions}), 2)


def add(scenario: str, why: str) -> None:
    def test(self) -> None:
        self.race(scenario)

    test.__doc__ = why
    setattr(Concurrency, "test_" + scenario.replace("-", "_"), test)


add("caw-counter", "COMPARE AND WRITE as a counter: no increment is lost")
add("caw-range", "COMPARE AND WRITE of many blocks as a counter: a READ never sees a part of one")
add("orwrite", "ORWRITE from four sessions: no bit is lost")
add("write-atomic", "WRITE ATOMIC: a READ never sees a part of one")
add("write-and-verify", "WRITE AND VERIFY compares with what it wrote, whoever else writes")
add("copy-source", "EXTENDED COPY copies the blocks as they were between two COMPARE AND WRITEs")
add("caw-write", "COMPARE AND WRITE and WRITE come one after the other")
add("caw-write-same", "COMPARE AND WRITE and WRITE SAME come one after the other")
add("caw-unmap", "COMPARE AND WRITE and UNMAP come one after the other")
add("caw-write-atomic", "COMPARE AND WRITE and WRITE ATOMIC come one after the other")
add("caw-write-and-verify", "COMPARE AND WRITE and WRITE AND VERIFY come one after the other")
add("caw-copy", "COMPARE AND WRITE and EXTENDED COPY come one after the other")
