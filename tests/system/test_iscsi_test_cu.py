"""iscsi-test-cu: each of its tests alone, counted clean / skipped / failed, against what is expected by name.

No LUN can be all that its tests ask for, so they run against several kinds of LUN. Over the union of these a test is

  clean    it is clean with at least one kind of LUN, and failed with none
  failed   it failed with a kind of LUN that it was run with
  skipped  neither: with each kind of LUN it was skipped, or a part of it was

A failure that iscsi_test_cu.expected puts down to the tool for one kind of LUN only (KIND/TEST) is not one of the union when
the test is clean with another kind. One that it has for every kind stays a failure of the union.
"""

import collections
import concurrent.futures
import fnmatch
import os
import pathlib
import queue
import shutil
import struct
import time
from dataclasses import dataclass

import iscsi_test_cu
from harness import daemon
from harness import scsi as s
from harness.case import IQN, MIB, Case, portal, target, text

EXPECTED = pathlib.Path(__file__).with_suffix("").parent / "iscsi_test_cu.expected"
PARALLEL = 2
TESTS = 230
SANITIZE_SECONDS = 14.0  # the test looks after 4 s, and a machine that is busy now may be idle then
# It looks at what the answer to its LUN RESET sets before that can have come: see iscsi_test_cu.expected.
LOOKS_TOO_EARLY = "ALL.iSCSITMF.LUNResetSimpleAsync"
WAITS = "libiscsi-test-cu-waits.so"


@dataclass(frozen=True)
class Kind:
    """A kind of LUN: keys of its [[target.lun]], and the tests that are run with it."""

    name: str
    keys: str
    tests: tuple[str, ...] = ("ALL.*",)
    without: tuple[str, ...] = ()  # patterns of tests that another kind is for
    mended: bool = False  # the tool's sleeps are shortened: see iscsi_test_cu_waits.cc
    fresh: bool = False  # each test gets a LUN that nothing was written to


# What else a LUN of 512 bytes in physical blocks of 4096 changes is alignment.
ALIGNMENT = tuple(f"ALL.{suite}.*" for suite in (
    "CompareAndWrite", "GetLBAStatus", "Inquiry", "Mandatory", "OrWrite", "ReadCapacity16", "Unmap", "WriteAtomic16",
    "WriteSame10", "WriteSame16"))
ELSEWHERE = ("ALL.MultipathIO.*", "ALL.Sanitize.Reset")
KINDS = {kind.name: kind for kind in (
    Kind("512", 'path = "{folder}/disk-512-{lane}"\ncreate = "200M"\nblock_size = 512\nphysical_block_size = 512',
         without=ELSEWHERE),
    # Not memory, which has no map of what is unmapped.
    Kind("4096", 'path = "{folder}/disk-4096-{lane}"\ncreate = "300M"\nblock_size = 4096', without=ELSEWHERE),
    # It wants SANITIZE to take longer than the 4 s that it sleeps: {size} is measured.
    Kind("slow", 'path = "null:{size}"', ("ALL.Sanitize.Reset",), mended=True),
    # CompareAndWrite of these wants zeros in LBA 256, and writes them to LBA 0 to 255 only: 1.19.0.
    Kind("multipath", f'path = "ram:{64 * MIB}"', ("ALL.MultipathIO.*",), fresh=True),
    Kind("512e", 'path = "{folder}/disk-512e-{lane}"\ncreate = "200M"\nblock_size = 512\nphysical_block_size = 4096',
         ALIGNMENT),
    Kind("removable", f'path = "ram:{200 * MIB}"\nremovable = true',
         ("ALL.Inquiry.*", "ALL.Mandatory.*", "ALL.ModeSense6.*", "ALL.NoMedia.*", "ALL.PreventAllow.*", "ALL.StartStopUnit.*",
          "ALL.TestUnitReady.*")),
    Kind("read-only", f'path = "ram:{200 * MIB}"\nread_only = true',
         ("ALL.Inquiry.*", "ALL.ModeSense6.*", "ALL.Read6.*", "ALL.Read10.*", "ALL.Read12.*", "ALL.Read16.*",
          "ALL.ReadCapacity*", "ALL.ReadOnly.*", "ALL.TestUnitReady.*")),
)}
# What each kind's run found, for the union.
FOUND: dict[str, list[iscsi_test_cu.Outcome]] = {}


@dataclass(frozen=True)
class Expectation:
    kind: str  # empty: every kind of LUN
    pattern: str
    result: str
    reason: str

    def covers(self, kind: str, outcome: iscsi_test_cu.Outcome) -> bool:
        """A test that may fail may also be skipped."""
        return (self.kind in ("", kind) and fnmatch.fnmatch(outcome.test, self.pattern)
                and outcome.result in (self.result, "skipped"))


def expectations() -> list[Expectation]:
    found = []
    for line in EXPECTED.read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            pattern, result, reason = line.split(None, 2)
            kind, _, name = pattern.rpartition("/")
            assert result in ("skipped", "failed") and kind in ("", *KINDS), line
            found.append(Expectation(kind, name, result, reason))
    return found


def union(found: dict[str, list[iscsi_test_cu.Outcome]], expected: list[Expectation]) -> dict[str, str]:
    """The result of each test over all kinds of LUN."""
    results: dict[str, set[str]] = {}
    for kind, outcomes in found.items():
        for outcome in outcomes:
            of_tool = outcome.result == "failed" and any(e.kind == kind and e.covers(kind, outcome) for e in expected)
            results.setdefault(outcome.test, set()).add("excused" if of_tool else outcome.result)
    out = {}
    for test, of_kinds in results.items():
        if "failed" in of_kinds or ("excused" in of_kinds and "clean" not in of_kinds):
            out[test] = "failed"
        else:
            out[test] = "clean" if "clean" in of_kinds else "skipped"
    return out


class IscsiTestCu(Case):
    seconds_max = 600

    def serve_kind(self, kind: Kind, lanes_wanted: int = PARALLEL) -> list[list[str]]:
        """A daemon, a target and a LUN for each lane; the URLs of its two portals."""
        lanes = []
        for lane in range(lanes_wanted):
            where = [portal(), portal()]
            lun = kind.keys.replace("{folder}", str(self.folder.path)).replace("{lane}", str(lane))
            if "{size}" in lun:
                lun = lun.replace("{size}", f"{self.gib_sanitized_in(SANITIZE_SECONDS)}G")
            self.daemon(target(where, [f'{lun}\nserial = "aaaaaaa{lane}"']), where, log_level="info")
            lanes.append([f"iscsi://{text(address)}/{IQN}/0" for address in where])
        return lanes

    def waits(self) -> pathlib.Path:
        library = pathlib.Path(daemon.binary()).parent / "tests" / "system" / WAITS
        if not library.exists():
            self.skipTest(f"{library} is not built")
        return library

    def gib_sanitized_in(self, seconds: float) -> int:
        """GiB of a disk that forgets which SANITIZE OVERWRITE takes that long for."""
        probe_gib = 1024
        where = portal()
        self.daemon(target([where], [f'path = "null:{probe_gib}G"']), [where], log_level="info")
        session = self.session(where, timeout=60.0)
        data = struct.pack(">BBH", 1, 0, 512) + bytes(512)
        started = time.monotonic()
        task = session.command(struct.pack(">BBBBBBBHB", 0x48, 0x01, 0, 0, 0, 0, 0, len(data), 0), write=data)
        if task.status != s.GOOD:
            self.skipTest(f"SANITIZE: {task.sense_code}")
        return int(probe_gib * seconds / (time.monotonic() - started))

    def run_kind(self, kind: Kind) -> list[iscsi_test_cu.Outcome]:
        """Its tests, each alone on the LUN of its lane."""
        self.need(iscsi_test_cu.TOOL)
        chosen = os.environ.get("ITGT_TEST_CU", "*")
        tests = [test for test in iscsi_test_cu.all_tests()
                 if fnmatch.fnmatch(test, chosen) and any(fnmatch.fnmatch(test, pattern) for pattern in kind.tests)
                 and not any(fnmatch.fnmatch(test, pattern) for pattern in kind.without)]
        free: queue.SimpleQueue = queue.SimpleQueue()
        for lane in self.serve_kind(kind, len(tests) if kind.fresh else PARALLEL):
            free.put(lane)
        timeout = iscsi_test_cu.TEST_SECONDS_MAX * (2 if daemon.sanitized() else 1)
        preload = ""
        if kind.mended:
            timeout *= 3
            preload = str(self.waits())

        def one(test: str) -> iscsi_test_cu.Outcome:
            urls = free.get()
            try:
                return iscsi_test_cu.run_one(test, urls, timeout, preload)
            finally:
                if not kind.fresh:
                    free.put(urls)

        with concurrent.futures.ThreadPoolExecutor(PARALLEL) as pool:
            outcomes = list(pool.map(one, tests))
        logs = pathlib.Path(os.environ["ITGT_REPORTS"]) / f"iscsi-test-cu-{kind.name}"
        shutil.rmtree(logs, ignore_errors=True)
        logs.mkdir()
        for outcome in outcomes:
            (logs / f"{outcome.test}.{outcome.result}.log").write_text(outcome.log)
        return outcomes

    def report(self, label: str, results: list[str]) -> None:
        counts = collections.Counter(results)
        line = (f"iscsi-test-cu {label:10} {len(results):4} run: {counts['clean']:3} clean, {counts['skipped']:3} skipped, "
                f"{counts['failed']:3} failed")
        print(line)
        self.notes = [*getattr(self, "notes", []), line]

    def check_kind(self, name: str) -> None:
        outcomes = self.run_kind(KINDS[name])
        FOUND[name] = outcomes
        self.report(name, [outcome.result for outcome in outcomes])
        expected = expectations()
        used, wrong = set(), []
        for outcome in outcomes:
            if outcome.result == "clean":
                continue
            covering = [e for e in expected if e.covers(name, outcome)]
            print(f"    {outcome.result:8} {outcome.test}  {outcome.reason}")
            used |= set(covering)
            if not covering:
                wrong.append(f"{outcome.test} {outcome.result}: {outcome.reason}")
        if not os.environ.get("ITGT_TEST_CU"):
            for e in set(expected) - used:
                if e.kind == name:
                    print(f"    every test of {name}/{e.pattern} is clean; it need not be expected to be {e.result}")
        self.assertFalse(wrong, "\n" + "\n".join(wrong))

    def test_512(self):
        self.check_kind("512")

    def test_512e(self):
        self.check_kind("512e")

    def test_4096(self):
        if daemon.sanitized():
            self.skipTest("with sanitizers the 512-byte run is enough")
        self.check_kind("4096")

    def test_slow(self):
        if daemon.sanitized():
            self.skipTest("with sanitizers the 512-byte run is enough")
        self.check_kind("slow")

    def test_removable(self):
        self.check_kind("removable")

    def test_read_only(self):
        self.check_kind("read-only")

    def test_multipath(self):
        self.check_kind("multipath")

    def test_the_answer_that_one_test_looks_for_too_early(self):
        """With the fault of the tool mended, its LUN RESET test finds nothing wrong."""
        self.need(iscsi_test_cu.TOOL)
        library = self.waits()
        urls = self.serve_kind(KINDS["512"])[0]
        outcome = iscsi_test_cu.run_one(LOOKS_TOO_EARLY, urls, preload=str(library))
        self.assertEqual(outcome.result, "clean", outcome.log)
        FOUND["mended"] = [outcome]

    def test_union(self):
        """Over all kinds of LUN: nothing may be skipped or failed but what is expected for every kind."""
        if os.environ.get("ITGT_TEST_CU") or not set(KINDS) <= set(FOUND):
            self.skipTest("not every kind of LUN was run")
        expected = expectations()
        results = union({name: FOUND[name] for name in KINDS}, expected)
        self.assertEqual(len(results), TESTS)
        self.report("union", list(results.values()))
        wrong = []
        for test, result in results.items():
            if result == "clean":
                continue
            reasons = [e for e in expected if not e.kind and fnmatch.fnmatch(test, e.pattern)]
            of_kind = {name: o for name in KINDS for o in FOUND[name] if o.test == test}
            seen = "; ".join(f"{name}: {o.result} {o.reason}" for name, o in of_kind.items())
            self.notes.append(f"    {result:8} {test}: {reasons[0].reason if reasons else seen}")
            print(self.notes[-1])
            if not reasons:
                wrong.append(f"{test} {result}: {seen}")
        if "mended" in FOUND:
            self.notes.append(f"    {FOUND['mended'][0].result:8} {LOOKS_TOO_EARLY}, with the tool made to wait for the answer")
        self.assertFalse(wrong, "\n" + "\n".join(wrong))
