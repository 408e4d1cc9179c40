"""iscsi-test-cu: each of its tests alone, counted clean / skipped / failed, against what is expected by name."""

import collections
import concurrent.futures
import fnmatch
import os
import pathlib
import shutil

import iscsi_test_cu
from harness import daemon
from harness.case import IQN, MIB, Case, portal, target, text

EXPECTED = pathlib.Path(__file__).with_suffix("").parent / "iscsi_test_cu.expected"
PARALLEL = 2


def expectations(label: str) -> list[tuple[str, str, str]]:
    """Pattern, result, reason of those that are for every run, and of those for the run of that label."""
    found = []
    for line in EXPECTED.read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            pattern, result, reason = line.split(None, 2)
            assert result in ("skipped", "failed"), line
            only, _, name = pattern.rpartition("/")
            if only in ("", label):
                found.append((name, result, reason))
    return found


class IscsiTestCu(Case):
    seconds_max = 600

    def run_all(self, luns: list[str], folder: str) -> list[iscsi_test_cu.Outcome]:
        """All tests, two at a time, each half against a daemon of its own."""
        self.need(iscsi_test_cu.TOOL)
        tests = iscsi_test_cu.all_tests()
        chosen = os.environ.get("ITGT_TEST_CU")
        if chosen:
            tests = [test for test in tests if fnmatch.fnmatch(test, chosen)]
        running = []
        for lun in luns:
            where = [portal(), portal()]
            self.running = self.daemon(target(where, [lun]), where, log_level="info")
            running.append([f"iscsi://{text(address)}/{IQN}/0" for address in where])
        timeout = iscsi_test_cu.TEST_SECONDS_MAX * (2 if daemon.sanitized() else 1)
        with concurrent.futures.ThreadPoolExecutor(PARALLEL) as pool:
            halves = [tests[number::PARALLEL] for number in range(PARALLEL)]
            done = [
                pool.submit(lambda h=half, u=urls: [iscsi_test_cu.run_one(test, u, timeout) for test in h])
                for half, urls in zip(halves, running, strict=True)
            ]
            outcomes = [outcome for half in done for outcome in half.result()]
        logs = pathlib.Path(os.environ["ITGT_REPORTS"]) / folder
        shutil.rmtree(logs, ignore_errors=True)
        logs.mkdir()
        for outcome in outcomes:
            (logs / f"{outcome.test}.{outcome.result}.log").write_text(outcome.log)
        return sorted(outcomes, key=lambda outcome: tests.index(outcome.test))

    def check(self, outcomes: list[iscsi_test_cu.Outcome], label: str) -> None:
        counts = collections.Counter(outcome.result for outcome in outcomes)
        line = (f"iscsi-test-cu, {label}-byte blocks, thin: {counts['clean']} clean, {counts['skipped']} skipped, "
                f"{counts['failed']} failed")
        print(line)
        self.notes = [line]
        expected = expectations(label)
        used, wrong = set(), []
        for outcome in outcomes:
            if outcome.result == "clean":
                continue
            matching = [(pattern, result) for pattern, result, _ in expected if fnmatch.fnmatch(outcome.test, pattern)]
            print(f"    {outcome.result:8} {outcome.test}  {outcome.reason}")
            used |= {pattern for pattern, _ in matching}
            if outcome.result == "failed" and "failed" not in {result for _, result in matching}:
                wrong.append(f"{outcome.test} failed: {outcome.reason}")
            if outcome.result == "skipped" and not matching:
                wrong.append(f"{outcome.test} is skipped: {outcome.reason}")
        if not os.environ.get("ITGT_TEST_CU"):
            for pattern, result, _ in expected:
                if pattern not in used:
                    print(f"    every test of {pattern} is clean; it need not be expected to be {result}")
            self.assertEqual(len(outcomes), 230)
        self.assertFalse(wrong, "\n" + "\n".join(wrong))

    def test_512_byte_blocks(self):
        luns = [
            f'path = "{self.folder.path}/disk{number}"\ncreate = "200M"\nserial = "aaaaaaa{number}"\nblock_size = 512'
            for number in range(PARALLEL)
        ]
        self.check(self.run_all(luns, "iscsi-test-cu-512"), "512")

    def test_4096_byte_blocks(self):
        """Nothing may fail that passes with 512-byte blocks; what is skipped is not compared."""
        if daemon.sanitized():
            self.skipTest("with sanitizers the 512-byte run is enough")
        luns = [f'path = "ram:{200 * MIB}"\nserial = "aaaaaaa{n}"\nblock_size = 4096' for n in range(PARALLEL)]
        self.check(self.run_all(luns, "iscsi-test-cu-4096"), "4096")
