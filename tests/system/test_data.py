"""Data phases: immediate, unsolicited and solicited data, R2T, Data-In, residuals, digests. RFC 7143 §11.4-11.8."""

import os

from harness import pdu as p
from harness import scsi as s
from harness.case import Case
from harness.initiator import Closed

KIB = 1024


class Data(Case):
    def setUp(self) -> None:
        super().setUp()
        self.itgtd, self.portal, self.second = self.serve(['path = "ram:32M"\nserial = "aaaaaaa0"'], portals=2)

    def write_and_read(self, session, kib: int = 256, lba: int = 0, **how) -> None:
        data = os.urandom(kib * KIB)
        task = session.command(s.write_10(lba, kib * 2), write=data, **how)
        self.assertEqual((task.status, task.residual), (0, ("none", 0)), task.sense_code)
        back = session.command(s.read_10(lba, kib * 2), read=len(data))
        self.assertEqual(back.status, 0)
        self.assertEqual(bytes(back.data), data)

    def test_immediate_only(self):
        session = self.session(self.portal)
        data = os.urandom(8 * KIB)
        task = session.command(s.write_10(0, 16), write=data)
        self.assertEqual((task.status, len(task.r2ts)), (0, 0))
        self.assertEqual(bytes(session.command(s.read_10(0, 16), read=len(data)).data), data)

    def test_immediate_then_unsolicited(self):
        session = self.session(self.portal)
        first_burst = int(session.keys["FirstBurstLength"])
        self.assertEqual(session.keys["InitialR2T"], "No")
        for immediate in (0, 512, 4096):
            with self.subTest(immediate):
                data = os.urandom(first_burst)
                task = session.command(s.write_10(0, first_burst // 512), write=data, immediate_bytes=immediate,
                                       unsolicited_bytes=first_burst - immediate)
                self.assertEqual((task.status, len(task.r2ts)), (0, 0))
                back = session.command(s.read_10(0, first_burst // 512), read=first_burst)
                self.assertEqual(bytes(back.data), data)

    def test_first_burst_then_r2t(self):
        session = self.session(self.portal, login={"FirstBurstLength": "16384", "MaxBurstLength": "65536"})
        self.write_and_read(session, 256, immediate_bytes=4096, unsolicited_bytes=12288)

    def test_solicited_only(self):
        session = self.session(self.portal, login={"InitialR2T": "Yes", "ImmediateData": "No", "MaxBurstLength": "65536"})
        data = os.urandom(256 * KIB)
        task = session.command(s.write_10(8, 512), write=data, immediate_bytes=0)
        self.assertEqual(task.status, 0)
        self.assertEqual([(r.u32(40), r.u32(44)) for r in task.r2ts], [(at * 65536, 65536) for at in range(4)])
        self.assertEqual([r.u32(36) for r in task.r2ts], [0, 1, 2, 3], "R2TSN")
        self.assertNotIn(p.RESERVED_TAG, [r.ttt for r in task.r2ts])
        self.assertEqual(bytes(session.command(s.read_10(8, 512), read=len(data)).data), data)

    def test_several_r2ts_outstanding(self):
        session = self.session(self.portal, login={"InitialR2T": "Yes", "ImmediateData": "No", "MaxBurstLength": "16384",
                                                   "MaxOutstandingR2T": "4"})
        outstanding = int(session.keys["MaxOutstandingR2T"])
        self.assertGreater(outstanding, 1)
        data = os.urandom(128 * KIB)
        task = session.start(s.write_10(0, 256), write=data, immediate_bytes=0, auto_data=False)
        while len(task.r2ts) < outstanding:
            session.pump()
        with self.assertRaises(TimeoutError):
            session.pump(0.3)  # never more than were agreed on
        answered = 0
        while not task.done:  # answer in the order that they came: DataSequenceInOrder=Yes
            for r2t in task.r2ts[answered:]:
                session.answer_r2t(task, r2t)
                answered += 1
                break
            while not task.done and len(task.r2ts) < min(answered + outstanding, 8):
                session.pump()
            if answered == 8:
                session.wait(task)
        self.assertEqual((task.status, answered), (0, 8))
        self.assertEqual(bytes(session.command(s.read_10(0, 256), read=len(data)).data), data)

    def test_a_read_comes_in_segments_of_the_initiators_size(self):
        session = self.session(self.portal, login={"MaxRecvDataSegmentLength": "4096", "MaxBurstLength": "16384"})
        self.write_and_read(session, 64)
        task = session.command(s.read_10(0, 128), read=64 * KIB)
        self.assertTrue(all(len(pdu.data) <= 4096 for pdu in task.data_pdus))
        bursts, length = [], 0
        for pdu in task.data_pdus:
            length += len(pdu.data)
            if pdu.final:
                bursts.append(length)
                length = 0
        self.assertTrue(all(burst <= 16384 for burst in bursts), bursts)
        self.assertTrue(task.data_pdus[-1].final)

    def test_status_comes_with_the_last_data(self):
        task = self.session(self.portal).command(s.read_10(0, 8), read=4096)
        self.assertEqual((task.response.opcode, task.response.flags & 0x81, task.status), (p.DATA_IN, 0x81, 0))

    def test_residuals_of_reads(self):
        session = self.session(self.portal)
        for blocks, expected, residual, got in ((1, 1024, ("underflow", 512), 512), (2, 512, ("overflow", 512), 512),
                                                (1, 512, ("none", 0), 512), (0, 512, ("underflow", 512), 0)):
            with self.subTest(blocks=blocks, expected=expected):
                task = session.command(s.read_10(0, blocks), read=expected)
                self.assertEqual((task.status, task.residual, len(task.data)), (0, residual, got))
        task = session.command(s.inquiry(255), read=255)
        self.assertEqual(task.residual, ("underflow", 255 - len(task.data)))

    def test_residuals_of_writes(self):
        session = self.session(self.portal)
        data = b"\x5a" * 2048
        session.command(s.write_10(0, 4), write=bytes(2048))
        # The header announces more than the command takes: what is too much is not written.
        task = session.command(s.write_10(0, 1), write=data[:1024])
        self.assertEqual((task.status, task.residual), (0, ("underflow", 512)))
        self.assertEqual(bytes(session.command(s.read_10(0, 4), read=2048).data), data[:512] + bytes(1536))
        # The header announces less: only that much can come.
        task = session.command(s.write_10(0, 4), write=data[:1024])
        self.assertEqual(task.residual, ("overflow", 1024))

    def test_a_check_condition_has_sense_and_the_whole_residual(self):
        session = self.session(self.portal)
        task = session.command(s.read_10(0x7FFFFFFF, 1), read=512)
        self.assertEqual((task.status, task.sense_code), (s.CHECK_CONDITION, (s.ILLEGAL_REQUEST, 0x21, 0)))
        self.assertEqual(task.residual, ("underflow", 512))

    def test_digests_on(self):
        for header, data in (("CRC32C", "None"), ("None", "CRC32C"), ("CRC32C", "CRC32C")):
            with self.subTest(header=header, data=data):
                session = self.session(self.portal, login={"HeaderDigest": header, "DataDigest": data,
                                                           "MaxBurstLength": "65536", "FirstBurstLength": "8192"})
                self.assertEqual((session.keys["HeaderDigest"], session.keys["DataDigest"]), (header, data))
                self.write_and_read(session, 128, immediate_bytes=512)
                self.assertEqual(session.nop(b"odd").data, b"odd")

    def test_digest_preference_is_the_initiators(self):
        self.assertEqual(self.session(self.portal, login={"HeaderDigest": "None,CRC32C"}).keys["HeaderDigest"], "None")
        self.assertEqual(self.session(self.portal, login={"HeaderDigest": "CRC32C,None"}).keys["HeaderDigest"], "CRC32C")

    def test_wrong_header_digest_ends_the_connection(self):
        session = self.session(self.portal, login={"HeaderDigest": "CRC32C"})
        good = session.command_pdu(bytes(6)).encode(True, False)
        session.send_raw(good[:20] + bytes([good[20] ^ 1]) + good[21:])
        self.assertTrue(session.closed_within(5))
        self.session(self.portal)

    def test_wrong_data_digest_writes_nothing(self):
        session = self.session(self.portal, login={"DataDigest": "CRC32C", "InitialR2T": "Yes"})
        session.command(s.write_10(0, 2), write=bytes(1024))
        bad = bytearray(session.command_pdu(s.write_10(0, 1), write=512, immediate_data=b"\xff" * 512).encode(False, True))
        bad[-1] ^= 0x10
        session.send_raw(bytes(bad))
        # RFC 7143 §7.8: Reject with data-digest-error; then error recovery level 0 may end the session, or the
        # command ends with a check condition.
        rejected = session.wait_for(p.REJECT)
        self.assertEqual(rejected.bhs[2], 0x02)
        self.assertEqual(bytes(rejected.data), bytes(bad[:48]))
        other = self.session(self.portal, isid=b"\x80\0\0\0\0\x09")
        self.assertEqual(bytes(other.command(s.read_10(0, 1), read=512).data), bytes(512))

    def test_many_commands_at_once(self):
        session = self.session(self.portal)
        window = (session.max_cmd_sn - session.cmd_sn + 1) & 0xFFFFFFFF
        self.assertGreaterEqual(window, 16)
        count = min(window, 64)
        blocks = [os.urandom(4096) for _ in range(count)]
        writes = [session.start(s.write_10(8 * n, 8), write=block) for n, block in enumerate(blocks)]
        for task in writes:
            self.assertEqual(session.wait(task).status, 0)
        count = min((session.max_cmd_sn - session.cmd_sn + 1) & 0xFFFFFFFF, count)
        reads = [session.start(s.read_10(8 * n, 8), read=4096) for n in range(count)]
        for n, task in enumerate(reads):
            self.assertEqual(bytes(session.wait(task).data), blocks[n])

    def test_two_sessions_see_the_same_disk(self):
        one, two = self.session(self.portal), self.session(self.second, isid=b"\x80\0\0\0\0\x02")
        data = os.urandom(64 * KIB)
        self.assertEqual(one.command(s.write_10(64, 128), write=data).status, 0)
        self.assertEqual(bytes(two.command(s.read_10(64, 128), read=len(data)).data), data)

    def test_a_write_half_sent_is_forgotten_with_its_connection(self):
        one = self.session(self.portal)
        one.command(s.write_10(0, 256), write=bytes(128 * KIB))
        one.send(one.command_pdu(s.write_10(0, 256), write=128 * KIB, immediate_data=b"\xee" * 4096))
        one.close()
        two = self.session(self.second, isid=b"\x80\0\0\0\0\x02")
        self.assertEqual(bytes(two.command(s.read_10(0, 256), read=128 * KIB).data), bytes(128 * KIB))


class ReaderThatDoesNotRead(Case):
    """An initiator that asks and never reads may cost only itself."""

    def test_others_go_on(self):
        itgtd, where = self.serve(['path = "null:1G"'])
        greedy = self.session(where, isid=b"\x80\0\0\0\0\x05")
        before = itgtd.resident_bytes()
        count = min((greedy.max_cmd_sn - greedy.cmd_sn + 1) & 0xFFFFFFFF, 128)
        for _ in range(count):
            greedy.start(s.read_10(0, 2048), read=1 << 20)
        good = self.session(where, isid=b"\x80\0\0\0\0\x06")
        for _ in range(20):
            self.assertEqual(good.command(s.read_10(0, 8), read=4096).status, 0)
        self.assertLess(itgtd.resident_bytes() - before, 512 << 20)
        try:
            greedy.closed_within(0.01)
        except (AssertionError, Closed):
            pass
