"""What the target does for a cluster: parked logins, start, hand-over, stop, suspend, the lease.

itgt-group-daemon is the daemon without its cluster: the test says what the cluster would.
"""

import os
import pathlib
import select
import socket
import struct
import subprocess
import threading
import time

from harness import daemon as daemons
from harness import pdu as p
from harness import scsi as s
from harness.case import IQN, MIB, Case, portal, target
from harness.daemon import SANITIZER_OPTIONS, Daemon, DaemonError
from harness.initiator import Closed, Initiator

OTHER = IQN + "-other"
BLOCK = b"kept" * 128


def blocks(byte: int) -> bytes:
    return bytes([byte]) * 512


class GroupDaemon(Daemon):
    """itgt-group-daemon, and a conversation with it."""

    def command(self) -> list[str]:
        return [str(pathlib.Path(daemons.binary()).parent / "tests" / "system" / "itgt-group-daemon"), str(self.config_path)]

    def start(self) -> "GroupDaemon":
        self.lines = b""
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                                            env={**os.environ, **SANITIZER_OPTIONS})
        self.hear("ready")
        return self

    def say(self, line: str) -> None:
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def hear(self, start: str, seconds: float = 20.0) -> str:
        """The rest of the next line that begins with `start`; others in front of it are forgotten."""
        deadline = time.monotonic() + seconds
        while True:
            while b"\n" in self.lines:
                line, self.lines = self.lines.split(b"\n", 1)
                if line.decode().startswith(start):
                    return line.decode()[len(start):].strip()
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                raise DaemonError(f"no '{start}' within {seconds} s:\n{self.log[-4000:]}")
            got = os.read(self.process.stdout.fileno(), 4096)
            if not got:
                raise DaemonError(f"itgt-group-daemon ended:\n{self.log[-4000:]}")
            self.lines += got

    def ask(self, line: str, seconds: float = 20.0) -> str:
        self.say(line)
        return self.hear(line + ":", seconds)

    def disks(self) -> list[str]:
        """What of the test's folder it has open."""
        found = []
        for name in os.listdir(f"/proc/{self.pid}/fd"):
            try:
                path = os.readlink(f"/proc/{self.pid}/fd/{name}")
            except OSError:
                continue
            if path.startswith(str(self.folder.path)) and path.endswith(".img"):
                found.append(path)
        return found

    def stop(self) -> None:
        process = self.process
        super().stop()
        if process is not None:
            process.stdin.close()
            process.stdout.close()


class Groups(Case):
    seconds_max = 90

    def setUp(self) -> None:
        super().setUp()
        self.portal, self.free_portal = portal(), portal()
        self.disk = self.folder.disk("group.img", 16 * MIB)
        self.own = self.folder.disk("own.img", 16 * MIB)
        if not pathlib.Path(GroupDaemon.command(self.stub())[0]).exists():
            self.skipTest("itgt-group-daemon is not built")

    def stub(self) -> GroupDaemon:
        return GroupDaemon(self.folder, "", [])

    def config(self, luns: list[str] | None = None) -> str:
        host = self.portal[0]
        group = f'[cluster]\n\n[[group]]\nname = "g"\nstorage = "shared"\nvips = ["{host}/8"]\nnodes = ["a", "b"]\n\n'
        luns = luns or [f'path = "{self.disk}"\nserial = "aaaaaaa0"']
        return (group + target([self.portal], luns, more='group = "g"')
                + target([self.free_portal], [f'path = "{self.own}"\nserial = "bbbbbbb0"'], name=OTHER))

    def started(self, *commands: str, luns: list[str] | None = None) -> GroupDaemon:
        made = GroupDaemon(self.folder, self.config(luns), [])
        self.addCleanup(made.stop)
        made.start()
        for command in commands or ("lease 60000", "start g"):
            self.assertEqual(made.ask(command), "done")
        return made

    def login_later(self, **options) -> "Background":
        made = self.initiator(self.portal, **options)
        return Background(lambda: made.login(IQN))

    def clear(self, session: Initiator) -> Initiator:
        for _ in range(8):
            if session.command(s.TEST_UNIT_READY).status == 0:
                return session
        self.fail("the unit does not become ready")

    def write(self, session: Initiator, lba: int, data: bytes, lun: int = 0) -> None:
        self.assertEqual(session.command(s.write_10(lba, len(data) // 512), lun=lun, write=data).status, 0)

    def read(self, session: Initiator, lba: int, count: int = 1, lun: int = 0) -> bytes:
        task = session.command(s.read_10(lba, count), lun=lun, read=512 * count)
        self.assertEqual(task.status, 0)
        return bytes(task.data)

    def assert_silent(self, session: Initiator, seconds: float = 0.3) -> None:
        with self.assertRaises(TimeoutError):
            session.receive(seconds)


class Background:
    """Something that takes until it is allowed to end."""

    def __init__(self, action):
        self.result = None
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, args=(action,), daemon=True)
        self.thread.start()

    def _run(self, action) -> None:
        try:
            self.result = action()
        except BaseException as error:  # noqa: BLE001 (told by get)
            self.error = error

    def waits(self, seconds: float = 0.3) -> bool:
        self.thread.join(seconds)
        return self.thread.is_alive()

    def get(self, seconds: float = 15.0):
        self.thread.join(seconds)
        assert not self.thread.is_alive(), "it still waits"
        if self.error is not None:
            raise self.error
        return self.result


class Parked(Groups):
    def test_a_login_waits_for_the_start_and_goes_on(self):
        itgtd = self.started("lease 60000")
        self.assertEqual(itgtd.disks(), [self.own], "the disk of a group that was not started is open")
        login = self.login_later()
        self.assertTrue(login.waits())
        discovery = self.initiator(self.portal, isid=b"\x80\0\0\0\0\x02").login(None)
        self.assertIn(("TargetName", IQN), discovery.text({"SendTargets": "All"}))
        self.assertEqual(itgtd.ask("start g"), "done")
        session = self.clear(login.get())
        self.write(session, 7, BLOCK)
        self.assertEqual(self.read(session, 7), BLOCK)
        self.assertCountEqual(itgtd.disks(), [self.own, self.disk])

    def test_logins_go_on_in_their_order(self):
        itgtd = self.started("lease 60000")
        logins = []
        for i in range(5):
            logins.append(self.login_later(isid=bytes([0x80, 0, 0, 0, 0, 0x10 + i])))
            self.assertTrue(logins[-1].waits(0.3))  # parked before the next one comes, on a busy machine too
        itgtd.ask("start g")
        tsihs = [login.get().tsih for login in logins]
        self.assertEqual(tsihs, sorted(tsihs))

    def test_one_whose_initiator_left_is_forgotten(self):
        itgtd = self.started("lease 60000")
        leaving = self.initiator(self.portal)
        waiting = Background(lambda: leaving.login(IQN))
        self.assertTrue(waiting.waits())
        itgtd.hear("sessions g 0 opened 1 closed 0")
        leaving.socket.shutdown(socket.SHUT_RDWR)
        itgtd.hear("sessions g 0 opened 0 closed 1", 5)
        with self.assertRaises((Closed, OSError)):
            waiting.get()
        itgtd.ask("start g")
        self.assertNotIn("logged in", itgtd.log)

    def test_a_long_wait_ends_without_a_reject(self):
        self.started("lease 60000")
        began = time.monotonic()
        with self.assertRaises(Closed):
            self.login_later().get(14)
        self.assertGreater(time.monotonic() - began, 9)

    def test_who_may_not_log_in_is_told_at_once(self):
        self.started("lease 60000")
        made = self.initiator(self.portal)
        with self.assertRaises(Exception) as caught:
            made.login(IQN + "-nobody")
        self.assertEqual(getattr(caught.exception, "status", None), 0x0203)


class StartStop(Groups):
    def test_a_disk_that_cannot_be_opened_is_said(self):
        itgtd = self.started("lease 60000", luns=[f'path = "{self.folder.path}/none.img"\nserial = "aaaaaaa0"'])
        answer = itgtd.ask("start g")
        self.assertIn("none.img", answer)
        self.assertIn("No such file", answer)
        login = self.login_later()
        self.assertTrue(login.waits())
        pathlib.Path(f"{self.folder.path}/none.img").write_bytes(bytes(MIB))
        self.assertEqual(itgtd.ask("start g"), "done")
        self.clear(login.get())

    def test_starting_twice_is_adopting(self):
        itgtd = self.started()
        session = self.session(self.portal)
        self.assertEqual(itgtd.ask("start g"), "done")
        self.write(session, 1, BLOCK)

    def test_no_pdu_leaves_after_a_stop(self):
        itgtd = self.started()
        session = self.session(self.portal)
        # Commands whose answers would be on their way.
        for lba in range(32):
            session.start(s.read_10(lba * 64, 64), read=32768)
        before = self.count_answers_until_end(session, lambda: self.assertEqual(itgtd.ask("stop g"), "done"))
        self.assertLessEqual(before, 32)
        self.assertEqual(itgtd.disks(), [self.own])
        self.assertNotIn(self.portal, self.established(itgtd))

    def count_answers_until_end(self, session: Initiator, action) -> int:
        """Answers to commands; whatever else comes is an error."""
        action()
        answers = 0
        try:
            while True:
                pdu = session.receive(2)
                self.assertIn(pdu.opcode, (p.DATA_IN, p.SCSI_RESPONSE))
                answers += pdu.opcode == p.DATA_IN and bool(pdu.flags & 1)
        except Closed as closed:
            self.assertEqual(str(closed), "reset", "a FIN has left")
        return answers

    def established(self, itgtd: GroupDaemon) -> list[tuple[str, int]]:
        """Local ends of connections that are not listening."""
        found = []
        for line in pathlib.Path(f"/proc/{itgtd.pid}/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            host, port = fields[1].split(":")
            if fields[3] in ("01", "04", "05", "08", "0B"):
                found.append((socket.inet_ntoa(struct.pack("<I", int(host, 16))), int(port, 16)))
        return found

    def test_the_other_target_is_served_all_the_time(self):
        itgtd = self.started()
        witness = self.session(self.free_portal, OTHER)
        for command in ("suspend g", "resume g", "quiesce g 1000", "stop g", "lease -1", "lease 60000", "start g"):
            itgtd.ask(command)
            self.write(witness, 3, BLOCK)
            self.assertEqual(self.read(witness, 3), BLOCK)

    def test_the_same_data_after_a_restart(self):
        itgtd = self.started()
        self.write(self.session(self.portal), 11, BLOCK)
        itgtd.ask("quiesce g 1000")
        self.assertEqual(itgtd.ask("stop g"), "done")
        login = self.login_later(isid=b"\x80\0\0\0\0\x09")
        self.assertTrue(login.waits())
        self.assertEqual(itgtd.ask("start g"), "done")
        self.assertEqual(self.read(self.clear(login.get()), 11), BLOCK)

    def test_reservations_come_back_from_the_store(self):
        itgtd = self.started()
        session = self.session(self.portal)
        register = bytes([0x5F, 0x00, 0, 0, 0, 0, 0, 0, 24, 0])
        parameters = bytes(8) + (0xABCD).to_bytes(8, "big") + bytes(4) + b"\x01" + bytes(3)  # APTPL
        self.assertEqual(session.command(register, write=parameters).status, 0)
        itgtd.ask("stop g")
        itgtd.ask("start g")
        session = self.session(self.portal)
        keys = session.command(bytes([0x5E, 0, 0, 0, 0, 0, 0, 0, 64, 0]), read=64)
        self.assertEqual(bytes(keys.data)[8:16], (0xABCD).to_bytes(8, "big"))

    def test_many_moves_leave_nothing_behind(self):
        itgtd = self.started()
        self.session(self.portal).close()
        itgtd.ask("stop g")
        descriptors = itgtd.descriptors()
        for i in range(20):
            self.assertEqual(itgtd.ask("start g"), "done")
            session = self.session(self.portal)
            self.write(session, i, blocks(i))
            if i % 2:
                itgtd.ask("quiesce g 1000")
            self.assertEqual(itgtd.ask("stop g"), "done")
        self.assertEqual(itgtd.descriptors(), descriptors)
        itgtd.ask("start g")
        self.assertEqual(self.read(self.session(self.portal), 0, 20), b"".join(blocks(i) for i in range(20)))

    def test_stop_while_it_starts(self):
        itgtd = self.started("lease 60000")
        for _ in range(20):
            itgtd.say("start g")
            itgtd.say("stop g")
            self.assertIn(itgtd.hear("start g:"), ("done", "the group was stopped while it started: Operation canceled"))
            self.assertEqual(itgtd.hear("stop g:"), "done")
            self.assertEqual(itgtd.disks(), [self.own])

    def test_a_reload_adds_and_removes_units_of_a_stopped_and_a_started_group(self):
        itgtd = self.started("lease 60000")
        second = self.folder.disk("second.img", MIB)
        both = [f'path = "{self.disk}"\nserial = "aaaaaaa0"', f'path = "{second}"\nserial = "ccccccc0"']
        itgtd.write_config(self.config(both))
        self.assertEqual(itgtd.ask("reload"), "done")
        self.assertEqual(itgtd.disks(), [self.own])
        itgtd.ask("start g")
        session = self.session(self.portal)
        self.assertEqual(s.luns_of(session.command(s.report_luns(), read=4096).data), [0, 1])
        itgtd.write_config(self.config())
        self.assertEqual(itgtd.ask("reload"), "done")
        self.assertCountEqual(itgtd.disks(), [self.own, self.disk])
        itgtd.write_config(self.config(both))
        self.assertEqual(itgtd.ask("reload"), "done")
        self.assertCountEqual(itgtd.disks(), [self.own, self.disk, second])
        itgtd.ask("stop g")
        self.assertEqual(itgtd.disks(), [self.own])
        itgtd.write_config(self.config())
        self.assertEqual(itgtd.ask("reload"), "done")
        itgtd.ask("start g")
        self.assertCountEqual(itgtd.disks(), [self.own, self.disk])

    def test_a_target_of_a_group_is_removed_and_comes_back(self):
        itgtd = self.started()
        session = self.session(self.portal)
        whole = self.config()
        itgtd.write_config(target([self.free_portal], [f'path = "{self.own}"\nserial = "bbbbbbb0"'], name=OTHER))
        self.assertEqual(itgtd.ask("reload"), "done")
        self.assertTrue(session.closed_within(5))
        self.assertEqual(itgtd.disks(), [self.own])
        itgtd.write_config(whole)
        self.assertEqual(itgtd.ask("reload"), "done")
        self.assertCountEqual(itgtd.disks(), [self.own, self.disk])
        self.session(self.portal)


class Handover(Groups):
    def test_initiators_are_told_and_the_socket_stays(self):
        itgtd = self.started()
        session = self.session(self.portal)
        self.write(session, 5, BLOCK)
        self.assertEqual(itgtd.ask("quiesce g 1000"), "done")
        message = session.receive(2)
        self.assertEqual(message.opcode, p.ASYNC)
        event, parameter1, time2wait = message.bhs[36], message.bhs[38:40], message.bhs[40:42]
        self.assertEqual((event, bytes(parameter1), bytes(time2wait)), (3, b"\0\0", b"\0\0"))
        self.assert_silent(session)
        login = self.login_later(isid=b"\x80\0\0\0\0\x07")
        self.assertTrue(login.waits(), "a login during the hand-over is not parked")
        itgtd.ask("stop g")
        self.assertTrue(login.waits())
        itgtd.ask("start g")
        self.assertEqual(self.read(self.clear(login.get()), 5), BLOCK)

    def test_commands_in_flight_are_answered_first(self):
        itgtd = self.started()
        session = self.session(self.portal)
        tasks = [session.start(s.read_10(i * 64, 64), read=32768) for i in range(64)]
        itgtd.say("quiesce g 2000")
        seen = []
        while not seen or seen[-1] != p.ASYNC:
            seen.append(session.pump(2).opcode)
        self.assertEqual(itgtd.hear("quiesce g 2000:", 1), "done")
        answered = [task for task in tasks if task.done]
        self.assertTrue(all(task.status == 0 for task in answered))

    def test_suspended_in_the_middle_it_is_carried_out_all_the_same(self):
        itgtd = self.started()
        session = self.session(self.portal)
        itgtd.say("suspend g")
        itgtd.say("quiesce g 300")
        self.assert_silent(session, 0.2)
        self.assertEqual(itgtd.hear("quiesce g 300:"), "done")
        self.assertEqual(itgtd.ask("quiesce g 300"), "done")
        itgtd.ask("resume g")
        self.assertEqual(session.receive(2).opcode, p.ASYNC)
        self.assertEqual(itgtd.ask("stop g"), "done")

    def test_it_may_stay_after_all(self):
        itgtd = self.started()
        session = self.session(self.portal)
        itgtd.ask("quiesce g 1000")
        self.assertEqual(itgtd.ask("start g"), "done")
        self.assertTrue(session.closed_within(5))
        self.write(self.session(self.portal), 1, BLOCK)


class Suspended(Groups):
    def test_a_write_waits_and_goes_on(self):
        itgtd = self.started()
        session = self.session(self.portal)
        itgtd.ask("suspend g")
        task = session.start(s.write_10(9, 1), write=BLOCK)
        inquiry = session.start(bytes([0x12, 0, 0, 0, 36, 0]), read=36)
        self.assert_silent(session, 0.5)
        with open(self.disk, "rb") as disk:
            disk.seek(9 * 512)
            self.assertEqual(disk.read(512), bytes(512))
        itgtd.ask("resume g")
        self.assertEqual(session.wait(task, 5).status, 0)
        self.assertEqual(session.wait(inquiry, 5).status, 0)
        self.assertEqual(self.read(session, 9), BLOCK)

    def test_an_initiator_is_not_given_up_meanwhile(self):
        itgtd = self.started()
        session = self.session(self.portal)
        itgtd.ask("suspend g")
        self.assert_silent(session, 17)  # NOP-In after 10 s, its answer 5 s later
        itgtd.ask("resume g")
        self.write(session, 1, BLOCK)

    def test_stop_ends_what_waits(self):
        itgtd = self.started()
        session = self.session(self.portal)
        itgtd.ask("suspend g")
        session.start(s.write_10(9, 1), write=BLOCK)
        self.assert_silent(session)
        self.assertEqual(itgtd.ask("stop g", 5), "done")
        itgtd.ask("start g")
        self.assertEqual(self.read(self.session(self.portal), 9), bytes(512), "a write was carried out after the stop")

    def test_a_start_that_failed_leaves_nothing_suspended(self):
        itgtd = self.started("lease 60000")
        os.rename(self.disk, f"{self.disk}.away")
        itgtd.say("start g")
        itgtd.say("suspend g")  # while it starts, as an owner that has lost its replica does
        self.assertNotEqual(itgtd.hear("start g:"), "done")
        os.rename(f"{self.disk}.away", self.disk)
        self.assertEqual(itgtd.ask("start g"), "done")
        self.write(self.session(self.portal), 9, BLOCK)


class Lease(Groups):
    def test_nothing_is_served_without_one(self):
        itgtd = self.started("lease -1", "start g")
        login = self.login_later()
        self.assertTrue(login.waits())
        itgtd.ask("lease 60000")
        self.clear(login.get())

    def test_its_end_holds_everything_and_its_renewal_goes_on(self):
        itgtd = self.started()
        session = self.session(self.portal)
        self.write(session, 9, blocks(1))
        itgtd.ask("lease 300")
        time.sleep(0.4)
        task = session.start(s.write_10(9, 1), write=blocks(2))
        self.assert_silent(session, 0.5)
        with open(self.disk, "rb") as disk:
            disk.seek(9 * 512)
            self.assertEqual(disk.read(512), blocks(1))
        itgtd.ask("lease 60000")
        self.assertEqual(session.wait(task, 5).status, 0)
        self.assertEqual(self.read(session, 9), blocks(2))

    def test_workers_stop_by_themselves_when_the_control_thread_hangs(self):
        itgtd = self.started()
        session = self.session(self.portal)
        witness = self.session(self.free_portal, OTHER)
        itgtd.ask("lease 500")
        itgtd.say("block 3000")
        began = time.monotonic()
        served = 0
        last = began
        while True:
            task = session.start(s.write_10(9, 1), write=blocks(served % 200))
            try:
                session.wait(task, 1)
            except TimeoutError:
                break
            served += 1
            last = time.monotonic()
        self.assertGreater(served, 0)
        self.assertLess(last - began, 0.6)
        self.write(witness, 3, BLOCK)
        self.assertEqual(itgtd.hear("block 3000:"), "done")
        itgtd.ask("lease 60000")
        self.assertEqual(session.wait(task, 5).status, 0)
        self.assertEqual(self.read(session, 9), blocks(served % 200))

    def test_renewals_under_load_lose_nothing(self):
        itgtd = self.started()
        session = self.session(self.portal)
        for i in range(40):
            itgtd.ask(f"lease {(5, 20, 1000)[i % 3]}")
            task = session.start(s.write_10(i, 1), write=blocks(i))
            time.sleep(0.03)
            itgtd.ask("lease 60000")
            self.assertEqual(session.wait(task, 5).status, 0)
        self.assertEqual(self.read(session, 0, 40), b"".join(blocks(i) for i in range(40)))


class Sessions(Groups):
    def test_they_are_counted(self):
        itgtd = self.started()
        first = self.session(self.portal)
        itgtd.hear("sessions g 1 opened 1 closed 0")
        second = self.session(self.portal, isid=b"\x80\0\0\0\0\x02")
        itgtd.hear("sessions g 2 opened 1 closed 0")
        second.close()
        itgtd.hear("sessions g 1 opened 0 closed 1")
        itgtd.ask("stop g")
        first.close()
        # Its initiator does not know that it was ended.
        itgtd.ask("start g")
        self.assertNotIn(b"closed 1", itgtd.lines)


if __name__ == "__main__":
    import unittest

    unittest.main()
