"""The disk under the owner's DRBD fails: DRBD drops it, the peer's serves, no error reaches the initiator."""

from lab import faults
from lab.errors import eventually
from lab.targets import RESOURCE


def story(lab):
    other = lab.owner()
    owner = lab.other(other)
    with lab.step(f"a disk that can fail below DRBD on {owner.name}, which becomes the owner"):
        faults.put_dm_below(lab, owner)
        lab.move(owner)
    with faults.written(lab, "disk error under the owner") as steady:
        with lab.step(f"every I/O of that disk fails; the group goes to {other.name}, where there is one"):
            faults.break_disk(owner)
            eventually(lambda: owner.drbd().get("ds", "").startswith("Diskless/"), 60, "DRBD has dropped the disk")
            steady.wait_more()
            lab.wait_served(on=other)
            steady.wait_more()
            faults.expect_alone(lab, other)
        with lab.step(f"a good disk again on {owner.name}: it catches up, and a move there works"):
            faults.mend_disk(owner)
            owner.run(["drbdadm", "attach", RESOURCE])
            faults.expect_passive(lab, owner)
            faults.write_mark(lab)
            lab.move(owner)
            faults.read_mark(lab)
