"""The corosync adapter by itself (corosync_probe.cc), on three nodes with a real corosync each."""

import os
import pathlib
import signal
import subprocess

from harness import daemon as daemons
from harness.cluster import ClusterCase, Node, Process, eventually

GROUP = "itgtd:itgt-test"


def binary() -> str:
    return str(pathlib.Path(daemons.binary()).parent / "tests/system/itgt-corosync-probe")


class Probe:
    """The adapter as a process on a node; its events are lines."""

    def __init__(self, node: Node, group: str = GROUP, name: str = "probe"):
        self.node = node
        self.process: Process = node.start(name, [binary(), group], stdin=subprocess.PIPE,
                                           env={**os.environ, **daemons.SANITIZER_OPTIONS})
        self.lines_before = 0

    def lines(self, start: str = "") -> list[str]:
        complete = self.process.log.rpartition("\n")[0].splitlines()
        return [line for line in complete[self.lines_before:] if line.startswith(start)]

    def forget(self) -> None:
        """What was said until now."""
        self.lines_before = self.process.log.count("\n")

    def tell(self, text: str) -> None:
        self.process.popen.stdin.write(f"{text}\n".encode())
        self.process.popen.stdin.flush()

    def last(self, start: str) -> str:
        return self.lines(start)[-1] if self.lines(start) else ""

    def messages(self) -> list[str]:
        return [line for line in self.lines("message ") if "?" not in line]

    def member(self) -> str:
        return f"{self.node.number}/{self.process.pid}"

    def wait(self, start: str, contains: str = "", seconds: float = 15.0) -> str:
        def found() -> str:
            return next((line for line in self.lines(start) if contains in line), "")

        return eventually(found, seconds, f"'{start}...{contains}' of the probe on {self.node.name}, which said {self.lines()[-5:]}")

    def wait_last(self, start: str, contains: str, seconds: float = 15.0) -> str:
        def found() -> str:
            return self.last(start) if contains in self.last(start) else ""

        return eventually(found, seconds, f"last '{start}' with '{contains}' on {self.node.name}")

    def stop(self) -> None:
        self.tell("stop")
        self.process.popen.wait(10)


class Corosync(ClusterCase):
    def setUp(self) -> None:
        super().setUp()
        if not pathlib.Path(binary()).exists():
            self.skipTest(f"{binary()} is not built")
        self.addCleanup(self.end_probes)
        self.seconds = self.cluster.start_corosync()

    def probes(self) -> list[Probe]:
        """One on each node; returns when all see all."""
        probes = [Probe(node) for node in self.nodes]
        for probe in probes:
            for other in probes:
                probe.wait_last("members", other.member())
        return probes

    def end_probes(self) -> None:
        """Those that still run: a leak shows only at an end."""
        if self.failed():
            return
        for node in self.nodes:
            for process in node.processes:
                if process is not node.corosync and process.running() and process.popen.stdin:
                    process.popen.stdin.close()
                    self.assertEqual(process.popen.wait(20), 0, f"how {process.name} on {node.name} ended")

    def same_ring(self, probes: list[Probe], nodes: str, quorate: str) -> None:
        """The newest ring and the newest quorum notification of all are of the same ring."""
        def agreed() -> bool:
            rings = {probe.last("ring").removeprefix("ring ") for probe in probes}
            quorums = {probe.last("quorum").removeprefix("quorum ") for probe in probes}
            if len(rings) != 1 or len(quorums) != 1:
                return False
            ring, quorum = rings.pop(), quorums.pop()
            return ring.endswith(f"nodes {nodes}") and quorum == f"{ring.split()[0]} {quorate} nodes {nodes}"

        eventually(agreed, 15, f"ring and quorum of {nodes}: {[(p.last('ring'), p.last('quorum')) for p in probes]}")

    def test_three_nodes_join(self):
        """Quorate within 6 s, and every probe knows the nodes, the ring, the quorum and the members."""
        self.assertLess(self.seconds, 6 * (2 if daemons.sanitized() else 1))
        self.notes = [f"corosync on three nodes: quorate after {self.seconds:.1f} s"]
        probes = self.probes()
        self.same_ring(probes, "1,2,3", "yes")
        for probe in probes:
            self.assertEqual(probe.lines("nodes"), ["nodes 1=node-1 2=node-2 3=node-3"])
            self.assertEqual(probe.lines("lost"), [])
            self.assertNotIn("ended 1", probe.last("members"))

    def test_settings(self):
        probe = Probe(self.nodes[1])
        probe.tell("settings")
        said = probe.wait("settings")
        self.assertEqual(said, "settings self 2 node-2 nodes 3 token 1650 consensus 1980 provider true two_node false "
                               "tie_breaker false device false")

    def test_messages_arrive_in_one_order(self):
        """More than corosync takes at once, from all sides."""
        probes = self.probes()
        for probe in probes:
            probe.tell("flood 400")
        for probe in probes:
            eventually(lambda probe=probe: len(probe.messages()) == 1200, 30, f"1200 messages at {probe.node.name}")
        self.assertEqual(probes[0].messages(), probes[1].messages())
        self.assertEqual(probes[0].messages(), probes[2].messages())
        for probe in probes:
            own = [line for line in probe.messages() if line.split()[1] == probe.member()]
            self.assertEqual([line.split()[2] for line in own], [str(number) for number in range(400)])

    def test_process_ended(self):
        """A process that is killed and one that leaves: told to the others, and not as a node that is lost."""
        probes = self.probes()
        for probe in probes:
            probe.forget()
        probes[0].process.kill()
        for probe in probes[1:]:
            self.assertNotIn(probes[0].member(), probe.wait("members", "ended 1", seconds=3))
            self.assertEqual(probe.lines("ring"), [])
        probes[1].stop()
        self.assertNotIn(probes[1].member(), probes[2].wait("members", "ended 2", seconds=3))

    def test_partition(self):
        probes = self.probes()
        for probe in probes:
            probe.forget()
        self.cluster.partition("ring", self.nodes[1:], self.nodes[:1])
        self.same_ring(probes[1:], "2,3", "yes")
        self.same_ring(probes[:1], "1", "no")
        self.assertEqual(probes[0].last("members").split()[1], probes[0].member())
        for probe in probes:
            self.assertTrue(all(line.endswith("ended -") for line in probe.lines("members")), "a node is no process")
        self.cluster.heal("ring")
        self.same_ring(probes, "1,2,3", "yes")
        for probe in probes:
            for other in probes:
                probe.wait_last("members", other.member())
            self.assertEqual(probe.lines("lost"), [])

    def test_corosync_killed_and_started(self):
        probes = self.probes()
        for probe in probes:
            probe.forget()
        self.nodes[0].corosync.kill()
        probes[0].wait("lost", seconds=3)
        self.same_ring(probes[1:], "2,3", "yes")
        probes[0].tell("send into nowhere")
        self.nodes[0].start_corosync()
        self.same_ring(probes, "1,2,3", "yes")
        for probe in probes:
            for other in probes:
                probe.wait_last("members", other.member())
        self.assertEqual(len(probes[0].lines("lost")), 1)
        self.assertEqual(len(probes[0].lines("nodes")), 1, "all events anew")
        probes[0].tell("send again")
        for probe in probes:
            probe.wait("message", f"{probes[0].member()} again")
            self.assertEqual([line for line in probe.lines("message") if "nowhere" in line], [])

    def test_corosync_started_last(self):
        """Not running is no error: the daemon waits for it."""
        self.nodes[0].corosync.stop()
        probe = Probe(self.nodes[0])
        self.assertIn("start", probe.wait("lost", seconds=3))
        self.nodes[0].start_corosync()
        probe.wait_last("members", probe.member())
        probe.wait_last("ring", "1,2,3")
        self.assertEqual(len(probe.lines("lost")), 1)

    def test_two_groups_do_not_meet(self):
        probes = self.probes()
        others = [Probe(node, GROUP + "-2", "other") for node in self.nodes]
        for probe in others:
            for other in others:
                probe.wait_last("members", other.member())
        others[0].tell("send of the others")
        probes[0].tell("send of ours")
        others[2].wait("message", "of the others")
        probes[2].wait("message", "of ours")
        for probe in probes:
            self.assertEqual([line for line in probe.lines("message") if "others" in line], [])
            self.assertTrue(all(other.member() not in probe.process.log for other in others))

    def test_garbage_is_dropped_and_counted(self):
        probes = self.probes()
        self.nodes[0].run(binary(), GROUP, "00", "ff" * 2000, "6974676800020000a0", "69746768000100009f9f9f")
        probes[0].tell("send after it")
        for probe in probes:
            probe.wait("message", "after it")
            probe.tell("dropped")
            probe.wait("dropped 4")
            log = probe.process.log
            self.assertEqual(log.count("is dropped"), 1, "once a minute and sender")
            self.assertEqual(len(probe.lines("message")), 1)

    def test_names_that_are_too_long(self):
        probe = Probe(self.nodes[0], "x" * 129)
        self.assertIn("has 129 bytes: corosync allows 1 to 128", probe.wait("error"))
        self.assertEqual(probe.process.popen.wait(10), 1)
        self.assertEqual(Probe(self.nodes[0], "x" * 128, "longest").wait("members", "ended -")[:10], "members 1/")

    def test_stopped_process(self):
        """Who is stopped stays a member, and gets every message when it goes on: nothing is lost, nothing in another order."""
        probes = self.probes()
        probes[0].process.signal(signal.SIGSTOP)
        for probe in probes:
            probe.forget()
        probes[1].tell("flood 3000")
        eventually(lambda: len(probes[2].messages()) == 3000, 30, "3000 messages past a stopped member")
        self.assertEqual(probes[2].lines("members"), [])
        probes[0].process.signal(signal.SIGCONT)
        eventually(lambda: len(probes[0].messages()) == 3000, 30, "3000 messages at the stopped member")
        self.assertEqual(probes[0].messages(), probes[2].messages())
        self.assertEqual(probes[0].lines("lost"), [])

    def test_stopped_corosync(self):
        """The adapter does not hang with it: it obeys, and keeps what it cannot send."""
        probes = self.probes()
        self.nodes[0].corosync.signal(signal.SIGSTOP)
        for probe in probes:
            probe.forget()
        probes[0].tell("flood 1000")
        probes[0].tell("dropped")
        probes[0].wait("dropped 0", seconds=3)
        self.same_ring(probes[1:], "2,3", "yes")
        self.assertEqual(probes[0].lines("ring"), [])
        self.nodes[0].corosync.signal(signal.SIGCONT)
        self.same_ring(probes, "1,2,3", "yes")
        eventually(lambda: len(probes[0].messages()) >= 1000, 15, "what was sent while corosync hung")

    def test_stop_while_corosync_hangs(self):
        probes = self.probes()
        self.nodes[0].corosync.signal(signal.SIGSTOP)
        probes[0].tell("send x")
        self.same_ring(probes[1:], "2,3", "yes")
        probes[0].stop()

    def test_connecting_while_corosync_hangs(self):
        """Nothing waits for its answer: the adapter obeys, and is connected when corosync goes on."""
        self.nodes[0].corosync.signal(signal.SIGSTOP)
        probe, leaving = Probe(self.nodes[0]), Probe(self.nodes[0], name="leaving")
        for each in (probe, leaving):
            each.wait("pid", seconds=3)
            each.tell("dropped")
            each.wait("dropped 0", seconds=3)
        probe.tell("settings")
        self.assertIn("it hangs", probe.wait("settings error", seconds=3))
        leaving.stop()
        self.assertEqual(probe.lines("nodes"), [])
        self.nodes[0].corosync.signal(signal.SIGCONT)
        probe.wait_last("members", probe.member())
        probe.wait_last("ring", "1,2,3")
        self.assertNotIn(leaving.member(), probe.last("members"))

    def test_nodelist_changes(self):
        probes = self.probes()
        for node in self.nodes:
            node.run("sed", "-i", "s/name: node-2/name: renamed/", "/etc/corosync/corosync.conf")
        self.nodes[0].run("corosync-cfgtool", "-R")
        for probe in probes:
            self.assertEqual(probe.wait_last("nodes", "2=renamed"), "nodes 1=node-1 2=renamed 3=node-3")
            self.assertEqual(len(probe.lines("nodes")), 2, "once, though each key changes")
