"""Only corosync's packets are cut between the owner and the others, DRBD stays connected: whoever serves then serves alone."""

from lab import faults


def story(lab):
    owner = lab.owner()
    other = lab.other(owner)
    with faults.written(lab, "corosync cut") as steady:
        with lab.step(f"corosync's packets are cut at {owner.name}; {other.name} serves, alone"):
            faults.drop_corosync(owner)
            lab.wait_served(on=other, not_on=owner, seconds=180)
            faults.expect_alone(lab, other)
            steady.wait_more()
        with lab.step(f"healed: {owner.name} is the Secondary"):
            faults.heal(owner)
            faults.expect_passive(lab, owner)
            faults.expect_alone(lab, other)
