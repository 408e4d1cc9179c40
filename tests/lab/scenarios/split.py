"""The nodes are split, the owner alone on its side, and the initiator reaches both sides: only the majority's side serves."""

from lab import faults
from lab.network import NETWORKS


def story(lab):
    owner = lab.owner()
    other = lab.other(owner)
    with faults.written(lab, "split network") as steady:
        with lab.step(f"no packet goes between {owner.name} and the other nodes; {other.name} serves"):
            theirs = [f"{network}.{last}" for network in NETWORKS.values() for last in faults.others_of(owner)]
            faults.drop(owner, f"ip saddr {{ {', '.join(theirs)} }}", f"ip daddr {{ {', '.join(theirs)} }}")
            lab.wait_served(on=other, not_on=owner)
            faults.expect_alone(lab, other)
            steady.wait_more()
            faults.write_mark(lab)
        with lab.step(f"healed: {owner.name} is the Secondary, in sync"):
            faults.heal(owner)
            faults.expect_passive(lab, owner)
        with lab.step(f"a move to {owner.name}: it has everything"):
            lab.move(owner)
            faults.read_mark(lab)
