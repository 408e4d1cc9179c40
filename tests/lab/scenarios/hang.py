"""The owner hangs, as a whole and its daemon alone: another one serves; when it goes on it accepts no write."""

import signal
import time

from lab import faults

# From the beginning of the hang; longer than any takeover.
HANG_SECONDS = 20


def story(lab):
    machine(lab)
    daemon(lab)


def machine(lab):
    owner = lab.owner()
    with faults.written(lab, "every CPU of the owner stops") as steady:
        with lab.step(f"{owner.name} stops; {lab.other(owner).name} serves"):
            until = time.monotonic() + HANG_SECONDS
            owner.hang()
            other = lab.wait_served(not_on=owner)
            steady.wait_more()
            time.sleep(max(0.0, until - time.monotonic()))
        with lab.step(f"{owner.name} goes on: it serves nothing, and is the Secondary"):
            owner.resume()
            faults.expect_alone(lab, other)
            faults.expect_passive(lab, owner)
            lab.expect(lab.owner() is other, "the group went back by itself")


def daemon(lab):
    """Where nothing watches the daemon: DRBD keeps its role, so nobody else can serve before it goes on."""
    owner = lab.owner()
    with faults.written(lab, "the owner's daemon is stopped"):
        with lab.step(f"SIGSTOP of itgtd on {owner.name}: its addresses go by themselves"):
            until = time.monotonic() + HANG_SECONDS
            owner.service.signal(signal.SIGSTOP)
            faults.eventually(lambda: not lab.vip_holders()[owner.name], 30, f"no addresses on {owner.name}", 0.2)
            time.sleep(max(0.0, until - time.monotonic()))
        with lab.step(f"SIGCONT: {lab.other(owner).name} serves, {owner.name} is the Secondary"):
            owner.service.signal(signal.SIGCONT)
            other = lab.wait_served(on=lab.other(owner))
            faults.expect_alone(lab, other)
            faults.expect_passive(lab, owner)
