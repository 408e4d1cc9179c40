"""Planned moves back and forth under fio with verification: no error, no path that fails."""

from lab.initiator import VERIFYING, fio_result

MOVES = 4
OFFSET_BYTES = 256 << 20


def run(lab):
    lab.up_with_paths()
    initiator = lab.initiator
    steady = initiator.steady_io(offset_bytes=OFFSET_BYTES)
    fio = initiator.fio("moves", *VERIFYING)
    for number in range(MOVES):
        to = lab.other(lab.owner())
        with lab.step(f"move {number + 1}, to {to.name}"):
            lab.wait_in_sync()
            pause = lab.move(to)
            steady.wait_more()
            initiator.wait_paths(2)
        lab.measured(f"pause of move {number + 1}, as the cluster saw it", pause)
    lab.verify_steady(steady, "moves")
    with lab.step("fio verified what it wrote"):
        found = fio_result(fio, interrupt=True)
        lab.expect(found["read"]["total_ios"] > 0, "fio read nothing back")
    lab.measured("moves: longest write of fio's", found["write"]["clat_ns"]["max"] / 1e6)
    lab.measured("moves: paths that multipathd took out of use", initiator.failed_paths(), "times")
    with lab.step("no errors in the kernels' logs"):
        lab.expect_no_kernel_errors()
