"""The owner is cut off from the other nodes, with and without the initiator: it falls silent before another one serves."""

from lab import faults
from lab.network import NETWORKS, RING


def story(lab):
    cut_off(lab, "the initiator still reaches it", [RING])
    cut_off(lab, "from everybody", list(NETWORKS))


def cut_off(lab, what, networks):
    owner = lab.owner()
    other = lab.other(owner)
    with faults.written(lab, f"the owner is cut off, {what}") as steady:
        with lab.step(f"{owner.name} is cut off, {what}; {other.name} serves"):
            for network in networks:
                lab.pull_cable(owner.name, network)
            lab.wait_served(on=other, not_on=owner)
            faults.expect_alone(lab, other)
            steady.wait_more()
        with lab.step(f"{owner.name} is back: the Secondary, in sync"):
            for network in networks:
                lab.put_back(owner.name, network)
            faults.expect_passive(lab, owner)
            lab.expect(lab.owner() is other, "the group went back by itself")
