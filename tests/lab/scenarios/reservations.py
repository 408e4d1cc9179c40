"""Persistent reservations outlive every failover: keys, holder and generation, who may write and who may not.

An initiator registers on both paths and reserves (write exclusive, registrants only) through one. A second initiator, which is not
registered, gets RESERVATION CONFLICT for its writes before and after. Then mpathpersist does the same, and a PREEMPT AND ABORT that
falls into a failover is durable or has not happened.
"""

import time

from lab import persistent
from lab.guest import BUILD
from lab.initiator import MPATH, MULTIPATH_CONF, Initiator
from lab.targets import GROUP

KEY, OTHER_KEY, MPATH_KEY = "0x5a5a", "0x2222", "0x7777"
KIND = "Write Exclusive, registrants only"
# ms between the start of a move and the PREEMPT AND ABORT.
PREEMPT_DELAYS_MS = (0, 150, 400)
SECONDS_MAX = 2400


def run(lab):
    lab.also_prepare = prepare
    lab.up(initiators=2)
    holder, other = lab.guest("initiator"), lab.guest("initiator-2")
    with lab.step("two active paths on both initiators"):
        for initiator in (holder, other):
            initiator.login()
            initiator.wait_paths(2)
            initiator.wait_map()
    with lab.step("sg_persist: registered on both paths, reserved through one"):
        before = registered_and_reserved(lab, holder)
        only_the_holder_writes(lab, holder, other)
    steady = holder.steady_io()
    with lab.step("a planned move changes nothing"):
        moved(lab, steady, holder, other)
        unchanged(lab, before, holder, other)
    cut = lab.owner()
    with lab.step(f"{cut.name} loses its power; nothing changes"):
        cut.cut_power()
        lab.wait_served(not_on=cut)
        settled(steady, holder, other)
        unchanged(lab, before, holder, other)
    with lab.step(f"{cut.name} comes back and takes over; nothing changes"):
        lab.power_on(cut)
        moved(lab, steady, holder, other)
        unchanged(lab, before, holder, other)
    lab.verify_steady(steady, "the holder's writes")
    with_mpathpersist(lab, holder, other)
    preempt_in_a_move(lab, holder, other)
    preempt_in_a_power_cut(lab, holder, other)
    with lab.step("no errors in the kernels' logs"):
        lab.expect_no_kernel_errors()


def prepare(guest):
    """mpathpersist wants to find its key there."""
    if isinstance(guest, Initiator):
        guest.write("/etc/multipath.conf", MULTIPATH_CONF.replace("defaults {\n", f"defaults {{\n  reservation_key {MPATH_KEY}\n"))
        guest.run(["multipathd", "reconfigure"])


def devices(initiator):
    return sorted(path.device for path in initiator.wait_paths(2))


def registered_and_reserved(lab, holder, key=KEY):
    """What both paths say then."""
    first, second = devices(holder)
    for device in (first, second):
        persistent.change(holder, device, "register-ignore", f"param-sark={key}")
    persistent.change(holder, first, "reserve", f"param-rk={key}", f"prout-type={persistent.WRITE_EXCLUSIVE_REGISTRANTS_ONLY}")
    found = persistent.read(holder, first)
    lab.expect(found == persistent.read(holder, second), "the two paths differ")
    lab.expect((found.keys, found.holder, found.kind) == ((key, key), key, KIND), f"{found}")
    return found


def only_the_holder_writes(lab, holder, other):
    for device in devices(holder):
        lab.expect(not persistent.write_conflicts(holder, device), f"RESERVATION CONFLICT for a registered path, {device}")
    for device in devices(other):
        lab.expect(persistent.write_conflicts(other, device), f"no RESERVATION CONFLICT for {device} of {other.name}")
        other.run(["sg_raw", "-r", "512", f"/dev/{device}", *"28 00 00 00 00 00 00 00 01 00".split()])


def settled(steady, *initiators):
    for initiator in initiators:
        initiator.wait_paths(2)
    steady.wait_more()


def moved(lab, steady, holder, other):
    lab.wait_in_sync()
    lab.move(lab.other(lab.owner()))
    settled(steady, holder, other)


def unchanged(lab, before, holder, other):
    for initiator in (holder, other):
        for device in devices(initiator):
            found = persistent.read(initiator, device)
            lab.expect(found == before, f"{initiator.name}, {device}: {found}\nbefore: {before}")
    only_the_holder_writes(lab, holder, other)


def with_mpathpersist(lab, holder, other):
    """multipathd registers a path again that comes back, so that the generation may grow."""
    with lab.step("mpathpersist registers and reserves; a move changes neither keys nor holder"):
        persistent.change(holder, devices(holder)[0], "clear", f"param-rk={KEY}")
        holder.run(["mpathpersist", "--out", "--register", f"--param-sark={MPATH_KEY}", MPATH])
        holder.run(["mpathpersist", "--out", "--reserve", f"--param-rk={MPATH_KEY}",
                    f"--prout-type={persistent.WRITE_EXCLUSIVE_REGISTRANTS_ONLY}", MPATH])
        before = [persistent.read(holder, device) for device in devices(holder)]
        lab.expect(before[0] == before[1] and before[0].keys == (MPATH_KEY, MPATH_KEY) and before[0].holder == MPATH_KEY, f"{before}")
        only_the_holder_writes(lab, holder, other)
        steady = holder.steady_io()
        moved(lab, steady, holder, other)
        steady.finish()
        after = persistent.read(holder, devices(holder)[0])
        lab.expect((after.keys, after.holder, after.kind) == (before[0].keys, before[0].holder, before[0].kind), f"{after}\nbefore: {before[0]}")
        only_the_holder_writes(lab, holder, other)
    lab.measured("registrations by multipathd and failovers in that move", after.generation - before[0].generation, "times")
    with lab.step("mpathpersist releases and unregisters"):
        holder.run(["mpathpersist", "--out", "--release", f"--param-rk={MPATH_KEY}",
                    f"--prout-type={persistent.WRITE_EXCLUSIVE_REGISTRANTS_ONLY}", MPATH])
        holder.run(["mpathpersist", "--out", "--register", f"--param-rk={MPATH_KEY}", "--param-sark=0x0", MPATH])
        for device in devices(other):
            found = persistent.read(other, device)
            lab.expect((found.keys, found.holder) == ((), ""), f"{found}")
            lab.expect(not persistent.write_conflicts(other, device), f"RESERVATION CONFLICT for {device} of {other.name}")


def preempt_in_a_move(lab, holder, other):
    for delay_ms in PREEMPT_DELAYS_MS:
        with lab.step(f"PREEMPT AND ABORT {delay_ms} ms after a move began"):
            lab.wait_in_sync()
            to = lab.other(lab.owner())
            before = two_registered(lab, holder, other)
            move = lab.asked().start([f"{BUILD}/itgtctl", "move", GROUP, to.name])
            time.sleep(delay_ms / 1000)
            job = preempt(other)
            move.wait(90)
            lab.wait_served(on=to)
            ended = durable_or_not_at_all(lab, before, job, holder, other)
        lab.say(f"         {ended}")


def preempt_in_a_power_cut(lab, holder, other):
    with lab.step("PREEMPT AND ABORT while the owner's power is cut"):
        lab.wait_in_sync()
        before = two_registered(lab, holder, other)
        owner = lab.owner()
        job = preempt(other)
        owner.cut_power()
        lab.wait_served(not_on=owner)
        ended = durable_or_not_at_all(lab, before, job, holder, other)
    lab.say(f"         {ended}")


def two_registered(lab, holder, other):
    found = persistent.read(other, devices(other)[0])
    if found.keys:
        persistent.change(other, devices(other)[0], "register-ignore", f"param-sark={OTHER_KEY}")
        persistent.change(other, devices(other)[0], "clear", f"param-rk={OTHER_KEY}")
    registered_and_reserved(lab, holder)
    persistent.change(other, devices(other)[0], "register-ignore", f"param-sark={OTHER_KEY}")
    return persistent.read(other, devices(other)[0])


def preempt(other):
    words = ["sg_persist", "--no-inquiry", "--out", "--preempt-abort", f"--param-rk={OTHER_KEY}", f"--param-sark={KEY}",
             f"--prout-type={persistent.WRITE_EXCLUSIVE_REGISTRANTS_ONLY}", f"/dev/{devices(other)[0]}"]
    return other.start(words)


def durable_or_not_at_all(lab, before, job, holder, other):
    """Either everything of it is there, or nothing; it is there if it was acknowledged. Which, in words."""
    outcome = job.wait(120)
    states = [persistent.read(initiator, device) for initiator in (holder, other) for device in devices(initiator)]
    lab.expect(all(state == states[0] for state in states), f"paths differ: {states}")
    found = states[0]
    done = (found.keys, found.holder, found.generation) == ((OTHER_KEY,), OTHER_KEY, before.generation + 1)
    lab.expect(done or found == before, f"half of it: {found}\nbefore: {before}")
    lab.expect(done or outcome.status != 0, f"acknowledged and lost: {found}\nbefore: {before}")
    loser, winner = (holder, other) if done else (None, holder)
    lab.expect(not persistent.write_conflicts(winner, devices(winner)[0]), f"{winner.name} holds the reservation and can't write")
    if loser is not None:
        lab.expect(persistent.write_conflicts(loser, devices(loser)[0]), f"{loser.name} was preempted and can write")
    return f"sg_persist: status {outcome.status}; it {'is durable' if done else 'has not happened'}"
