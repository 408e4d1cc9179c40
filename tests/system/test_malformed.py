"""PDUs as nobody should send them: each costs at most its own connection. After hardening notes and CVE records.

Every test ends with a good session that works: the daemon must be alive, whatever was said to it.
"""

import os
import socket
import struct

from harness import pdu as p
from harness import scsi as s
from harness.case import IQN, Case
from harness.initiator import OPERATIONAL, SECURITY, Closed, LoginFailed
from harness.pdu import Pdu


class Malformed(Case):
    def setUp(self) -> None:
        super().setUp()
        self.itgtd, self.portal = self.serve()
        self.witness = self.session(self.portal, isid=b"\x80\0\0\0\0\x77")
        self.witness.answer_nops = True

    def tearDown(self) -> None:
        # The other session never notices, and a new one can log in.
        self.assertTrue(self.itgtd.running(), self.itgtd.log[-3000:])
        self.assertEqual(self.witness.nop(b"alive").data, b"alive")
        self.assertEqual(self.session(self.portal).command(s.read_10(0, 1), read=512).status, 0)

    def raw(self, data: bytes, seconds: float = 5.0, must_close: bool = True) -> list[Pdu]:
        """Sends bytes before any login; what was answered."""
        initiator = self.initiator(self.portal)
        try:
            initiator.send_raw(data)
            closed = initiator.closed_within(seconds)
        except Closed:
            closed = True
        if must_close:
            self.assertTrue(closed, "the connection stays open")
        initiator.close()
        return list(initiator.other)

    def expect_end_or_reject(self, session, seconds: float = 3.0, reasons=None) -> str:
        """A Reject (its reason, and the header that it is about) or the end of the connection."""
        try:
            while True:
                answer = session.pump(seconds)
                if answer.opcode == p.REJECT:
                    self.assertEqual(len(answer.data), 48, "a Reject carries the whole header")
                    if reasons:
                        self.assertIn(answer.bhs[2], reasons)
                    return "reject"
                if answer.opcode in (p.SCSI_RESPONSE, p.DATA_IN):
                    return "answered"
        except Closed:
            return "closed"
        except TimeoutError:
            return "silence"

    # Before login.

    def test_random_bytes(self):
        for seed in range(20):
            with self.subTest(seed):
                self.raw(os.urandom(4800), must_close=False)

    def test_length_beyond_the_limit(self):
        for length in (8193, 65535, 0xFFFFFF):
            with self.subTest(length):
                header = bytearray(Pdu.make(p.LOGIN | p.IMMEDIATE, 0x87).encode())
                header[5:8] = length.to_bytes(3, "big")
                self.raw(bytes(header) + b"x" * 64)

    def test_short_pdu_then_end(self):
        for length in (1, 20, 47):
            initiator = self.initiator(self.portal)
            initiator.send_raw(bytes(length))
            initiator.close()

    def test_header_without_its_data_then_end(self):
        initiator = self.initiator(self.portal)
        whole = initiator.login_request(initiator.first_keys(IQN), SECURITY, OPERATIONAL).encode()
        initiator.send_raw(whole[:-4])
        initiator.close()

    def test_text_without_zero_byte(self):
        for length in (8188, 8189, 8190, 8191, 8192):
            with self.subTest(length):
                self.raw(Pdu.make(p.LOGIN | p.IMMEDIATE, 0x81, b"k" * length).encode(), 2, must_close=False)

    def test_keys_of_every_length(self):
        for length in (63, 64, 65, 255, 4000, 8000):
            for stage in (SECURITY, OPERATIONAL):
                with self.subTest(length=length, stage=stage):
                    initiator = self.initiator(self.portal)
                    try:
                        keys = {**initiator.first_keys(IQN), "k" * length: "v"}
                        initiator.login_step(keys, stage, None)
                    except (LoginFailed, Closed):
                        pass

    def test_two_thousand_keys(self):
        """Each is answered with NotUnderstood: the answer is longer than the request."""
        initiator = self.initiator(self.portal)
        data = p.encode_keys(initiator.first_keys(IQN)) + b"".join(b"%03x=\0" % n for n in range(1500))
        try:
            initiator.send(initiator.login_request({}, OPERATIONAL, None, data=data[:8192]))
            while True:
                answer = initiator.receive(3)
                self.assertLessEqual(len(answer.data), 8192)
                if answer.bhs[36] or not answer.flags & 0x40:
                    break
                initiator.send(initiator.login_request({}, OPERATIONAL, None))
        except Closed:
            pass

    def test_repeated_keys_and_empty_ones(self):
        for data in (b"=\0", b"=v\0", b"k\0", b"\0\0\0", b"InitiatorName=a\0InitiatorName=b\0", b"k=" + b"v" * 8000 + b"\0",
                     "InitiatorName=iqn.ünïcode\0".encode(), b"InitiatorName=%n%s%x%n\0SessionType=Discovery\0"):
            with self.subTest(data[:20]):
                self.raw(Pdu.make(p.LOGIN | p.IMMEDIATE, 0x81, data).encode(), 1.5, must_close=False)
        self.assertNotIn("(null)", self.itgtd.log)

    def test_continuation_without_data(self):
        for flags in (0x40, 0xC1, 0xC7):
            with self.subTest(hex(flags)):
                self.raw(Pdu.make(p.LOGIN | p.IMMEDIATE, flags).encode(), 2, must_close=False)

    def test_bytes_right_behind_the_login(self):
        for more in (b"\0", os.urandom(64), os.urandom(4096)):
            initiator = self.initiator(self.portal)
            keys = {**initiator.first_keys(IQN), "AuthMethod": "None"}
            login = initiator.login_request(keys, SECURITY, 3).encode()
            try:
                initiator.send_raw(login + more)
                initiator.closed_within(1)
            except (Closed, AssertionError):
                pass
            initiator.close()

    def test_changes_of_identity_between_login_requests(self):
        for change in ({"bytes_8": b"\x80\0\0\0\0\x42"}, {"u16_20": 77}, {"u32_16": 0x999}):
            with self.subTest(change):
                initiator = self.initiator(self.portal)
                initiator.login_step({**initiator.first_keys(IQN), "AuthMethod": "None"}, SECURITY, OPERATIONAL)
                try:
                    initiator.login_step({}, OPERATIONAL, 3, **change)
                except (LoginFailed, Closed):
                    pass

    # In the full feature phase.

    def test_reserved_and_target_opcodes(self):
        for opcode in (0x07, 0x0F, 0x11, 0x1B, 0x1C, 0x20, 0x21, 0x25, 0x31, 0x3F):
            with self.subTest(hex(opcode)):
                session = self.session(self.portal)
                session.send(Pdu.make(opcode | p.IMMEDIATE, p.FINAL, itt=session.next_itt(), u32_24=session.cmd_sn))
                self.assertIn(self.expect_end_or_reject(session), ("reject", "closed"))

    def test_snack_at_level_zero(self):
        session = self.session(self.portal)
        session.send(Pdu.make(p.SNACK, p.FINAL, itt=session.next_itt(), u32_20=p.RESERVED_TAG))
        self.assertIn(self.expect_end_or_reject(session), ("reject", "closed"))

    def test_second_login_request(self):
        session = self.session(self.portal)
        session.send(session.login_request(session.first_keys(IQN), SECURITY, OPERATIONAL))
        self.assertIn(self.expect_end_or_reject(session), ("reject", "closed"))

    def test_additional_headers(self):
        for length in (1, 5, 255):
            with self.subTest(length):
                session = self.session(self.portal)
                command = session.command_pdu(s.read_10(0, 1), read=512)
                command.ahs = b"\xff" * 4 * length
                session.send(command)
                self.assertIn(self.expect_end_or_reject(session), ("reject", "closed", "answered"))

    def test_data_for_no_task(self):
        for ttt in (p.RESERVED_TAG, 0x12345678, 0):
            with self.subTest(hex(ttt)):
                session = self.session(self.portal)
                session.send(Pdu.make(p.DATA_OUT, p.FINAL, b"x" * 512, itt=0x5555, u32_20=ttt))
                self.assertIn(self.expect_end_or_reject(session), ("reject", "closed", "silence"))

    def test_data_out_of_its_range(self):
        """Offsets that wrap, that lie outside of the R2T, wrong DataSN, F too early, after the end."""
        wrong = (
            dict(u32_40=0xFFFFFE00), dict(u32_40=0x80000000), dict(u32_40=4096), dict(u32_36=7), dict(u32_20=0x4242),
            dict(u32_40=1), dict(bytes_8=p.lun_field(9)),
        )
        for fields in wrong:
            with self.subTest(fields):
                session = self.session(self.portal, login={"InitialR2T": "Yes", "ImmediateData": "No"})
                session.command(s.write_10(0, 16), write=bytes(8192))
                task = session.start(s.write_10(0, 8), write=b"\xbb" * 4096, immediate_bytes=0, auto_data=False)
                while not task.r2ts:
                    session.pump()
                session.send(session.data_pdu(task, 0, 4096, task.r2ts[0].ttt, 0, True, **fields))
                self.expect_end_or_reject(session)
                data = bytes(self.witness.command(s.read_10(0, 16), read=8192).data)
                self.assertEqual(data[4096:], bytes(4096), "written outside of the command")

    def test_more_data_than_asked_for(self):
        session = self.session(self.portal, login={"InitialR2T": "Yes", "ImmediateData": "No"})
        session.command(s.write_10(0, 32), write=bytes(16384))
        task = session.start(s.write_10(0, 8), write=b"\xbb" * 16384, immediate_bytes=0, auto_data=False, expected=4096)
        while not task.r2ts:
            session.pump()
        session.send(session.data_pdu(task, 0, 16384, task.r2ts[0].ttt, 0, True))
        self.expect_end_or_reject(session)
        self.assertEqual(bytes(self.witness.command(s.read_10(8, 24), read=12288).data), bytes(12288))

    def test_immediate_data_beyond_everything(self):
        """WRITE (10) of one block with 64 KiB of immediate data and as much expected."""
        session = self.session(self.portal)
        session.command(s.write_10(0, 128), write=bytes(65536))
        session.send(session.command_pdu(s.write_10(0, 1), write=65536, immediate_data=b"\xcc" * 65536))
        self.expect_end_or_reject(session)
        self.assertEqual(bytes(self.witness.command(s.read_10(1, 127), read=127 * 512).data), bytes(127 * 512))

    def test_immediate_data_that_was_not_agreed_on(self):
        session = self.session(self.portal, login={"ImmediateData": "No"})
        session.send(session.command_pdu(s.write_10(0, 1), write=512, immediate_data=bytes(512)))
        self.assertIn(self.expect_end_or_reject(session), ("reject", "closed", "answered"))

    def test_segment_beyond_what_was_declared(self):
        session = self.session(self.portal)
        header = bytearray(session.nop_pdu(session.next_itt()).encode())
        header[5:8] = (0xFFFFFF).to_bytes(3, "big")
        session.send_raw(bytes(header) + b"x" * 4096)
        self.assertTrue(session.closed_within(5))

    def test_expected_lengths_that_lie(self):
        for expected in (0, 1, 511, 0x7FFFFFFF, 0xFFFFFFFF):
            for cdb in (s.read_10(0, 8), s.inquiry(), s.report_luns(), s.mode_sense_6(0x3F), s.TEST_UNIT_READY):
                with self.subTest(expected=hex(expected), cdb=cdb.hex()):
                    session = self.session(self.portal)
                    task = session.start(cdb, read=expected)
                    try:
                        session.wait(task, 5)
                        self.assertLessEqual(len(task.data), expected)
                    except Closed:
                        pass
                    session.close()

    def test_directions_that_do_not_match(self):
        for read, write, cdb in ((512, 0, s.write_10(0, 1)), (0, 512, s.read_10(0, 1)), (0, 0, s.read_10(0, 1)),
                                 (0, 0, s.write_10(0, 1)), (512, 512, s.read_10(0, 1))):
            with self.subTest(read=read, write=write, cdb=cdb.hex()):
                session = self.session(self.portal)
                session.send(session.command_pdu(cdb, read=read, write=write))
                self.expect_end_or_reject(session, 1.0)

    def test_duplicate_tag(self):
        session = self.session(self.portal, login={"InitialR2T": "Yes", "ImmediateData": "No"})
        task = session.start(s.write_10(0, 1), write=bytes(512), immediate_bytes=0, auto_data=False)
        while not task.r2ts:
            session.pump()
        session.send(session.command_pdu(s.read_10(0, 1), read=512, itt=task.itt))
        self.assertIn(self.expect_end_or_reject(session), ("reject", "closed", "answered"))

    def test_reserved_tag_for_a_command(self):
        session = self.session(self.portal)
        session.send(session.command_pdu(s.TEST_UNIT_READY, itt=p.RESERVED_TAG))
        self.expect_end_or_reject(session, 1.0)

    def test_command_numbers_outside_of_the_window(self):
        session = self.session(self.portal)
        for number in (session.max_cmd_sn + 1, session.max_cmd_sn + 1000, session.cmd_sn - 1, session.cmd_sn - 1000):
            session.send(session.command_pdu(s.TEST_UNIT_READY, u32_24=number & 0xFFFFFFFF, itt=session.next_itt()))
            session.cmd_sn = (session.cmd_sn - 1) & 0xFFFFFFFF
        # RFC 7143 §4.2.2.1: silently ignored.
        with self.assertRaises(TimeoutError):
            session.pump(0.5)
        self.assertEqual(session.command(s.TEST_UNIT_READY).status, 0)

    def test_commands_out_of_order_wait_for_the_missing_one(self):
        session = self.session(self.portal)
        first, second = session.cmd_sn, session.cmd_sn + 1
        session.send(session.command_pdu(s.TEST_UNIT_READY, u32_24=second))
        try:
            session.pump(0.3)
        except TimeoutError:
            session.send(session.command_pdu(s.TEST_UNIT_READY, u32_24=first))
            session.pump()
            session.pump()

    def test_window_wraps(self):
        session = self.initiator(self.portal)
        session.cmd_sn = 0xFFFFFFF0
        session.login(IQN)
        for _ in range(64):
            session.command(s.TEST_UNIT_READY)
        self.assertEqual(session.command(s.TEST_UNIT_READY).status, 0)

    def test_logical_unit_numbers(self):
        for field in (b"\0\x01", b"\x3f\xff", b"\x40\x01", b"\x7f\xff", b"\xc1\x01", b"\xff\xff", b"\0\0\0\x01"):
            with self.subTest(field.hex()):
                session = self.witness
                task = session.command(s.read_10(0, 1), read=512, bytes_8=field.ljust(8, b"\0"))
                self.assertEqual((task.status, task.sense_code), (s.CHECK_CONDITION, (s.ILLEGAL_REQUEST, 0x25, 0)))
                task = session.command(s.inquiry(), read=255, bytes_8=field.ljust(8, b"\0"))
                # Not there; or the well-known logical unit of REPORT LUNS, which is. SPC-4 §8.2.
                self.assertEqual((task.status, task.data[0]), (0, 0x1E if field == b"\xc1\x01" else 0x7F))

    def test_block_addresses(self):
        blocks = struct.unpack(">Q", self.witness.command(s.read_capacity_16(), read=32).data[:8])[0] + 1
        for lba, count in ((blocks, 1), (blocks - 1, 2), (0xFFFFFFFFFFFFFFFF, 1), (0xFFFFFFFFFFFFFFFF, 0xFFFFFFFF),
                           (0x8000000000000000, 0x80000000), (blocks + 1, 0)):
            with self.subTest(lba=hex(lba), count=count):
                for cdb, arguments in ((s.read_16(lba, count), {"read": 4096}), (s.write_16(lba, count), {"write": bytes(4096)})):
                    task = self.witness.command(cdb, **arguments)
                    self.assertEqual((task.status, task.sense_code), (s.CHECK_CONDITION, (s.ILLEGAL_REQUEST, 0x21, 0)))

    def test_every_operation_code(self):
        """All 256, with reserved bytes set: none is served that should not be, and each is answered."""
        for opcode in range(256):
            if opcode in (0x16, 0x56):  # a reservation would get in the way of the witness
                continue
            session = self.witness
            task = session.command(bytes([opcode]) + b"\xff" * 15, read=0)
            self.assertIn(task.status, (0, 2), f"opcode {opcode:#x}")
            self.assertEqual(task.sense_code[0] in (0, 5, 6), True, f"opcode {opcode:#x}: {task.sense_code}")

    def test_allocation_lengths(self):
        for make in (lambda n: s.inquiry(n), lambda n: s.inquiry(n, 0x83), lambda n: s.inquiry(n, 0xB0), s.request_sense,
                     lambda n: s.mode_sense_6(0x3F, n), s.read_capacity_16, s.report_luns):
            for length in (0, 1, 3, 4, 5, 7, 8, 17, 36, 64, 252, 255):
                task = self.witness.command(make(length), read=4096)
                if task.status == 0:
                    self.assertLessEqual(len(task.data), length)

    def test_text_requests(self):
        for data, final, more in ((b"", True, False), (b"", False, True), (b"SendTargets", True, False), (b"=\0", True, False),
                                  (b"x" * 8000, True, False), (b"HeaderDigest=CRC32C\0", True, False),
                                  (b"SendTargets=" + b"a" * 300 + b"\0", True, False), (b"", True, True)):
            with self.subTest(data[:20], final=final, more=more):
                session = self.session(self.portal)
                try:
                    session.send(session.text_pdu(data, final, more))
                    session.pump(1.0)
                except (Closed, TimeoutError):
                    pass

    def test_text_without_end(self):
        session = self.session(self.portal)
        request = session.text_pdu(b"k" * 8000, final=False, more=True)
        sent = 0
        try:
            session.send(request)
            for _ in range(2000):
                answer = session.pump(5)
                if answer.opcode == p.REJECT:
                    break
                session.send(session.text_pdu(b"k" * 8000, final=False, more=True, ttt=answer.ttt, itt=request.itt))
                sent += 8000
        except (Closed, TimeoutError):
            pass
        self.assertLess(sent, 1 << 20)

    def test_logout_of_other_connections(self):
        session = self.session(self.portal)
        answer = session.logout(reason=1, cid=0x77)
        self.assertEqual(answer.bhs[2], 1)  # CID not found
        answer = session.logout(reason=2, cid=0)
        self.assertEqual(answer.bhs[2], 2)  # recovery is not supported
        self.assertEqual(session.logout(reason=0).bhs[2], 0)
        self.assertTrue(session.closed_within(5))

    def test_nop_out(self):
        session = self.session(self.portal)
        for size in (0, 1, 3, 4, 4096):
            data = os.urandom(size)
            self.assertEqual(session.nop(data).data, data)
            self.assertEqual(session.nop(data, immediate=True).data, data)
        session.send(session.nop_pdu(p.RESERVED_TAG, immediate=True))  # wants no answer: RFC 7143 §11.18
        session.send(session.nop_pdu(session.next_itt(), ttt=0x1234, immediate=True))  # no ping of the target's
        self.expect_end_or_reject(session, 0.5)

    def test_a_flood_of_immediate_commands(self):
        session = self.session(self.portal)
        try:
            for _ in range(2000):
                session.send(session.nop_pdu(session.next_itt(), immediate=True))
            for _ in range(2000):
                session.pump(2)
        except (Closed, TimeoutError):
            pass

    def test_resets_in_the_middle_of_everything(self):
        linger = struct.pack("ii", 1, 0)
        for number in range(60):
            session = self.session(self.portal, isid=bytes([0x80, 0, 0, 0, 4, number]))
            for n in range(4):
                session.start(s.write_10(n, 8), write=bytes(4096))
                session.start(s.read_10(n, 64), read=32768)
            session.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            session.close()
