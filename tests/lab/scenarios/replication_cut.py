"""Only DRBD's packets are cut: the owner goes on, nobody moves to the node that lacks data, and when it has caught up moves work."""

import json

from lab import faults
from lab.errors import eventually
from lab.targets import GROUP


def story(lab):
    owner = lab.owner()
    other = lab.other(owner)
    with faults.written(lab, "replication cut") as steady:
        with lab.step(f"DRBD's packets are cut: {owner.name} goes on"):
            faults.drop_drbd(owner)
            eventually(lambda: owner.drbd().get("cs") != "Connected", 60, "DRBD has noticed")
            steady.wait_more(50)
            lab.expect(lab.owner() is owner, "the group was moved")
        with lab.step(f"{other.name} lacks data: it is no candidate, a move there is refused with the reason"):
            eventually(lambda: not faults.candidate(lab, other)["eligible"], 30, f"{other.name} is no candidate")
            lab.say("         why: " + faults.candidate(lab, other)["reason"])
            refused = lab.guest("iscsi-2").itgtctl("move", GROUP, other.name, check=False)
            lab.say("         move: " + refused)
            lab.expect(faults.candidate(lab, other)["reason"] != "" and "stor" in refused, f"no clear reason: {refused}")
            lab.expect(lab.owner() is owner, "the group was moved")
            steady.wait_more()
        with lab.step("healed: in sync again, and a move works"):
            faults.heal(owner)
            faults.expect_passive(lab, other)
            faults.write_mark(lab)
            lab.move(other)
            faults.read_mark(lab)
    lab.say(json.dumps(faults.candidate(lab, owner)))
