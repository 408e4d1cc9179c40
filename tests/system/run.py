#!/usr/bin/env python3
"""Runs the system tests: each test_*.py in a process of its own, two at a time.

  tests/system/run.py --daemon build/itgtd [--json FILE] [NAME...]

NAME: only tests whose full name contains one. The last line is a count.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
FILE_SECONDS_MAX = 900
PARALLEL = 2


class Recorder(unittest.TestResult):
    """Results by full name, and a line for each as it ends."""

    def __init__(self):
        super().__init__()
        self.passed: list[str] = []
        self.outcomes: dict[str, tuple[str, str]] = {}
        self.notes: list[str] = []
        self.started = 0.0

    @staticmethod
    def name(test) -> str:
        return test.id().removeprefix("__main__.")

    def startTest(self, test):  # noqa: N802 (the base class names it)
        super().startTest(test)
        self.started = time.monotonic()

    def stopTest(self, test):  # noqa: N802
        super().stopTest(test)
        name = self.name(test)
        outcome, why = self.outcomes.get(name, ("passed", ""))
        if outcome == "passed":
            self.passed.append(name)
        seconds = time.monotonic() - self.started
        print(f"{outcome:8} {seconds:6.2f} s  {name}{'  ' + why if outcome == 'skipped' else ''}", flush=True)
        if outcome == "failed":
            print(why, flush=True)
        self.notes += getattr(test, "notes", [])

    def addSkip(self, test, reason):  # noqa: N802
        super().addSkip(test, reason)
        self.outcomes[self.name(test)] = ("skipped", reason)

    def _failed(self, test, error):
        before = self.outcomes.get(self.name(test), ("", ""))[1]
        self.outcomes[self.name(test)] = ("failed", before + self._exc_info_to_string(error, test))

    def addError(self, test, error):  # noqa: N802
        super().addError(test, error)
        self._failed(test, error)

    def addFailure(self, test, error):  # noqa: N802
        super().addFailure(test, error)
        self._failed(test, error)

    def addSubTest(self, test, subtest, error):  # noqa: N802
        super().addSubTest(test, subtest, error)
        if error is not None:
            before = self.outcomes.get(self.name(test), ("", ""))[1]
            text = f"{before}{subtest.id()}:\n{self._exc_info_to_string(error, test)}"
            self.outcomes[self.name(test)] = ("failed", text)


def matching(suite: unittest.TestSuite, names: list[str]) -> unittest.TestSuite:
    chosen = unittest.TestSuite()
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            chosen.addTest(matching(item, names))
        elif not names or any(name in item.id() for name in names):
            chosen.addTest(item)
    return chosen


def run_file(module: str, names: list[str]) -> dict:
    """In the process of one file."""
    sys.path.insert(0, str(HERE))
    # A stage that is ended from outside must still run its cleanups: daemons, namespaces, mounts.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    recorder = Recorder()
    matching(unittest.defaultTestLoader.loadTestsFromName(module), names).run(recorder)
    found = recorder.outcomes
    return {
        "passed": recorder.passed,
        "failed": [{"name": name, "reason": why} for name, (kind, why) in found.items() if kind == "failed"],
        "skipped": [{"name": name, "reason": why} for name, (kind, why) in found.items() if kind == "skipped"],
        "notes": recorder.notes,
    }


def run_apart(module: str, names: list[str], environment: dict[str, str]) -> tuple[str, dict]:
    """A file in a process of its own: its output, its results."""
    command = [sys.executable, str(HERE / "run.py"), "--file", module, *names]
    report = pathlib.Path(environment["ITGT_REPORTS"]) / f"{module}.json"
    report.unlink(missing_ok=True)
    process = subprocess.Popen(command, cwd=HERE, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True, errors="replace")
    try:
        output, _ = process.communicate(timeout=FILE_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        process.terminate()
        try:
            output, _ = process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            output, _ = process.communicate()
        output += f"\n{module}: ended after {FILE_SECONDS_MAX} s\n"
    if report.exists():
        return output, json.loads(report.read_text())
    failed = {"name": module, "reason": f"its process ended with status {process.returncode}"}
    return output, {"passed": [], "failed": [failed], "skipped": [], "notes": []}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--daemon", type=pathlib.Path, default=HERE.parent.parent / "build" / "itgtd")
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--file", help=argparse.SUPPRESS)
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    if arguments.file:
        found = run_file(arguments.file, arguments.names)
        (pathlib.Path(os.environ["ITGT_REPORTS"]) / f"{arguments.file}.json").write_text(json.dumps(found))
        return 0
    reports = arguments.daemon.resolve().parent / "test-logs"
    reports.mkdir(parents=True, exist_ok=True)
    binary = arguments.daemon.read_bytes()
    sanitized = b"__asan_init" in binary or b"__tsan_init" in binary
    environment = {**os.environ, "ITGTD": str(arguments.daemon.resolve()), "ITGT_REPORTS": str(reports),
                   "ITGTD_SANITIZED": str(int(sanitized)), "PYTHONDONTWRITEBYTECODE": "1"}
    # The longest first, so that the last one does not run alone for long.
    modules = sorted((path.stem for path in HERE.glob("test_*.py")), key=lambda name: name != "test_iscsi_test_cu")
    if arguments.names:
        sys.path.insert(0, str(HERE))
        loader = unittest.defaultTestLoader
        modules = [m for m in modules if matching(loader.loadTestsFromName(m), arguments.names).countTestCases()]
    total: dict[str, list] = {"passed": [], "failed": [], "skipped": [], "notes": []}
    with concurrent.futures.ThreadPoolExecutor(PARALLEL) as pool:
        waiting = [pool.submit(run_apart, module, arguments.names, environment) for module in modules]
        for done in concurrent.futures.as_completed(waiting):
            output, found = done.result()
            print(output, end="", flush=True)
            for kind, items in found.items():
                total[kind] += items
    if arguments.json:
        arguments.json.write_text(json.dumps(total))
    for note in total["notes"]:
        print(note)
    counts = [f"{len(total[kind])} {kind}" for kind in ("passed", "failed", "skipped")]
    print(f"system: {', '.join(counts)}")
    return 1 if total["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
