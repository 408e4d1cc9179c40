"""Connections that come and go in every way, while the configuration changes under them."""

import random
import resource
import select
import signal
import socket
import struct
import subprocess
import threading
import time

from harness import daemon as daemons
from harness import scsi as s
from harness.case import IQN, MIB, Case, portal, target
from harness.daemon import Daemon
from harness.initiator import Closed, Initiator, LoginFailed

OTHER = IQN + "-other"
FIRST_LUN = 'path = "ram:4M"\nserial = "aaaaaaa0"'
SECOND_LUN = 'path = "ram:4M"\nserial = "aaaaaaa1"'
# What a peer that is put out in the middle of anything may see.
ENDS = (Closed, LoginFailed, OSError, EOFError)
CONNECTIONS = 200
THREADS = 40
HAMMER_SECONDS = 10.0
CLEAR_TASK_SET, LUN_RESET, WARM_RESET, COLD_RESET = 4, 5, 6, 7


class Peer:
    """One initiator port: logs in, does I/O and goes, in ways drawn from `draw`."""

    def __init__(self, number: int, portals: list, draw: random.Random):
        self.number = number
        self.portals = portals
        self.draw = draw
        self.session: Initiator | None = None
        self.logins = 0
        self.commands = 0

    def step(self) -> None:
        try:
            if self.session is None:
                self.log_in()
            else:
                self.draw.choice((self.read, self.write, self.burst, self.silent_write, self.reset, self.task_management,
                                  self.half_close, self.half_a_pdu, self.reinstate, self.log_out, self.read, self.write))()
        except ENDS:
            self.drop()

    def drop(self) -> None:
        if self.session is not None:
            self.session.close()
        self.session = None

    def connect(self) -> Initiator:
        # Two initiator names share the ISIDs, so that logins take each other's places, too.
        isid = b"\x80\0\0\0" + struct.pack(">H", self.number % (CONNECTIONS * 9 // 10))
        return Initiator(self.draw.choice(self.portals), isid=isid, timeout=5.0)

    def log_in(self) -> None:
        made = self.connect()
        try:
            if self.draw.random() < 0.1:  # in the middle of the login
                made.send(made.login_request(made.first_keys(IQN), 0, 1))
                self.abort(made)
                return
            made.login(self.draw.choice((IQN, IQN, IQN, OTHER, None)), InitialR2T=self.draw.choice(("Yes", "No")))
        except ENDS:
            made.close()
            raise
        self.session = made
        self.logins += 1

    def read(self) -> None:
        self.command(s.read_10(0, 64), read=64 * 512)

    def write(self) -> None:
        self.command(s.write_10(0, 64), write=bytes(64 * 512))

    def command(self, cdb: bytes, **arguments) -> None:
        assert self.session is not None
        self.session.command(cdb, lun=self.draw.randrange(2), **arguments)
        self.commands += 1

    def burst(self) -> None:
        """Reads whose answers are not waited for."""
        assert self.session is not None
        for _ in range(16):
            self.session.start(s.read_10(0, 1024), lun=self.draw.randrange(2), read=1024 * 512)
        self.draw.choice((lambda: self.abort(self.session), self.drop, lambda: None))()

    def silent_write(self) -> None:
        """A write whose data never comes."""
        assert self.session is not None
        self.session.start(s.write_10(0, 1024), lun=self.draw.randrange(2), write=bytes(1024 * 512), auto_data=False)

    def task_management(self) -> None:
        assert self.session is not None
        function = self.draw.choices((CLEAR_TASK_SET, LUN_RESET, WARM_RESET, COLD_RESET), (4, 4, 2, 1))[0]
        self.session.send(self.session.tmf_pdu(function, lun=self.draw.randrange(2)))

    def reset(self) -> None:
        self.abort(self.session)

    def abort(self, session: Initiator | None) -> None:
        assert session is not None
        session.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        session.close()
        if session is self.session:
            self.session = None

    def half_close(self) -> None:
        assert self.session is not None
        self.session.start(s.read_10(0, 64), read=64 * 512)
        self.session.socket.shutdown(socket.SHUT_WR)
        self.session.closed_within(2)
        self.drop()

    def half_a_pdu(self) -> None:
        assert self.session is not None
        pdu = self.session.command_pdu(s.write_10(0, 8), write=4096, immediate_data=bytes(4096))
        self.session.send_raw(pdu.encode(False, False)[: self.draw.randrange(1, 4000)])
        self.drop()

    def reinstate(self) -> None:
        before, self.session = self.session, None
        try:
            self.log_in()
        finally:
            if before is not None:
                before.close()

    def log_out(self) -> None:
        assert self.session is not None
        self.session.logout()
        self.drop()


class Hammer(Case):
    seconds_max = 120

    def test_connections_come_and_go_while_the_configuration_changes(self):
        portals = [portal() for _ in range(3)]
        both = [FIRST_LUN, SECOND_LUN]
        base = target(portals[:2], both)
        configurations = [
            base, target(portals[:2], [FIRST_LUN]), base, base + target(portals[1:], [SECOND_LUN], name=OTHER),
            target(portals[:1], both), base, base + target(portals[:1], [SECOND_LUN], name=OTHER),
        ]
        itgtd = self.daemon(base, portals[:2], log_level="warning")
        self.session(portals[0]).close()
        descriptors, resident = itgtd.descriptors(), itgtd.resident_bytes()

        seed = random.randrange(1 << 32)
        self.notes = [f"lifecycle: seed {seed}"]
        peers = [Peer(number, portals, random.Random(f"{seed}/{number}")) for number in range(CONNECTIONS)]
        stop = threading.Event()
        unexpected: list[BaseException] = []
        threads = [threading.Thread(target=self.hammer, args=(peers[n::THREADS], stop, unexpected)) for n in range(THREADS)]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + HAMMER_SECONDS
        reloads = 0
        while time.monotonic() < deadline and not unexpected:
            reloads += 1
            itgtd.reload(configurations[reloads % len(configurations)])
            time.sleep(0.3)
        stop.set()
        for thread in threads:
            thread.join()
        self.assertEqual(unexpected, [], f"seed {seed}")
        self.assertGreater(sum(peer.logins for peer in peers), CONNECTIONS, "hardly anybody came in")
        self.assertGreater(sum(peer.commands for peer in peers), 0)

        itgtd.reload(base)
        self.eventually(lambda: self.serves(portals[0]) and self.serves(portals[1]), 30, f"service (seed {seed})")
        self.eventually(lambda: itgtd.descriptors() <= descriptors + 8, 40, f"no descriptors are lost (seed {seed})")
        if not daemons.sanitized():  # which keep what was released
            self.assertLess(itgtd.resident_bytes(), resident + 96 * MIB)
        itgtd.terminate()
        self.assertEqual(itgtd.wait(), 0, f"seed {seed}")

    @staticmethod
    def hammer(peers: list[Peer], stop: threading.Event, unexpected: list) -> None:
        try:
            while not stop.is_set():
                for peer in peers:
                    peer.step()
        except BaseException as error:  # noqa: BLE001 (shown by the main thread)
            unexpected.append(error)
        finally:
            for peer in peers:
                peer.drop()

    def serves(self, where) -> bool:
        with self.session(where, isid=b"\x80\0\0\xff\xff\xff") as session:
            return session.command(s.read_10(0, 8), read=4096).status == 0


class Removal(Case):
    def test_a_write_whose_data_never_comes_does_not_keep_its_lun(self):
        where = portal()
        itgtd = self.daemon(target([where], [FIRST_LUN, SECOND_LUN]), [where])
        session = self.session(where, login={"InitialR2T": "Yes", "ImmediateData": "No"})
        for _ in range(4):
            if session.command(s.TEST_UNIT_READY, lun=1).status == 0:
                break
        task = session.start(s.write_10(0, 8), lun=1, write=bytes(4096), immediate_bytes=0, auto_data=False)
        while not task.r2ts:
            session.pump()
        itgtd.reload(target([where], [FIRST_LUN]))
        self.eventually(lambda: "configuration reloaded" in itgtd.log, what="the reload ends")
        # RFC 7143 §11.17.1 by analogy: it is answered when its data has come.
        session.answer_r2t(task, task.r2ts[0])
        session.wait(task)
        self.assertEqual((task.status, task.sense_code), (s.CHECK_CONDITION, (s.ILLEGAL_REQUEST, 0x25, 0)))


class EarlyEnd(Case):
    def test_sigterm_while_it_starts(self):
        """At any moment of the start: it ends in order, or by the signal while nothing has been begun."""
        where = portal()
        itgtd = Daemon(self.folder, target([where], [FIRST_LUN, SECOND_LUN]), [where])
        ends = set()
        for step in range(12):
            with subprocess.Popen(itgtd.command(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True) as process:
                self.addCleanup(process.kill)
                time.sleep(step * (0.05 if daemons.sanitized() else 0.02))
                process.terminate()
                out, _ = process.communicate(timeout=20)
            self.assertIn(process.returncode, (0, -signal.SIGTERM), out)
            ends.add(process.returncode)
        self.assertIn(0, ends, "never late enough")


class LogReader(Case):
    def test_it_may_go(self):
        where = portal()
        itgtd = Daemon(self.folder, target([where], [FIRST_LUN]), [where])
        with subprocess.Popen(itgtd.command(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, restore_signals=True) as process:
            self.addCleanup(process.kill)
            self.eventually(lambda: itgtd.answers(where), 20, "service")
            assert process.stdout is not None
            process.stdout.close()
            for _ in range(3):
                with self.session(where) as session:
                    self.assertEqual(session.command(s.read_10(0, 1), read=512).status, 0)
            process.terminate()
            self.assertEqual(process.wait(20), 0)


class NotReading(Case):
    def test_it_costs_no_time(self):
        """So many small PDUs wait that there is no room even for the NOP-In that is due after 10 s."""
        itgtd, where = self.serve()
        session = self.session(where, login={"MaxRecvDataSegmentLength": "512"})
        for _ in range(64):
            session.start(s.read_10(0, 2048), read=MIB)
        time.sleep(10.5)
        before = itgtd.cpu_seconds()
        time.sleep(2.5)
        self.assertLess(itgtd.cpu_seconds() - before, 0.25, "a worker spins")
        session.close()


class Silent(Case):
    seconds_max = 60

    def test_connections_that_say_nothing(self):
        count = 300 if daemons.sanitized() else 1000
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, count + 200)), hard))
        itgtd, where = self.serve(log_level="error")
        started = time.monotonic()
        silent = {}
        poll = select.poll()
        for _ in range(count):
            made = socket.create_connection(where, 10.0)
            self.addCleanup(made.close)
            silent[made.fileno()] = made
            poll.register(made.fileno(), select.POLLIN)
        opened = time.monotonic()
        before = time.monotonic()
        session = self.session(where)
        self.assertEqual(session.command(s.read_10(0, 1), read=512).status, 0)
        self.assertLess(time.monotonic() - before, 5, "a login among silent connections")
        slack = 10 if daemons.sanitized() else 1
        while silent and time.monotonic() < opened + 15 + slack:
            for descriptor, _ in poll.poll(200):
                self.assertEqual(silent[descriptor].recv(1), b"")
                poll.unregister(descriptor)
                del silent[descriptor]
            if time.monotonic() < started + 14:
                self.assertEqual(len(silent), count, "closed before its time")
            session.nop(b"x")
        self.assertEqual(len(silent), 0, "silent connections are still open")
        self.eventually(lambda: itgtd.descriptors() < 100, what="descriptors are closed")
