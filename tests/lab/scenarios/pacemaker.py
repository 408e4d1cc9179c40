"""itgtd beside Pacemaker with the seed's configuration: the longest write of each failover, on the same guests.

First itgtd, then Pacemaker with LIO: planned moves, each of the initiator's cables pulled, the owner's power cut, under one 4 KiB write after another
on a multipath disk that queues. Pacemaker's agents are shell and Python, which emulation slows most; read the ratios with that in mind.
Two things of the seed's configuration are mended, or it would not start (lab/pacemaker.py).
"""

from lab.network import STORAGE
from lab.pacemaker import Pacemaker, require
from lab.peer import log_in, log_out

SECONDS_MAX = 5400
MOVES = 2
# The writer gives up after that.
WRITER_SECONDS = 1800
GOAL = 20.0


def run(lab):
    require()
    lab.up()
    found = {"itgtd": with_itgtd(lab), "Pacemaker": with_pacemaker(lab)}
    rows = []
    for what, ours in found["itgtd"].items():
        theirs = found["Pacemaker"][what]
        ratio = theirs["longest_ms"] / max(ours["longest_ms"], 1)
        rows.append([what, f"{ours['longest_ms']:.0f}", f"{theirs['longest_ms']:.0f}", f"1/{ratio:.1f}", f"{ours['errors']} / {ours['lost']}",
                     f"{theirs['errors']} / {theirs['lost']}"])
    lab.table("Longest write in ms; writes that failed / blocks that were lost",
              ["what happened", "itgtd", "Pacemaker", "itgtd's part of Pacemaker's", "failed / lost, itgtd", "failed / lost, Pacemaker"], rows)


def with_itgtd(lab):
    found = {}
    with lab.step("itgtd: login, two active paths"):
        log_in(lab.initiator)
    for number in range(MOVES):
        to = lab.other(lab.owner())
        lab.wait_in_sync()
        found[f"planned move {number + 1}"] = event(lab, f"itgtd: planned move to {to.name}", lambda to=to: lab.move(to))
    found |= cables(lab, "itgtd")
    owner = lab.owner()

    def cut() -> None:
        owner.cut_power()
        lab.wait_served(not_on=owner)

    found["owner's power cut"] = event(lab, f"itgtd: {owner.name} loses its power", cut)
    with lab.step(f"itgtd: {owner.name} comes back; then itgtd is stopped everywhere"):
        lab.power_on(owner)
        lab.wait_in_sync()
        log_out(lab.initiator)
        serving = lab.owner()
        for node in sorted(lab.nodes, key=lambda node: node is serving):
            node.stop_itgtd()
    return found


def with_pacemaker(lab):
    found = {}
    pacemaker = Pacemaker(lab.nodes)
    with lab.step("Pacemaker starts, with the seed's configuration"):
        pacemaker.start()
        pacemaker.wait_served()
    with lab.step("Pacemaker: login, two active paths"):
        log_in(lab.initiator)
    for number in range(MOVES):
        to = lab.other(pacemaker.wait_served())
        lab.wait_in_sync()

        def move(to=to) -> None:
            pacemaker.move(to)
            pacemaker.wait_served(on=to)

        found[f"planned move {number + 1}"] = event(lab, f"Pacemaker: planned move to {to.name}", move)
    found |= cables(lab, "Pacemaker")
    owner = pacemaker.wait_served()

    def cut() -> None:
        owner.cut_power()
        pacemaker.wait_served(on=lab.other(owner))

    found["owner's power cut"] = event(lab, f"Pacemaker: {owner.name} loses its power", cut)
    for failure in pacemaker.failures():
        lab.say(f"         Pacemaker: {failure}")
    return found


def cables(lab, who):
    """Each of the initiator's: one of them is the path in use."""
    found = {}
    for network in STORAGE:
        def pull(network=network) -> None:
            lab.pull_cable("initiator", network)
            lab.initiator.wait_paths(1)

        found[f"initiator's cable of {network} pulled"] = event(lab, f"{who}: the initiator's cable of {network} is pulled", pull, paths=1)
        with lab.step(f"{who}: the cable of {network} is put back"):
            lab.put_back("initiator", network)
            lab.initiator.wait_paths(2, 120)
    return found


def event(lab, text, happen, paths=2):
    """What it does to one write after another; until they go on and the paths are as they should be."""
    steady = lab.initiator.steady_io(seconds=WRITER_SECONDS, interval_ms=20)
    with lab.step(text):
        happen()
        steady.wait_more(20, seconds=900)
        lab.initiator.wait_paths(paths, 600)
    found = steady.finish(strict=False)
    lab.measured(f"{text}: longest write of {found['writes']}, {found['errors']} failed, {found['lost']} lost", found["longest_ms"])
    return found
