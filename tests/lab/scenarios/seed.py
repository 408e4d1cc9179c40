"""The article from top to bottom: two addresses, two paths, cables pulled, and the owner's power cut.

Both addresses are on the owner's interfaces, discovery tells both, two sessions make one multipath disk. While a file system on it
is written to, one cable after the other is pulled and put back, and the owner loses its power. Nothing is lost.
"""

import re

from lab.errors import eventually
from lab.network import STORAGE
from lab.targets import IQN, VIPS, WWID

LARGE_MIB = 48


def run(lab):
    lab.up()
    initiator = lab.initiator
    owner = lab.owner()
    addresses_of_the_owner(lab, owner)
    two_paths(lab, owner)
    with lab.step("a file system on mpatha, files with checksums"):
        initiator.make_filesystem()
        initiator.write_files()
        steady = initiator.steady_io(device="/mnt/steady")
    for network in STORAGE:
        cable(lab, steady, network)
    power_cut(lab, owner, steady)
    lab.verify_steady(steady, "all of it")
    with lab.step("everything read back and compared"):
        initiator.run(["cmp", "/tmp/large", "/mnt/large"])
        initiator.remount()
        initiator.check_files()
        initiator.run(["cmp", "/tmp/large", "/mnt/large"])
        initiator.run(["umount", "/mnt"])
        initiator.run(["e2fsck", "-f", "-n", "/dev/mapper/mpatha"])
    with lab.step("no errors in the kernels' logs"):
        lab.expect_no_kernel_errors()


def addresses_of_the_owner(lab, owner):
    with lab.step("both addresses are on the owner's interfaces, and nowhere else"):
        for network, vip in VIPS.items():
            said = owner.output(["ip", "address", "show", network])
            lab.expect(bool(re.search(rf"inet {vip}/\d+ scope global .*{network}", said)), said)
        others = {name: vips for name, vips in lab.vip_holders().items() if name != owner.name}
        lab.expect(not any(others.values()), f"addresses elsewhere: {others}")


def two_paths(lab, owner):
    initiator = lab.initiator
    with lab.step("discovery and login at both addresses"):
        found = initiator.discover(VIPS["enp0s8"])
        lab.expect(found == [f"{vip}:3260,1 {IQN}" for vip in VIPS.values()], f"discovery printed {found}")
        initiator.login()
    with lab.step("multipath -ll: one disk, two active paths"):
        paths = initiator.wait_paths(2)
        lab.expect([path.priority for path in paths] == [50, 50], f"priorities: {paths}")
        said = initiator.output(["multipath", "-ll"])
        lab.say(said.rstrip())
        lab.expect(f"mpatha ({WWID}) dm-" in said and "LIO-ORG,p_iscsi_lun_0" in said and "hwhandler='1 alua'" in said, said)
        initiator.wait_map()
    with lab.step("ss -tn: a session on each address"):
        said = owner.output(["ss", "-tn"])
        for network, vip in VIPS.items():
            peer = vip.rsplit(".", 1)[0] + ".254"
            found = re.findall(rf"ESTAB +\d+ +\d+ +{vip}:3260 +{peer}:\d+", said)
            lab.expect(len(found) == 1, f"{network}: {said}")


def cable(lab, steady, network):
    initiator = lab.initiator
    with lab.step(f"the initiator's cable of {network} is pulled"):
        lab.pull_cable("initiator", network)
        initiator.wait_paths(1)
        steady.wait_more()
    with lab.step(f"the initiator's cable of {network} is put back"):
        lab.put_back("initiator", network)
        initiator.wait_paths(2)
        steady.wait_more()


def power_cut(lab, owner, steady):
    initiator = lab.initiator
    with lab.step("the owner's power is cut while a large file is written"):
        initiator.run(["dd", "if=/dev/urandom", "of=/tmp/large", "bs=1M", f"count={LARGE_MIB}"])
        copy = initiator.start(["dd", "if=/tmp/large", "of=/mnt/large", "bs=256k", "oflag=direct", "conv=fsync"])
        eventually(lambda: int(initiator.output(["stat", "-c", "%s", "/mnt/large"], check=False).strip() or 0) >= LARGE_MIB << 18, 60,
                   "a quarter of the file", 0.1)
        lab.expect(copy.running(), "the large file was written before the power was cut: it is too small")
        owner.cut_power()
        lab.wait_served(not_on=owner)
        outcome = copy.wait(180)
        lab.expect(outcome.status == 0, f"the copy of the large file: {outcome.text}")
    with lab.step("two active paths, to the other node"):
        steady.wait_more()
        initiator.wait_paths(2)
        addresses = lab.vip_holders()[lab.owner().name]
        lab.expect(addresses == set(VIPS.values()), f"the new owner has {addresses}")
    lab.measured("takeover after the power cut, as the cluster saw it", lab.pause_ms(lab.owner()))
