"""Three nodes with a corosync and an itgtd each, a disk that all see, and an initiator that writes on both paths.

Whatever happens: no write is lost, the initiator sees no error and no login that is rejected, and one node serves.
"""

import json
import pathlib
import shutil
import signal
import threading
import time

from harness import daemon as daemons
from harness import pdu as p
from harness import scsi as s
from harness.case import IQN, MIB
from harness.cluster import STORAGE, ClusterCase, Node, Process, eventually
from harness.initiator import Initiator

GROUP = "drbd0"
VIPS = ("192.168.222.35", "192.168.221.35")
VIP_OF = dict(zip(STORAGE, VIPS))
CONFIG = """[cluster]

[[group]]
name = "drbd0"
storage = "shared"
vips = [{vips}]

[[target]]
name = "{iqn}"
group = "drbd0"

[[target.lun]]
path = "{disk}"
serial = "aaaaaaa0"
"""
REGISTER, RESERVE = 0, 1
WRITE_EXCLUSIVE = 1
RESERVATION_CONFLICT = 0x18
KEY = 0x1234


def writer_binary() -> str:
    return str(pathlib.Path(daemons.binary()).parent / "tests/system/itgt-steady-writer")


class Writer:
    """itgt-steady-writer on the client."""

    def __init__(self, test: "Served", interval_ms: int = 2):
        self.test = test
        urls = [f"iscsi://{f'[{vip}]' if ':' in vip else vip}/{IQN}/0" for vip in test.vips]
        command = [writer_binary(), "110", str(interval_ms), *urls]
        self.process: Process = test.cluster.client.start("writer", command)

    def writes(self) -> int:
        lines = [line for line in self.process.log.splitlines() if line.startswith("progress ")]
        return int(lines[-1].split()[1]) if lines else 0

    def paths(self) -> int:
        lines = [line for line in self.process.log.splitlines() if line.startswith("progress ")]
        return int(lines[-1].split()[2]) if lines else 0

    def wait_more(self, count: int = 30, seconds: float = 60.0) -> None:
        before = self.writes()
        eventually(lambda: self.writes() >= before + count, seconds, f"{count} writes after {before}")

    def finish(self, what: str, longest_ms: int) -> dict:
        """Ends it; everything must have been well. `longest_ms`: of one command, at most."""
        self.process.signal(signal.SIGTERM)
        self.process.popen.wait(100)
        found = json.loads(self.process.log.splitlines()[-1])
        test = self.test
        test.assertEqual(found["errors"], [], json.dumps(found["events"], indent=1))
        test.assertEqual((found["lost"], found["login_rejects"]), (0, 0))
        test.notes = [*getattr(test, "notes", []),
                      f"{what}: longest command {found['longest_ms']} ms of {found['writes']} writes, {found['reconnects']} reconnects"]
        slow = 3 if daemons.sanitized() else 1
        test.assertLessEqual(found["longest_ms"], longest_ms * slow, json.dumps(found["events"], indent=1))
        return found


class Served(ClusterCase):
    """A cluster whose group is served when a test begins."""

    started_by_setup = True
    vips = VIPS
    prefix_bits = (24, 24)
    restart_ms = 100

    def setUp(self) -> None:
        super().setUp()
        for needed in (writer_binary(), str(pathlib.Path(daemons.binary()).parent / "itgtctl")):
            if not pathlib.Path(needed).exists():
                self.skipTest(f"{needed} is not built")
        for tool in ("nft", "setpriv"):
            if shutil.which(tool) is None:
                self.skipTest(f"{tool} is not installed")
        self.addCleanup(self.end_daemons)
        self.disk = self.folder.disk("disk", 16 * MIB)
        self.prepare_networks()
        self.cluster.start_corosync()
        if self.started_by_setup:
            self.start_itgtd()
            self.owner = self.wait_served()

    def prepare_networks(self) -> None:
        """What a test adds to them."""

    def config(self, disk: str) -> str:
        vips = ", ".join(f'"{vip}/{bits}"' for vip, bits in zip(self.vips, self.prefix_bits))
        return CONFIG.format(iqn=IQN, disk=disk, vips=vips)

    def start_itgtd(self) -> None:
        for node in self.nodes:
            node.start_itgtd(self.config(self.disk), self.restart_ms)

    def end_daemons(self) -> None:
        """All that still run, at once, as when all machines are shut down: a leak shows only at a daemon's end."""
        if self.failed():
            return
        for node in self.live():
            node.itgtd.signal(signal.SIGTERM)
        for node in self.live():
            self.assertEqual(node.itgtd.popen.wait(40), 0, f"how itgtd on {node.name} ended")

    # --- Who serves.

    def live(self) -> list[Node]:
        return [node for node in self.nodes if node.itgtd is not None]

    @staticmethod
    def group(node: Node) -> dict:
        """As the node has it; before corosync has told it who it is: no owner."""
        unknown = {"name": GROUP, "state": "unknown", "owner": None, "epoch": 0}
        return next((group for group in node.status()["groups"] if group["name"] == GROUP), unknown)

    def wait_served(self, on: Node | None = None, not_on: Node | None = None, seconds: float = 30.0, ask: Node | None = None) -> Node:
        """Until the node that is asked knows an owner that serves; returns it."""
        def owner() -> Node | None:
            asked = ask or next(node for node in self.live() if node is not not_on)
            group = self.group(asked)
            found = next((node for node in self.nodes if node.name == group["owner"]), None)
            served = group["state"] == "active" and found is not not_on and (on is None or found is on)
            return found if served else None

        wanted = f" on {on.name}" if on else f" not on {not_on.name}" if not_on else ""
        return eventually(owner, seconds, f"the group is served{wanted}", 0.1)

    def one_owner(self) -> Node:
        """Every node names the same one, and that one alone has the VIPs."""
        def agreed() -> Node | None:
            groups = [self.group(node) for node in self.live()]
            if any(group["state"] != "active" for group in groups) or len({(g["owner"], g["epoch"]) for g in groups}) != 1:
                return None
            holders = {node.name: node.addresses() & set(self.vips) for node in self.nodes}
            right = {node.name: set(self.vips) if node.name == groups[0]["owner"] else set() for node in self.nodes}
            return next(node for node in self.nodes if node.name == groups[0]["owner"]) if holders == right else None

        return eventually(agreed, 20, "one owner that alone has the VIPs", 0.2)

    def others(self, node: Node) -> list[Node]:
        return [other for other in self.nodes if other is not node]

    def writer(self, **options) -> Writer:
        writer = Writer(self, **options)
        writer.wait_more(30)
        return writer

    def lose_network_everywhere(self, network: str, what: str) -> None:
        """No node is better: the group stays where it is, and the other path serves."""
        writer = self.writer()
        for node in self.nodes:
            self.cluster.unplug(node, network)
        writer.wait_more(300)
        self.assertEqual(self.group(self.owner)["owner"], self.owner.name)
        for node in self.nodes:
            self.cluster.plug(node, network)
        eventually(lambda: writer.paths() == 2, 40, "the second path")
        self.assertIs(self.one_owner(), self.owner)
        writer.finish(what, 15000)


class FirstStart(Served):
    started_by_setup = False

    def test_first_start(self):
        """One node serves, the most preferred one, and both VIPs are with it."""
        started = time.monotonic()
        self.start_itgtd()
        self.assertIs(self.wait_served(), self.nodes[0])
        self.notes = [f"first start: served after {time.monotonic() - started:.1f} s"]
        writer = self.writer()
        self.assertIs(self.one_owner(), self.nodes[0])
        writer.finish("no failover", 1000)

    def test_only_one_vip_is_needed(self):
        """The network of the first VIP is cut on every node: the group is started and served on the other."""
        for node in self.nodes:
            self.cluster.unplug(node, "enp0s8")
        self.start_itgtd()
        owner = self.wait_served()
        writer = self.writer()
        self.assertEqual(writer.paths(), 1)
        for node in self.nodes:
            self.cluster.plug(node, "enp0s8")
        eventually(lambda: writer.paths() == 2, 40, "the second path")
        self.assertIs(self.one_owner(), owner)
        writer.finish("only one VIP", 1000)

    def test_vip_that_cannot_start_on_one_node(self):
        """The most preferred node has no link for one VIP: another one serves both."""
        self.cluster.unplug(self.nodes[0], "enp0s9")
        self.start_itgtd()
        self.wait_served(not_on=self.nodes[0])
        writer = self.writer()
        self.assertIsNot(self.one_owner(), self.nodes[0])
        writer.finish("a VIP that cannot start on one node", 1000)

    def test_node_that_may_not_own_the_group(self):
        """It is there for quorum, and need not have the group's DRBD resource."""
        config = self.config("/dev/drbd0").replace('storage = "shared"', 'drbd = "r0"\nnodes = ["node-1", "node-2"]')
        node = self.nodes[2]
        node.start_itgtd(config)
        pid = node.daemon_pid()
        eventually(lambda: "cluster: this node is node-3" in node.itgtd.log, 20, "the daemon has joined the cluster")
        self.assertEqual(self.group(node)["owner"], None)
        self.assertEqual(node.daemon_pid(), pid, "it has died and was started again")
        self.assertNotIn("r0", node.itgtd.log)


class Failover(Served):
    def test_planned_move(self):
        writer = self.writer()
        target = self.others(self.owner)[0]
        self.owner.itgtctl("move", GROUP, target.name)
        self.wait_served(on=target)
        writer.wait_more()
        self.assertIs(self.one_owner(), target)
        writer.finish("planned move", 3000)

    def test_back_at_once_after_the_async_message(self):
        """Who connects as soon as it is told, before the network knows where the address goes, waits for no retransmission."""
        longest = 0.0
        for _ in range(4):
            owner = self.wait_served()
            target = self.others(owner)[0]
            session = self.connected()
            # By the owner, which has a lease: another node may have none yet, and would refuse.
            move = threading.Thread(target=owner.itgtctl, args=("move", GROUP, target.name))
            move.start()
            session.wait_for(p.ASYNC, timeout=10.0)
            started = time.monotonic()
            self.connected().close()
            longest = max(longest, time.monotonic() - started)
            move.join()
            self.wait_served(on=target)
        self.notes = [f"back after the Async Message: after {longest * 1000:.0f} ms at most"]
        self.assertLess(longest, 0.8 * (3 if daemons.sanitized() else 1))

    def connected(self) -> Initiator:
        made = Initiator((VIPS[0], 3260), timeout=20.0, connect=self.cluster.client.connect)
        self.addCleanup(made.close)
        return made.login(IQN)

    def test_moved_there_and_back(self):
        """Ten times, so that what is left behind by a move shows."""
        writer = self.writer()
        owner = self.owner
        for _ in range(10):
            target = self.others(owner)[0]
            owner.itgtctl("move", GROUP, target.name)
            owner = self.wait_served(on=target, ask=self.nodes[2])
            writer.wait_more(10)
        self.one_owner()
        writer.finish("ten moves", 5000)

    def test_sigkill(self):
        """The daemon is started again at once: the group stays."""
        writer = self.writer()
        self.owner.signal_daemon(signal.SIGKILL)
        writer.wait_more()
        owner = self.one_owner()
        if not daemons.sanitized():  # with sanitizers it may take longer to start than the others wait
            self.assertIs(owner, self.owner)
        writer.finish("SIGKILL, started again", 5000)

    def test_sigkill_for_good(self):
        writer = self.writer()
        self.owner.kill_itgtd()
        self.wait_served(not_on=self.owner)
        writer.wait_more()
        self.assertIsNot(self.one_owner(), self.owner)
        writer.finish("SIGKILL, not started again", 10000)

    def test_stopped_with_sigterm(self):
        writer = self.writer()
        self.assertEqual(self.owner.stop_itgtd(), 0)
        self.wait_served(not_on=self.owner)
        writer.wait_more()
        self.assertIsNot(self.one_owner(), self.owner)
        writer.finish("SIGTERM", 5000)

    def test_node_lost(self):
        writer = self.writer()
        self.owner.power_off()
        self.wait_served(not_on=self.owner)
        writer.wait_more()
        self.assertIsNot(self.one_owner(), self.owner)
        writer.finish("node lost", 15000)

    def test_sigstop_and_sigcont(self):
        """A daemon that hangs is muted by its kernel, another node takes over; when it goes on it must see that it is too late."""
        writer = self.writer()
        self.owner.signal_daemon(signal.SIGSTOP)
        new = self.wait_served(not_on=self.owner)
        writer.wait_more()
        eventually(lambda: not self.owner.addresses() & set(VIPS), 20, "the addresses of a daemon that hangs go")
        self.owner.signal_daemon(signal.SIGCONT)
        writer.wait_more(200)
        self.assertIs(self.one_owner(), new)
        writer.finish("SIGSTOP", 20000)

    def test_short_sigstop(self):
        """Shorter than the lease: nothing moves."""
        writer = self.writer()
        epoch = self.group(self.owner)["epoch"]
        self.owner.signal_daemon(signal.SIGSTOP)
        time.sleep(1.0)
        self.owner.signal_daemon(signal.SIGCONT)
        writer.wait_more(200)
        self.assertIs(self.one_owner(), self.owner)
        self.assertEqual(self.group(self.owner)["epoch"], epoch)
        writer.finish("SIGSTOP for 1 s", 3000)

    def test_partition_of_the_owner(self):
        """The ring is cut, the storage networks stay: the owner must be silent before another one serves."""
        writer = self.writer()
        self.cluster.partition("ring", self.others(self.owner), [self.owner])
        new = self.wait_served(not_on=self.owner)
        writer.wait_more()
        self.cluster.heal("ring")
        self.cluster.wait_quorate(self.nodes)
        writer.wait_more(100)
        self.assertIs(self.one_owner(), new)
        writer.finish("partition of the owner", 15000)

    def test_partition_of_another_node(self):
        writer = self.writer()
        alone = self.others(self.owner)[0]
        self.cluster.partition("ring", self.others(alone), [alone])
        self.cluster.wait_quorate(self.others(alone))
        writer.wait_more(100)
        self.cluster.heal("ring")
        self.cluster.wait_quorate(self.nodes)
        writer.wait_more(100)
        self.assertIs(self.one_owner(), self.owner)
        writer.finish("partition of another node", 3000)

    def test_no_quorum_and_back(self):
        """Three nodes that do not see each other: nobody serves; then one does."""
        writer = self.writer()
        self.cluster.partition("ring", *[[node] for node in self.nodes])
        eventually(lambda: all(not node.quorum()[0] for node in self.nodes), 20, "no quorum anywhere")
        time.sleep(6.0)
        served = writer.writes()
        time.sleep(2.0)
        self.assertEqual(writer.writes(), served, "a write was answered without quorum")
        self.cluster.heal("ring")
        writer.wait_more()
        self.one_owner()
        writer.finish("no quorum for a while", 40000)

    def test_corosync_killed_on_the_owner(self):
        writer = self.writer()
        self.owner.corosync.kill()
        new = self.wait_served(not_on=self.owner)
        writer.wait_more()
        self.owner.start_corosync()
        self.cluster.wait_quorate(self.nodes)
        writer.wait_more(100)
        self.assertIs(self.one_owner(), new)
        writer.finish("corosync killed", 15000)

    def test_corosync_hangs_on_the_owner(self):
        """Its lease ends, another node takes over; a daemon that is started while corosync hangs answers who asks it."""
        writer = self.writer()
        self.owner.corosync.signal(signal.SIGSTOP)
        new = self.wait_served(not_on=self.owner)
        writer.wait_more()
        self.owner.signal_daemon(signal.SIGKILL)
        eventually(lambda: "it hangs" in self.owner.itgtctl("status", check=False, seconds=5.0), 20, "itgtctl status says that it hangs")
        self.owner.corosync.signal(signal.SIGCONT)
        self.cluster.wait_quorate(self.nodes)
        writer.wait_more(100)
        self.assertIs(self.one_owner(), new)
        writer.finish("corosync hangs", 20000)

    def test_all_nodes_restarted(self):
        writer = self.writer()
        for node in self.nodes:
            node.power_off()
        for node in self.nodes:
            node.power_on()
        for node in self.nodes:
            node.start_itgtd()
        self.wait_served()
        writer.wait_more()
        self.one_owner()
        writer.finish("all nodes restarted", 40000)

    def test_all_nodes_restarted_one_stays_away(self):
        writer = self.writer()
        for node in self.nodes:
            node.power_off()
        for node in self.nodes[1:]:
            node.power_on()
            node.start_itgtd()
        self.wait_served()
        writer.wait_more()
        self.one_owner()
        writer.finish("all nodes restarted, one stays away", 45000)


class IPv6(Served):
    """A VIP of each family; the writer has a path on each."""

    vips = ("192.168.222.35", "2001:db8:221::35")
    prefix_bits = (24, 64)

    def prepare_networks(self) -> None:
        for number, machine in enumerate([*self.nodes, self.cluster.client], 1):
            machine.run("ip", "address", "add", f"2001:db8:221::{number}/64", "dev", "enp0s9", "nodad")

    def test_planned_move(self):
        writer = self.writer()
        eventually(lambda: writer.paths() == 2, 20, "both paths")
        target = self.others(self.owner)[0]
        self.owner.itgtctl("move", GROUP, target.name)
        self.wait_served(on=target)
        writer.wait_more()
        self.assertIs(self.one_owner(), target)
        eventually(lambda: writer.paths() == 2, 20, "both paths after the move")
        writer.finish("planned move, a VIP of IPv6", 3000)

    def test_node_lost(self):
        """The path of IPv6 is back too: announced, and the old connection reset."""
        writer = self.writer()
        eventually(lambda: writer.paths() == 2, 20, "both paths")
        self.owner.power_off()
        self.wait_served(not_on=self.owner)
        writer.wait_more()
        self.assertIsNot(self.one_owner(), self.owner)
        eventually(lambda: writer.paths() == 2, 20, "both paths on the new owner")
        writer.finish("node lost, a VIP of IPv6", 15000)

    def test_only_the_vip_of_ipv6_is_left(self):
        self.lose_network_everywhere("enp0s8", "IPv6 alone for a while")


class LateRestart(Served):
    restart_ms = 2500

    def test_sigkill_started_again_late(self):
        """Another node has the group by then. Its initiators came back at once, to a socket that is listened on while no daemon
        runs: the one that finds them there must have them sent on."""
        writer = self.writer()
        self.owner.signal_daemon(signal.SIGKILL)
        new = self.wait_served(not_on=self.owner)
        writer.wait_more()
        self.assertIs(self.one_owner(), new)
        writer.finish("SIGKILL, started again late", 8000)


class Links(Served):
    def test_loss_of_one_link(self):
        """Another node has both: the group goes there, and until then the other path serves."""
        writer = self.writer()
        self.cluster.unplug(self.owner, "enp0s8")
        self.wait_served(not_on=self.owner)
        writer.wait_more()
        self.assertIsNot(self.one_owner(), self.owner)
        writer.finish("loss of one link", 15000)

    def test_loss_of_one_link_everywhere(self):
        self.lose_network_everywhere("enp0s8", "loss of one link everywhere")

    def test_loss_of_all_links(self):
        writer = self.writer()
        self.cluster.unplug(self.owner, *STORAGE)
        self.wait_served(not_on=self.owner)
        writer.wait_more()
        self.assertIsNot(self.one_owner(), self.owner)
        writer.finish("loss of all links", 25000)

    def test_ruleset_flushed(self):
        writer = self.writer()
        before = self.owner.run("nft", "list", "table", "inet", "itgtd")
        self.assertIn(VIPS[0], before)
        self.owner.run("nft", "flush", "ruleset")
        eventually(lambda: VIPS[0] in self.owner.run("nft", "list", "table", "inet", "itgtd", check=False), 2, "the gate is put back")
        writer.wait_more(100)
        self.assertIs(self.one_owner(), self.owner)
        writer.finish("ruleset flushed", 1000)

    def test_address_removed(self):
        writer = self.writer()
        for network in STORAGE:
            listed = self.owner.run("ip", "-o", "address", "show", "dev", network)
            bits = next(word for word in listed.split() if word.startswith(f"{VIP_OF[network]}/"))
            self.owner.run("ip", "address", "delete", bits, "dev", network)
        removed = time.monotonic()
        eventually(lambda: set(VIPS) <= self.owner.addresses(), 2, "the addresses are put back", 0.01)
        self.notes = [f"addresses put back after {1000 * (time.monotonic() - removed):.0f} ms"]
        writer.wait_more(100)
        self.assertIs(self.one_owner(), self.owner)
        writer.finish("addresses removed", 2000)


class Reservations(Served):
    def login(self, number: int) -> Initiator:
        made = Initiator((VIPS[number % 2], 3260), name=f"iqn.1993-08.org.debian:01:host-{number}", timeout=20.0,
                         connect=self.cluster.client.connect)
        self.addCleanup(made.close)
        made.login(IQN)
        for _ in range(8):
            if made.command(bytes(6)).status == 0:
                break
        return made

    def test_reservation_held_across_a_move(self):
        first, second = self.login(1), self.login(2)
        registered = first.command(s.persistent_reserve_out(REGISTER), write=s.reservation_list(0, KEY))
        self.assertEqual(registered.status, 0)
        self.assertEqual(first.command(s.persistent_reserve_out(RESERVE, WRITE_EXCLUSIVE), write=s.reservation_list(KEY)).status, 0)
        self.assertEqual(second.command(s.write_16(0, 1), write=bytes(512)).status, RESERVATION_CONFLICT)
        target = self.others(self.owner)[0]
        self.owner.itgtctl("move", GROUP, target.name)
        self.wait_served(on=target)
        self.check_reservation()
        target.power_off()
        self.wait_served(not_on=target)
        self.check_reservation()

    def check_reservation(self) -> None:
        first, second = self.login(1), self.login(2)
        self.assertEqual(s.keys_of(bytes(first.command(s.persistent_reserve_in(0), read=4096).data))[1], [KEY])
        self.assertEqual(second.command(s.write_16(0, 1), write=bytes(512)).status, RESERVATION_CONFLICT)
        self.assertEqual(first.command(s.write_16(0, 1), write=bytes(512)).status, 0)
