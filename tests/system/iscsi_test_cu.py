#!/usr/bin/env python3
"""Runs each test of libiscsi's iscsi-test-cu alone, with a kill timer, and counts clean / skipped / failed.

  iscsi_test_cu.py [--test PATTERN] [--timeout SECONDS] URL [SECOND_PATH_URL]

iscsi-test-cu counts a test that could not run as passed: it prints [SKIPPED] and goes on. So each test runs in a
process of its own and its log is read:

  clean    CUnit counts it as passed, and nothing in it was skipped
  skipped  it passed, but a part of it or all of it was skipped
  failed   CUnit counts it as failed, or it crashed, hung, or could not reach its LUN
"""

import argparse
import fnmatch
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass

TOOL = "iscsi-test-cu"
TEST_SECONDS_MAX = 20.0


@dataclass(frozen=True)
class Outcome:
    test: str
    result: str  # clean, skipped, failed
    reason: str
    seconds: float
    log: str


def all_tests() -> list[str]:
    """Full names FAMILY.SUITE.TEST of the family ALL, in the tool's order."""
    listed = subprocess.run([TOOL, "--list"], capture_output=True, text=True, timeout=30, check=False)
    names = [line.strip() for line in listed.stdout.split("\n")]
    return [name for name in names if name.startswith("ALL.") and name.count(".") == 2]


def classify(log: str, status: int | None) -> tuple[str, str]:
    """The result and its reason from the tool's log; status None: it was killed by the timer."""
    if status is None:
        return "failed", "hung: killed by the timer"
    counts = re.search(r"^\s*tests\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s*$", log, re.MULTILINE)
    if status < 0:
        return "failed", f"the tool died of signal {-status}"
    if counts is None:
        lines = [line.strip() for line in log.split("\n") if line.strip()]
        return "failed", f"it did not run: {lines[-1] if lines else 'no output'}"
    _, ran, passed, failed, _ = (int(number) for number in counts.groups())
    if ran != 1 or failed or passed != 1:
        wrong = re.search(r"\[FAILED\]\s*(.*)", log) or re.search(r"^\s*1\. (\S+:\d+.*)$", log, re.MULTILINE)
        return "failed", wrong.group(1).strip() if wrong else f"{ran} ran, {passed} passed, {failed} failed"
    skipped = re.search(r"\[SKIPPED\]\s*(.*)", log)
    return ("skipped", skipped.group(1).strip()) if skipped else ("clean", "")


def run_one(test: str, urls: list[str], timeout: float = TEST_SECONDS_MAX, preload: str = "") -> Outcome:
    """MultipathIO needs both paths; the others use the first. `preload`: a library that mends a fault of the tool."""
    used = urls if ".MultipathIO." in test else urls[:1]
    command = [TOOL, "--dataloss", "--allow-sanitize", "--normal", "--Verbose-scsi", f"--test={test}", *used]
    started = time.monotonic()
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        env={**os.environ, "LC_ALL": "C", **({"LD_PRELOAD": preload} if preload else {})},
    )
    status: int | None
    try:
        log, _ = process.communicate(timeout=timeout)
        status = process.returncode
    except subprocess.TimeoutExpired:
        process.kill()
        log, _ = process.communicate()
        status = None
    result, reason = classify(log, status)
    return Outcome(test, result, reason, time.monotonic() - started, log)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("urls", nargs="+")
    parser.add_argument("--test", default="*", help="only tests whose full name matches, as a shell pattern")
    parser.add_argument("--timeout", type=float, default=TEST_SECONDS_MAX)
    arguments = parser.parse_args()
    counts = {"clean": 0, "skipped": 0, "failed": 0}
    for test in all_tests():
        if fnmatch.fnmatch(test, arguments.test):
            outcome = run_one(test, arguments.urls, arguments.timeout)
            counts[outcome.result] += 1
            print(f"{outcome.result:8} {outcome.seconds:6.2f} s  {test}  {outcome.reason}", flush=True)
    print(f"iscsi-test-cu: {counts['clean']} clean, {counts['skipped']} skipped, {counts['failed']} failed")
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
