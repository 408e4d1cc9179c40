"""What survives the end of the daemon, and what does not: reservations, mode pages, identifying information."""

import os
import struct
import time

from harness import scsi as s
from harness.case import MIB, Case, portal, target

READ_KEYS, READ_RESERVATION, REPORT_CAPABILITIES, READ_FULL_STATUS = range(4)
REGISTER, RESERVE, RELEASE, CLEAR, PREEMPT, PREEMPT_AND_ABORT, REGISTER_AND_IGNORE = range(7)
WRITE_EXCLUSIVE_RO, EXCLUSIVE_ACCESS_AR = 5, 8
APTPL = 0x01
ISIDS = [bytes([0x80, 0, 0, 0, 7, n]) for n in range(4)]
REGISTRATIONS_PREEMPTED = (s.UNIT_ATTENTION, 0x2A, 0x05)
CAPACITY_CHANGED = (s.UNIT_ATTENTION, 0x2A, 0x09)
CACHING = 0x08


class PersistenceCase(Case):
    seconds_max = 120

    def serve_disks(self) -> None:
        self.portal = portal()
        self.disks = [self.folder.disk(f"disk{n}", 16 * MIB) for n in range(2)]
        luns = [f'path = "{disk}"\nserial = "aaaaaaa{n}"' for n, disk in enumerate(self.disks)]
        self.itgtd = self.daemon(target([self.portal], luns), [self.portal])

    def need_command(self, session, opcode: int, action: int | None = None) -> None:
        if (opcode, action) not in s.supported(session):
            self.skipTest(f"there is no command {opcode:02x}h" + ("" if action is None else f"/{action:02x}h"))

    def nexus(self, number: int, lun: int = 0):
        """The session of that initiator port; what its logical unit has to tell is told."""
        session = self.session(self.portal, isid=ISIDS[number])
        self.settle(session, lun)
        return session

    def settle(self, session, lun: int = 0) -> list[tuple[int, int, int]]:
        told = []
        for _ in range(16):
            task = session.command(s.TEST_UNIT_READY, lun=lun)
            if task.status != s.CHECK_CONDITION or task.sense_code[0] != s.UNIT_ATTENTION:
                return told
            told.append(task.sense_code)
        self.fail(f"unit attentions without end: {told}")

    def reserve_out(self, session, action: int, kind: int = 0, key: int = 0, action_key: int = 0, flags: int = 0, lun: int = 0):
        return session.command(s.persistent_reserve_out(action, kind), write=s.reservation_list(key, action_key, flags), lun=lun)

    def good(self, session, action: int, **how) -> None:
        task = self.reserve_out(session, action, **how)
        self.assertEqual(task.status, s.GOOD, task.sense_code)

    def keys(self, session, lun: int = 0) -> tuple[int, list[int]]:
        task = session.command(s.persistent_reserve_in(READ_KEYS), read=4096, lun=lun)
        self.assertEqual(task.status, s.GOOD, task.sense_code)
        return s.keys_of(bytes(task.data))

    def reservation(self, session, lun: int = 0) -> tuple[int, int] | None:
        """Key and type, or None."""
        data = bytes(session.command(s.persistent_reserve_in(READ_RESERVATION), read=4096, lun=lun).data)
        if struct.unpack(">I", data[4:8])[0] == 0:
            return None
        return struct.unpack(">Q", data[8:16])[0], data[21] & 0xF

    def crash(self) -> None:
        self.itgtd.kill()
        self.itgtd.start()


class Reservations(PersistenceCase):
    def setUp(self) -> None:
        super().setUp()
        self.serve_disks()
        self.first, self.second = self.nexus(0), self.nexus(1)
        self.need_command(self.first, 0x5F, REGISTER)

    def test_with_aptpl_they_survive_a_crash(self):
        self.good(self.first, REGISTER, action_key=0xA, flags=APTPL)
        self.good(self.second, REGISTER, action_key=0xB, flags=APTPL)
        self.good(self.first, RESERVE, kind=WRITE_EXCLUSIVE_RO, key=0xA)
        self.assertEqual(self.keys(self.first)[0], 2)
        self.crash()
        other = self.nexus(2)
        generation, keys = self.keys(other)
        self.assertEqual(sorted(keys), [0xA, 0xB])
        # SPC-4, READ KEYS: whatever APTPL was, PRGENERATION is zero after power on.
        self.assertEqual(generation, 0)
        self.assertEqual(self.reservation(other), (0xA, WRITE_EXCLUSIVE_RO))
        self.assertEqual(other.command(s.write_10(0, 1), write=bytes(512)).status, s.RESERVATION_CONFLICT)
        self.assertEqual(other.command(s.read_10(0, 1), read=512).status, s.GOOD)
        # The registrants are who they were.
        second = self.nexus(1)
        self.assertEqual(second.command(s.write_10(0, 1), write=bytes(512)).status, s.GOOD)
        self.assertEqual(self.reserve_out(second, RELEASE, kind=WRITE_EXCLUSIVE_RO, key=0xB).status, s.GOOD)  # not the holder
        self.assertEqual(self.reservation(other), (0xA, WRITE_EXCLUSIVE_RO))
        first = self.nexus(0)
        self.good(first, RELEASE, kind=WRITE_EXCLUSIVE_RO, key=0xA)
        self.assertIsNone(self.reservation(other))
        self.assertEqual(other.command(s.write_10(0, 1), write=bytes(512)).status, s.GOOD)

    def test_what_changes_later_survives_too(self):
        self.good(self.first, REGISTER, action_key=0xA, flags=APTPL)
        self.good(self.second, REGISTER, action_key=0xB, flags=APTPL)
        self.good(self.first, RESERVE, kind=EXCLUSIVE_ACCESS_AR, key=0xA)
        for number in range(5):
            self.good(self.second, REGISTER, key=0xB + number, action_key=0xC + number, flags=APTPL)
        self.crash()
        self.assertEqual(sorted(self.keys(self.nexus(2))[1]), [0xA, 0x10])
        self.good(self.nexus(0), CLEAR, key=0xA)
        self.crash()
        other = self.nexus(2)
        self.assertEqual(self.keys(other)[1], [])
        self.assertIsNone(self.reservation(other))

    def test_without_aptpl_they_do_not(self):
        self.good(self.first, REGISTER, action_key=0xA)
        self.good(self.first, RESERVE, kind=WRITE_EXCLUSIVE_RO, key=0xA)
        self.crash()
        other = self.nexus(2)
        self.assertEqual(self.keys(other), (0, []))
        self.assertIsNone(self.reservation(other))
        self.assertEqual(other.command(s.write_10(0, 1), write=bytes(512)).status, s.GOOD)

    def test_the_last_registration_says_whether(self):
        """SPC-4, REGISTER: APTPL of the most recent one is what counts."""
        self.good(self.first, REGISTER, action_key=0xA, flags=APTPL)
        self.good(self.second, REGISTER, action_key=0xB)
        self.crash()
        self.assertEqual(self.keys(self.nexus(2))[1], [])

    def test_they_survive_a_stop_and_a_reload(self):
        self.good(self.first, REGISTER, action_key=0xA, flags=APTPL)
        self.itgtd.reload()
        time.sleep(0.5)
        self.assertEqual(self.keys(self.first)[1], [0xA])
        self.itgtd.stop()
        self.itgtd.start()
        self.assertEqual(self.keys(self.nexus(2))[1], [0xA])

    def test_each_unit_has_its_own(self):
        self.settle(self.first, 1)
        self.good(self.first, REGISTER, action_key=0xA, flags=APTPL, lun=1)
        self.crash()
        other = self.nexus(2)
        self.settle(other, 1)
        self.assertEqual((self.keys(other)[1], self.keys(other, lun=1)[1]), ([], [0xA]))

    def test_state_that_cannot_be_trusted(self):
        """Its unit is not ready, the log says why, the others are served."""
        state = self.folder.path / "state"
        before = {path: path.read_bytes() for path in state.rglob("*") if path.is_file()}
        self.good(self.first, REGISTER, action_key=0xA, flags=APTPL)
        self.good(self.first, RESERVE, kind=EXCLUSIVE_ACCESS_AR, key=0xA)
        self.itgtd.kill()
        changed = [path for path in state.rglob("*") if path.is_file() and before.get(path) != path.read_bytes()]
        self.assertTrue(changed, "APTPL left nothing in state_dir")
        for path in changed:
            path.write_bytes(bytes(byte ^ 0x5A for byte in path.read_bytes()))
        self.itgtd.start()
        other = self.session(self.portal, isid=ISIDS[2])
        self.settle(other, 1)
        task = other.command(s.read_10(0, 1), read=512)
        self.assertEqual((task.status, task.sense_code[0]), (s.CHECK_CONDITION, s.NOT_READY), "data that may be reserved")
        self.assertEqual(other.command(s.inquiry(96), read=96).status, s.GOOD)
        self.assertEqual(other.command(s.read_10(0, 1), lun=1, read=512).status, s.GOOD)
        lines = [line for line in self.itgtd.log.splitlines() if ("error" in line or "warning" in line) and (self.disks[0] in line or str(state) in line or "LUN 0" in line)]
        self.assertTrue(lines, self.itgtd.log)

    def test_preempt_and_abort_ends_commands_of_the_other(self):
        """A command that waits for its data is ended; its initiator is told by a unit attention."""
        self.first.close()
        first = self.session(self.portal, isid=ISIDS[0], login={"InitialR2T": "Yes", "ImmediateData": "No"})
        for session, key in ((first, 0xA), (self.second, 0xB)):
            self.settle(session)
            self.good(session, REGISTER, action_key=key)
        self.good(first, RESERVE, kind=WRITE_EXCLUSIVE_RO, key=0xA)
        held = first.start(s.write_10(8, 8), write=b"\x77" * 4096, immediate_bytes=0, auto_data=False)
        while not held.r2ts:
            first.pump()
        self.good(self.second, PREEMPT_AND_ABORT, kind=WRITE_EXCLUSIVE_RO, key=0xB, action_key=0xA)
        self.assertEqual(self.keys(self.second)[1], [0xB])
        self.assertEqual(self.reservation(self.second), (0xB, WRITE_EXCLUSIVE_RO))
        told = self.settle(first)
        self.assertIn(REGISTRATIONS_PREEMPTED, told)
        # SAM-5: with TAS clear it is not answered. Data for it that was under way changes nothing.
        first.answer_r2t(held, held.r2ts[0])
        self.assertEqual(first.nop(b"still here").data, b"still here")
        self.assertFalse(held.done)
        data = self.second.command(s.read_10(8, 8), read=4096).data
        self.assertEqual(bytes(data), bytes(4096))
        self.assertEqual(first.command(s.write_10(8, 8), write=bytes(4096)).status, s.RESERVATION_CONFLICT)

    def test_preempt_leaves_commands_alone(self):
        self.first.close()
        first = self.session(self.portal, isid=ISIDS[0], login={"InitialR2T": "Yes", "ImmediateData": "No"})
        for session, key in ((first, 0xA), (self.second, 0xB)):
            self.settle(session)
            self.good(session, REGISTER, action_key=key)
        held = first.start(s.write_10(8, 8), write=b"\x77" * 4096, immediate_bytes=0, auto_data=False)
        while not held.r2ts:
            first.pump()
        self.good(self.second, PREEMPT, kind=WRITE_EXCLUSIVE_RO, key=0xB, action_key=0xA)
        first.answer_r2t(held, held.r2ts[0])
        self.assertEqual(first.wait(held).status, s.GOOD)
        self.assertIn(REGISTRATIONS_PREEMPTED, self.settle(first))


class Saved(PersistenceCase):
    def setUp(self) -> None:
        super().setUp()
        self.serve_disks()
        self.first = self.nexus(0)

    def caching(self, session, control: int) -> bytes:
        task = session.command(s.mode_sense_10(CACHING, control=control), read=4096)
        self.assertEqual(task.status, s.GOOD, task.sense_code)
        data = bytes(task.data)
        return data[8 + struct.unpack(">H", data[6:8])[0] :]

    def write_cache(self, session, enable: bool, save: bool):
        page = bytearray(self.caching(session, 0))
        page[0] &= 0x3F  # PS is reserved in MODE SELECT
        page[2] = page[2] & ~0x04 | (0x04 if enable else 0)
        data = bytes(8) + bytes(page)
        return session.command(s.mode_select_10(len(data), save), write=data)

    def test_saved_mode_pages(self):
        task = self.first.command(s.mode_sense_10(CACHING, control=3), read=4096)
        if task.status != s.GOOD:
            self.skipTest("mode pages are not saved")
        self.assertTrue(self.caching(self.first, 0)[2] & 0x04, "WCE by default")
        self.assertEqual(self.write_cache(self.first, False, save=True).status, s.GOOD)
        for control in (0, 3):
            self.assertFalse(self.caching(self.first, control)[2] & 0x04)
        self.crash()
        session = self.nexus(1)
        for control in (0, 3):
            self.assertFalse(self.caching(session, control)[2] & 0x04, "what was saved is lost")
        self.assertTrue(self.caching(session, 2)[2] & 0x04)
        # What is not saved is gone.
        self.assertEqual(self.write_cache(session, True, save=False).status, s.GOOD)
        self.assertTrue(self.caching(session, 0)[2] & 0x04)
        self.crash()
        self.assertFalse(self.caching(self.nexus(0), 0)[2] & 0x04)

    def test_identifying_information(self):
        self.need_command(self.first, 0xA4, 0x06)
        text = b"rack 7, shelf 3"
        cdb = struct.pack(">BBBBBBIBB", 0xA4, 0x06, 0, 0, 0, 0, len(text), 0, 0)
        self.assertEqual(self.first.command(cdb, write=text).status, s.GOOD)
        self.crash()
        task = self.nexus(1).command(s.maintenance_in(0x05, 512), read=512)
        self.assertEqual(task.status, s.GOOD, task.sense_code)
        self.assertEqual(bytes(task.data), struct.pack(">HH", 0, len(text)) + text)


class Growing(PersistenceCase):
    def test_a_disk_that_grows(self):
        """Every nexus is told, and the new blocks can be used at once; nothing has to be reloaded."""
        self.serve_disks()
        sessions = [self.nexus(number) for number in range(3)]
        last = 32 * MIB // 512 - 1
        task = sessions[0].command(s.read_10(last, 1), read=512)
        self.assertEqual(task.sense_code, (s.ILLEGAL_REQUEST, 0x21, 0))
        os.truncate(self.disks[0], 32 * MIB)

        def has_grown() -> bool:
            data = sessions[0].command(s.read_capacity_16(), read=32).data
            return len(data) >= 8 and struct.unpack(">Q", data[:8])[0] == last

        told = []

        def first_is_told() -> bool:
            told.append(sessions[0].command(s.TEST_UNIT_READY).sense_code)
            return CAPACITY_CHANGED in told

        self.eventually(first_is_told, 12, "CAPACITY DATA HAS CHANGED")
        self.assertTrue(has_grown())
        for session in sessions[1:]:
            self.assertIn(CAPACITY_CHANGED, self.settle(session))
        data = os.urandom(512)
        self.assertEqual(sessions[1].command(s.write_10(last, 1), write=data).status, s.GOOD)
        self.assertEqual(bytes(sessions[2].command(s.read_10(last, 1), read=512).data), data)
        with open(self.disks[0], "rb") as disk:
            disk.seek(last * 512)
            self.assertEqual(disk.read(512), data)
        # The other disk did not grow, and nobody is told that it did.
        self.assertNotIn(CAPACITY_CHANGED, self.settle(sessions[0], 1))
