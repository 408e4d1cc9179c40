"""The daemon is killed, then its node loses power, then that node comes back and takes over: no error, nothing lost."""

import signal

from lab.errors import eventually
from lab.initiator import VERIFYING, fio_result

OFFSET_BYTES = 256 << 20


def run(lab):
    lab.up_with_paths()
    initiator = lab.initiator
    killed(lab)
    owner = lab.owner()
    steady = initiator.steady_io(offset_bytes=OFFSET_BYTES)
    fio = initiator.fio("power", *VERIFYING)
    with lab.step(f"{owner.name} loses its power"):
        owner.cut_power()
        lab.wait_served(not_on=owner)
        steady.wait_more()
        initiator.wait_paths(2)
    lab.measured("takeover after the power cut, as the cluster saw it", lab.pause_ms(lab.owner()))
    lab.verify_steady(steady, "power cut")
    with lab.step("fio verified what it wrote"):
        fio_result(fio, interrupt=True)
    steady = initiator.steady_io(offset_bytes=OFFSET_BYTES)
    with lab.step(f"{owner.name} comes back, its disk catches up"):
        lab.power_on(owner)
        lab.wait_in_sync()
        lab.expect(lab.owner() is not owner, "the group went back by itself")
    with lab.step(f"a move to {owner.name}"):
        lab.move(owner)
        steady.wait_more()
        initiator.wait_paths(2)
    lab.verify_steady(steady, "a node that comes back")
    with lab.step("no errors in the kernels' logs"):
        lab.expect_no_kernel_errors()


def killed(lab):
    """SIGKILL: it is started again on the same node and goes on with what it had."""
    initiator = lab.initiator
    owner = lab.owner()
    steady = initiator.steady_io(offset_bytes=OFFSET_BYTES)
    fio = initiator.fio("kill", *VERIFYING)
    with lab.step(f"SIGKILL of itgtd on {owner.name}"):
        starts = owner.service.starts
        owner.service.signal(signal.SIGKILL)
        eventually(lambda: owner.service.starts > starts, 30, "itgtd is started again")
        steady.wait_more()
        lab.wait_served()
        initiator.wait_paths(2)
    lab.verify_steady(steady, "SIGKILL")
    with lab.step("fio verified what it wrote"):
        fio_result(fio, interrupt=True)
