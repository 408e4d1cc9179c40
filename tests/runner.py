"""Sets up and tests: installs what is missing, builds, runs the tests.

  tools/test                 everything below but lab, tidy and clean-room: what has to pass before a change lands
  tools/test fast            checks on the tree and unit tests: for use while writing
  tools/test tree            checks on the tree itself: layering, sizes, names, format
  tools/test unit            unit tests
  tools/test system [NAME]   real clients against the real daemon; only tests whose name contains a NAME
  tools/test lab [SCENARIO]  real kernels in emulated machines (tests/lab): the scenarios of that name, or all; minutes each
  tools/test sanitize        unit and system tests, built with AddressSanitizer and UBSan (in build-san/)
  tools/test tsan            what several workers do to the same blocks, built with ThreadSanitizer (in build-tsan/)
  tools/test tidy            clang-tidy over every file (minutes)
  tools/test clean-room      tools/demo and tools/test in a fresh Debian 12 root made by debootstrap (long)

Logs go to build/test-logs/. The last line counts: N passed, N failed, N skipped. Exit status 0: none failed.
"""

import argparse
import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field

sys.dont_write_bytecode = True
ROOT = pathlib.Path(__file__).resolve().parent.parent
LOGS = ROOT / "build" / "test-logs"

# One stage may not take longer, seconds: a hang must end before whoever waits for the run gives up.
BUILD_SECONDS_MAX = 1800
STAGE_SECONDS_MAX = 1500
LAB_SECONDS_MAX = 7200

SANITIZER_ENVIRONMENT = {
    "ASAN_OPTIONS": "detect_leaks=1:strict_string_checks=1:detect_stack_use_after_return=1",
    "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
}

# What the ThreadSanitizer stage builds and runs: what the workers share, and no more, as it is slow to build.
TSAN_TARGETS = ["itgtd", "tests/system/itgt-races"]
TSAN_TESTS = ["test_concurrency", "test_persistence", "test_service.Workers", "test_service.Reload", "test_tmf"]


@dataclass
class Result:
    """What a stage found."""

    stage: str
    passed: int = 0
    failed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)
    # What failed and the first lines of what it said: the end of a run's output may be all that is kept of it.
    reasons: dict[str, str] = field(default_factory=dict)

    def fail(self, name: str, said: str) -> None:
        self.failed.append(name)
        self.reasons[name] = reason_in(said)


def reason_in(text: str, lines_max: int = 6) -> str:
    """The first lines that look like the cause; without such, the last ones."""
    lines = [line for line in text.splitlines() if line.strip()]
    cause = re.compile(r"error:|undefined reference|: Failure$|VIOLATION|ERROR: \w+Sanitizer|runtime error:|\w+Error: |^E: ")
    first = next((index for index, line in enumerate(lines) if cause.search(line)), max(0, len(lines) - lines_max))
    return "\n".join(line[:300] for line in lines[first : first + lines_max])


def say(text: str) -> None:
    print(text, flush=True)


def run(command: list[str], log: str, limit: float = STAGE_SECONDS_MAX, show: bool = False, **extra) -> int:
    """Runs `command` with its output in the log of that name; returns its exit status."""
    LOGS.mkdir(parents=True, exist_ok=True)
    path = LOGS / log
    environment = {**os.environ, **extra.pop("environment", {})}
    with path.open("w") as out:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, start_new_session=True,
            stdout=subprocess.PIPE if show else out, stderr=subprocess.STDOUT, text=True, errors="replace",
        )
        timer = threading.Timer(limit, end_group, [process, path, limit])
        timer.start()
        try:
            for line in process.stdout or ():
                out.write(line)
                sys.stdout.write(line)
                sys.stdout.flush()
            return process.wait()
        except BaseException:
            end_group(process, path, 0)
            raise
        finally:
            timer.cancel()


def end_group(process: subprocess.Popen, log: pathlib.Path, limit: float) -> None:
    """Ends a stage that takes too long, with everything that it started."""
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(timeout=10)  # time to clean up: namespaces, daemons
    except subprocess.TimeoutExpired:
        pass
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with log.open("a") as out:
        out.write(f"\nended after {limit} s\n")


def logged(log: str) -> str:
    return (LOGS / log).read_text(errors="replace")


def tail(log: str, lines: int = 60) -> None:
    say("\n".join(logged(log).split("\n")[-lines:]))


def build(folder: str, options: list[str], targets: tuple[str, ...] = ()) -> Result:
    result = Result(f"build {folder}")
    name = folder.replace("/", "-")
    if not (ROOT / folder / "build.ninja").exists():
        command = ["meson", "setup", folder, *options]
        if run(command, f"{name}-setup.log", BUILD_SECONDS_MAX):
            tail(f"{name}-setup.log")
            result.fail(f"meson setup {folder}", logged(f"{name}-setup.log"))
            return result
    if run(["ninja", "-C", folder, *targets], f"{name}-ninja.log", BUILD_SECONDS_MAX):
        tail(f"{name}-ninja.log")
        result.fail(f"ninja -C {folder}", logged(f"{name}-ninja.log"))
        return result
    result.passed = 1
    return result


def tree() -> Result:
    result = Result("tree")
    LOGS.mkdir(parents=True, exist_ok=True)
    counts_file = LOGS / "tree.json"
    counts_file.unlink(missing_ok=True)
    run([sys.executable, "tools/check-tree", "--json", str(counts_file)], "tree.log", 120, show=True)
    if not counts_file.exists():
        result.failed.append("tools/check-tree did not finish")
        return result
    for check, findings in json.loads(counts_file.read_text()).items():
        if findings:
            result.failed.append(f"{check}: {findings} findings")
        else:
            result.passed += 1
    if run([sys.executable, "tests/tree/checks_test.py"], "tree-checks-test.log", 120):
        tail("tree-checks-test.log")
        result.fail("tests/tree/checks_test.py", logged("tree-checks-test.log"))
    else:
        result.passed += 1
    return result


def unit(folder: str = "build", environment: dict[str, str] | None = None) -> Result:
    """meson's programs, counted by the tests inside them where they are GoogleTest's."""
    result = Result(f"unit {folder}")
    log = f"{folder}-unit.log"
    command = ["meson", "test", "-C", folder, "--no-rebuild", "--print-errorlogs", "--timeout-multiplier", "3"]
    report = ROOT / folder / "meson-logs" / "testlog.json"
    report.unlink(missing_ok=True)
    status = run(command, log, environment=environment or {})
    if not report.exists() and not status:
        return result  # no tests are defined
    if not report.exists():
        tail(log)
        result.fail(f"meson test -C {folder}", logged(log))
        return result
    for line in report.read_text().splitlines():
        count_program(json.loads(line), result)
    if status and not result.failed:
        result.failed.append(f"meson test -C {folder} ended with status {status}")
    if result.failed:
        tail(log, 150)
    return result


def count_program(entry: dict, result: Result) -> None:
    name, outcome, text = entry["name"], entry["result"], entry.get("stdout") or ""
    failed = list(dict.fromkeys(re.findall(r"^\[  FAILED  \] ([\w/]+\.[\w./]+)", text, re.MULTILINE)))
    skipped = list(dict.fromkeys(re.findall(r"^\[  SKIPPED \] ([\w/]+\.[\w./]+)", text, re.MULTILINE)))
    passed = re.search(r"^\[  PASSED  \] (\d+) tests?", text, re.MULTILINE)
    if outcome == "SKIP":
        result.skipped.append(name)
        return
    result.skipped += [f"{name}: {test}" for test in skipped]
    result.passed += int(passed.group(1)) if passed else int(outcome == "OK")
    if outcome not in ("OK", "EXPECTEDFAIL"):
        for test in failed:
            result.fail(f"{name}: {test}", text.partition(f"[ RUN      ] {test}\n")[2])
        if not failed:
            result.fail(f"{name}: {outcome.lower()}", text + "\n" + (entry.get("stderr") or ""))


def system(folder: str = "build", names: list[str] | None = None, environment: dict[str, str] | None = None) -> Result:
    result = Result(f"system {folder}")
    daemon = ROOT / folder / "itgtd"
    if not daemon.exists():
        result.skipped.append(f"system tests: there is no {folder}/itgtd")
        return result
    report = LOGS / f"{folder}-system.json"
    report.unlink(missing_ok=True)
    command = [sys.executable, "tests/system/run.py", "--daemon", str(daemon), "--json", str(report), *(names or [])]
    run(command, f"{folder}-system.log", show=True, environment=environment or {})
    if not report.exists():
        result.failed.append("tests/system/run.py did not finish")
        return result
    found = json.loads(report.read_text())
    result.passed = len(found["passed"])
    for item in found["failed"]:
        result.fail(item["name"], item.get("reason") or "")
    result.skipped = [f"{item['name']}: {item['reason']}" for item in found["skipped"]]
    result.notes = found.get("notes", [])
    return result


def lab(folder: str = "build", names: list[str] | None = None) -> Result:
    result = Result(f"lab {folder}")
    report = LOGS / f"{folder}-lab.json"
    report.unlink(missing_ok=True)
    command = [sys.executable, "tests/lab/run", "--build", folder, "--json", str(report), *(names or ["all"])]
    run(command, f"{folder}-lab.log", LAB_SECONDS_MAX, show=True)
    if not report.exists():
        result.failed.append("tests/lab/run did not finish")
        return result
    count_report(json.loads(report.read_text()), result)
    return result


def sanitize(names: list[str]) -> list[Result]:
    options = ["-Db_sanitize=address,undefined", "-Db_lundef=false", "-Doptimization=1"]
    built = timed(build, "build-san", options)
    if built.failed:
        return [built]
    environment = SANITIZER_ENVIRONMENT
    return [built, timed(unit, "build-san", environment), timed(system, "build-san", names, environment)]


def tsan(names: list[str]) -> list[Result]:
    options = ["-Db_sanitize=thread", "-Db_lundef=false", "-Doptimization=1"]
    built = timed(build, "build-tsan", options, TSAN_TARGETS)
    return [built] if built.failed else [built, timed(system, "build-tsan", names or TSAN_TESTS)]


def tidy() -> Result:
    """clang-tidy over what build/ compiles. Generated files and headers of libraries are not ours."""
    result = Result("tidy")
    command = ["run-clang-tidy", "-quiet", "-p", "build", "-j", str(os.cpu_count() or 1), r"/(base|net|scsi|target|ha|bench)/"]
    status = run(command, "tidy.log", BUILD_SECONDS_MAX)
    text = (LOGS / "tidy.log").read_text(errors="replace")
    found = sorted(set(re.findall(r"^\S+?:\d+:\d+: (?:warning|error): .*\[[\w\-.,]+\]$", text, re.MULTILINE)))
    prefix = str(ROOT) + "/"
    result.failed = [line.removeprefix(prefix) for line in found]
    for line in result.failed:
        say(line)
    if status and not result.failed:
        tail("tidy.log")
        result.failed.append(f"run-clang-tidy ended with status {status}")
    result.passed = int(not result.failed)
    return result


def clean_room() -> Result:
    result = Result("clean-room")
    status = run(["tools/clean-room"], "clean-room.log", 3 * 3600, show=True)
    if status:
        result.failed.append(f"tools/clean-room ended with status {status}")
    else:
        result.passed = 1
    return result


def timed(stage, *arguments) -> Result:
    started = time.monotonic()
    say(f"--- {stage.__name__} {arguments[0] if arguments and isinstance(arguments[0], str) else ''}".rstrip())
    result = stage(*arguments)
    result.seconds = time.monotonic() - started
    return result


def with_build(*stages) -> list[Result]:
    results = [timed(build, "build", [])]
    return results + [timed(*stage) for stage in stages] if not results[0].failed else results


def stages(command: str, names: list[str]) -> list[Result]:
    if command == "tree":
        return [timed(tree)]
    if command == "unit":
        return with_build((unit,))
    if command == "fast":
        return [timed(tree), *with_build((unit,))]
    if command == "system":
        return with_build((system, "build", names))
    if command == "lab":
        return with_build((lab, "build", names))
    if command == "sanitize":
        return sanitize(names)
    if command == "tsan":
        return tsan(names)
    if command == "tidy":
        return with_build((tidy,))
    if command == "clean-room":
        return [timed(clean_room)]
    return [timed(tree), *with_build((unit, "build"), (system, "build", [])), *sanitize([]), *tsan([])]


def summary(results: list[Result]) -> int:
    say("")
    for result in results:
        counts = f"{result.passed} passed, {len(result.failed)} failed, {len(result.skipped)} skipped"
        say(f"{result.stage:20} {result.seconds:7.1f} s   {counts}")
        for note in result.notes:
            say(f"    {note}")
    skipped = list(dict.fromkeys(name for result in results for name in result.skipped))
    for name in skipped:
        say(f"SKIPPED {name}")
    for result in results:
        for name in result.failed:
            say(f"FAILED {result.stage}: {name}")
            if result.reasons.get(name):
                say("    " + result.reasons[name].replace("\n", "\n    "))
    passed = sum(result.passed for result in results)
    failed = sum(len(result.failed) for result in results)
    say(f"{passed} passed, {failed} failed, {sum(len(result.skipped) for result in results)} skipped")
    return 1 if failed else 0


def main() -> int:
    commands = ["all", "fast", "tree", "unit", "system", "lab", "sanitize", "tsan", "tidy", "clean-room"]
    parser = argparse.ArgumentParser(
        prog="tools/test", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", nargs="?", default="all", choices=commands)
    parser.add_argument("names", nargs="*", help="with system, sanitize or tsan: only tests whose name contains one; with lab: scenarios")
    arguments = parser.parse_args()
    return summary(stages(arguments.command, arguments.names))


if __name__ == "__main__":
    sys.exit(main())
