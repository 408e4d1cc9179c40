"""fence_scsi fences a second initiator, before a failover and after one: the fenced one stays out, the other one goes on writing.

Both initiators are nodes of somebody's cluster and unfence themselves (action on). Each fences with PREEMPT AND ABORT through the
multipath map. With python in an emulated machine, each call takes some seconds.
"""

import shutil

from lab import persistent
from lab.errors import Skip
from lab.initiator import MPATH

KEYS = {"initiator": "7e570001", "initiator-2": "7e570002"}
KIND = "Write Exclusive, registrants only"
SECONDS_MAX = 2400


def run(lab):
    if shutil.which("fence_scsi", path="/usr/sbin:/sbin") is None:
        raise Skip("not installed: fence-agents")
    lab.up(initiators=2)
    first, second = lab.guest("initiator"), lab.guest("initiator-2")
    with lab.step("two active paths on both initiators"):
        for initiator in (first, second):
            initiator.login()
            initiator.wait_paths(2)
            initiator.wait_map()
    with lab.step("both unfence themselves, and can write"):
        fence(first, "on", KEYS[first.name])
        fence(second, "on", KEYS[second.name])
        expect(lab, first, [first, second])
    steady = first.steady_io()
    with lab.step(f"{second.name} is fenced"):
        fence(first, "off", KEYS[second.name])
        expect(lab, first, [first])
    with lab.step("after a planned move it still is"):
        lab.wait_in_sync()
        lab.move(lab.other(lab.owner()))
        settled(steady, first, second)
        expect(lab, first, [first])
        lab.expect("OFF" in fence(first, "status", KEYS[second.name], check=False).text, "fence_scsi has another view of it")
    with lab.step(f"{second.name} unfences itself"):
        fence(second, "on", KEYS[second.name])
        expect(lab, first, [first, second])
    owner = lab.owner()
    with lab.step(f"{owner.name} loses its power; both can write"):
        owner.cut_power()
        lab.wait_served(not_on=owner)
        settled(steady, first, second)
        expect(lab, first, [first, second])
    with lab.step(f"{second.name} is fenced by the new owner"):
        fence(first, "off", KEYS[second.name])
        expect(lab, first, [first])
        steady.wait_more()
    lab.verify_steady(steady, "the initiator that is not fenced")
    with lab.step("no errors in the kernels' logs"):
        lab.expect_no_kernel_errors()


def fence(initiator, action, key, check=True):
    return initiator.run(["fence_scsi", f"--action={action}", f"--devices={MPATH}", f"--key={key}", "--power-timeout=60"], check=check, seconds=240)


def settled(steady, *initiators):
    for initiator in initiators:
        initiator.wait_paths(2)
    steady.wait_more()


def expect(lab, holder, writers):
    """These two keys a path each and no others, and who may write."""
    for initiator in (guest for name, guest in lab.guests.items() if name in KEYS):
        for device in sorted(path.device for path in initiator.wait_paths(2)):
            found = persistent.read(initiator, device)
            wanted = sorted(f"0x{KEYS[writer.name]}" for writer in writers for _ in range(2))
            lab.expect(sorted(found.keys) == wanted, f"keys {found.keys}, not {wanted}")
            lab.expect((found.holder, found.kind) == (f"0x{KEYS[holder.name]}", KIND), f"{found}")
            lab.expect(persistent.write_conflicts(initiator, device) == (initiator not in writers), f"{initiator.name} {device}: writes")
