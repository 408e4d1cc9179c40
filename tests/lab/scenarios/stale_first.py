"""Both nodes with data are off; the one whose data is old is started first: it serves nothing until the other is there."""

import time

from lab import faults

# How long the stale node gets to do the wrong thing, from when it has joined.
STALE_SECONDS = 30


def story(lab):
    stale = lab.owner()
    newest = lab.other(stale)
    third = lab.guest("iscsi-2")
    with faults.written(lab, "both nodes off, the stale one first") as steady:
        with lab.step(f"{stale.name} loses its power; {newest.name} serves and is written to"):
            stale.cut_power()
            lab.wait_served(on=newest)
            steady.wait_more()
            faults.write_mark(lab)
        with lab.step(f"{newest.name} loses its power; {stale.name} is started, with the third node for quorum"):
            newest.cut_power()
            lab.power_on(stale)
            faults.eventually(lambda: third.quorum() == (True, 2), 90, f"{third.name} and {stale.name} have quorum")
            faults.eventually(lambda: faults.candidate(lab, stale)["member"], 90, f"{stale.name} has told its state")
        with lab.step(f"{stale.name} does not serve its old data"):
            deadline = time.monotonic() + STALE_SECONDS
            while time.monotonic() < deadline:
                lab.expect(not faults.serves(stale), f"{stale.name} serves old data; DRBD: {stale.drbd()}")
                time.sleep(1)
            lab.say(lab.itgtctl("why", "drbd0"))
            lab.expect(stale.drbd().get("ro", "").startswith("Secondary/"), f"{stale.name} has promoted old data: {stale.drbd()}")
        with lab.step(f"{newest.name} is started: service, with what was written last"):
            lab.power_on(newest)
            lab.wait_served(on=newest, seconds=180)
            faults.read_mark(lab)
            faults.expect_passive(lab, stale)
