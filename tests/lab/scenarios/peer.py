"""itgtd beside LIO: fio on the multipath disk, with the same DRBD and initiator, in alternation.

One machine has all of it: open-iscsi, the target on two addresses, and both sides of a DRBD device on RAM disks, which replicates with protocol C.
Its clock counts instructions, 1 ns each. So the figures do not depend on what else the machine does that runs it; they are instructions, not
microseconds: what caches, system calls and switches of context cost a real CPU beyond their instructions is not in them.
"""

import statistics

from lab.initiator import fio_result
from lab.peer import Counts, log_in, log_out, single, start_lio, stop_lio

SECONDS_MAX = 3600
ROUNDS = 3
RUN_MS, RAMP_MS = 1000, 200
# What happens less often for each I/O is not told.
COUNTED_MIN = 0.02
# Name, what fio is told, and its part of the result.
PATTERNS = (
    ("4 KiB random read, depth 32", ("rw=randread", "bs=4k", "iodepth=32"), "read"),
    ("4 KiB random write, depth 32", ("rw=randwrite", "bs=4k", "iodepth=32"), "write"),
    ("256 KiB sequential read, depth 8", ("rw=read", "bs=256k", "iodepth=8"), "read"),
    ("256 KiB sequential write, depth 8", ("rw=write", "bs=256k", "iodepth=8"), "write"),
)
COMMON = ("ioengine=libaio", "size=64m", "time_based", f"runtime={RUN_MS}ms", f"ramp_time={RAMP_MS}ms", "randrepeat=0", "norandommap")
FIO_SECONDS = 900


def run(lab):
    with lab.step("one machine boots: initiator, target, both sides of DRBD"):
        machine = lab.guests["single"] = single(lab.build, lab.folder)
        lab.boot()
    with lab.step("iscsid, multipathd, DRBD"):
        machine.prepare()
    targets = {"itgtd": (machine.start_itgtd, machine.stop_itgtd), "LIO": (lambda: start_lio(machine), lambda: stop_lio(machine))}
    found = {who: {name: [] for name, _, _ in PATTERNS} for who in targets}
    counted = []
    for number in range(ROUNDS):
        for who, (start, stop) in targets.items():
            with lab.step(f"{who} serves, login"):
                start()
                log_in(machine)
                if not number:
                    fio_result(machine.fio("fill", "rw=write", "bs=256k", "iodepth=8", "ioengine=libaio", "size=64m"), FIO_SECONDS)
            with lab.step(f"round {number + 1}: {who}"):
                for name, options, part in PATTERNS:
                    found[who][name].append(fio_result(machine.fio("peer", *options, *COMMON), FIO_SECONDS)[part]["iops"])
                    lab.say(f"         {found[who][name][-1]:.0f} IOPS: {who}, {name}")
            if number == ROUNDS - 1:
                counted += count(lab, machine, who)
            with lab.step(f"{who} stops"):
                log_out(machine)
                stop()
    with lab.step("no errors in the kernel's log"):
        lab.expect_no_kernel_errors()
    tell(lab, found, counted)


def count(lab, machine, who):
    """Rows for the table: what happened most often, in one run of each 4 KiB pattern."""
    rows = []
    counts = Counts(machine)
    with lab.step(f"{who}: counted"):
        for name, options, part in PATTERNS[:2]:
            counts.start()
            result = fio_result(machine.fio("counted", *options, *COMMON), FIO_SECONDS)[part]
            ios = result["iops"] * (RUN_MS + RAMP_MS) / 1000
            found = sorted(counts.stop().items(), key=lambda item: -item[1])
            rows += [[name, who, what, f"{times / ios:.2f}"] for what, times in found if times / ios >= COUNTED_MIN]
    return rows


def tell(lab, found, counted):
    rows = []
    for name, _, _ in PATTERNS:
        median = {who: statistics.median(found[who][name]) for who in found}
        ratio = median["itgtd"] / median["LIO"]
        lab.measured(f"{name}: itgtd to LIO", round(ratio, 3), "times")
        rows.append([name, *(f"{median[who]:.0f}" for who in found), f"{ratio:.2f}", *(f"{1e6 / median[who]:.1f}" for who in found),
                     *(" ".join(f"{one:.0f}" for one in found[who][name]) for who in found)])
    lab.table(f"IOPS on the multipath disk: medians of {ROUNDS} rounds in alternation",
              ["pattern", "itgtd", "LIO", "itgtd to LIO", "1000 instructions for each I/O: itgtd", "LIO", "rounds of itgtd", "rounds of LIO"], rows)
    lab.table("What was counted for each I/O, initiator's side included, in runs of their own", ["pattern", "target", "what", "times"], counted)
