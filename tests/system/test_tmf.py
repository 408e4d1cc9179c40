"""Task management, across sessions and workers. RFC 7143 §11.5, §11.6, SAM-5 §7."""

from harness import pdu as p
from harness import scsi as s
from harness.case import Case

ABORT_TASK, ABORT_TASK_SET, CLEAR_ACA, CLEAR_TASK_SET, LUN_RESET, WARM_RESET, COLD_RESET, REASSIGN = range(1, 9)
COMPLETE, NO_TASK, NO_LUN, TASK_ALLEGIANT, NO_REASSIGN, NOT_SUPPORTED, AUTH_FAILED = range(7)
REJECTED = 255


class TaskManagement(Case):
    def setUp(self) -> None:
        super().setUp()
        luns = ['path = "ram:4M"', 'path = "ram:4M"']
        self.itgtd, self.portal, self.second = self.serve(luns, portals=2)
        slow = {"InitialR2T": "Yes", "ImmediateData": "No"}
        self.one = self.session(self.portal, isid=b"\x80\0\0\0\0\x01", login=slow)
        self.two = self.session(self.second, isid=b"\x80\0\0\0\0\x02", login=slow)
        for session in (self.one, self.two):
            for _ in range(4):
                if session.command(s.TEST_UNIT_READY, lun=1).status == 0:
                    break

    def stuck_write(self, session, lun: int = 0):
        """A write that waits for data that nobody sends: in flight until something ends it."""
        task = session.start(s.write_10(0, 8), lun=lun, write=b"\xaa" * 4096, immediate_bytes=0, auto_data=False)
        while not task.r2ts:
            session.pump()
        return task

    def silent(self, session, task, seconds: float = 0.5) -> None:
        """An aborted task is never answered."""
        try:
            while True:
                session.pump(seconds)
                self.assertFalse(task.done, "an aborted task was answered")
        except TimeoutError:
            pass

    def attention(self, session, lun: int = 0) -> tuple:
        task = session.command(s.TEST_UNIT_READY, lun=lun)
        return (task.status, *task.sense_code)

    def test_abort_task(self):
        task = self.stuck_write(self.one)
        self.assertEqual(self.one.tmf(ABORT_TASK, referenced=task.itt), COMPLETE)
        self.silent(self.one, task)
        self.assertEqual(self.attention(self.one)[0], s.GOOD)
        self.assertEqual(bytes(self.one.command(s.read_10(0, 8), read=4096).data), bytes(4096))

    def test_abort_task_that_is_not_there(self):
        self.assertEqual(self.one.tmf(ABORT_TASK, referenced=0x7777, u32_32=self.one.cmd_sn - 1), NO_TASK)
        # CVE-2024-26845: what was answered there kept a reset waiting for ever.
        self.assertEqual(self.one.tmf(LUN_RESET, timeout=5), COMPLETE)

    def test_abort_task_is_of_this_session_only(self):
        task = self.stuck_write(self.two)
        self.assertEqual(self.one.tmf(ABORT_TASK, referenced=task.itt, u32_32=self.one.cmd_sn - 1), NO_TASK)
        self.two.answer_r2t(task, task.r2ts[0])
        self.assertEqual(self.two.wait(task).status, s.GOOD)

    def test_abort_task_set_is_of_this_session_only(self):
        mine, theirs = self.stuck_write(self.one), self.stuck_write(self.two)
        other_lun = self.stuck_write(self.one, lun=1)
        self.assertEqual(self.one.tmf(ABORT_TASK_SET), COMPLETE)
        self.silent(self.one, mine)
        for session, task in ((self.two, theirs), (self.one, other_lun)):
            session.answer_r2t(task, task.r2ts[0])
            self.assertEqual(session.wait(task).status, s.GOOD)

    def test_clear_task_set_is_of_all_sessions(self):
        mine, theirs = self.stuck_write(self.one), self.stuck_write(self.two)
        other_lun = self.stuck_write(self.two, lun=1)
        self.assertEqual(self.one.tmf(CLEAR_TASK_SET), COMPLETE)
        self.silent(self.one, mine)
        self.silent(self.two, theirs)
        # SAM-5 §5.14: with TAS 0 the others are told by a unit attention: COMMANDS CLEARED BY ANOTHER INITIATOR.
        self.assertEqual(self.attention(self.two), (s.CHECK_CONDITION, s.UNIT_ATTENTION, 0x2F, 0x00))
        self.assertEqual(self.attention(self.two)[0], s.GOOD)
        self.assertEqual(self.attention(self.one)[0], s.GOOD)
        self.two.answer_r2t(other_lun, other_lun.r2ts[0])
        self.assertEqual(self.two.wait(other_lun).status, s.GOOD)

    def test_lun_reset(self):
        mine, theirs = self.stuck_write(self.one), self.stuck_write(self.two)
        other_lun = self.stuck_write(self.two, lun=1)
        self.assertEqual(self.one.tmf(LUN_RESET), COMPLETE)
        self.silent(self.one, mine)
        self.silent(self.two, theirs)
        for session in (self.one, self.two):
            status, key, asc, _ = self.attention(session)
            self.assertEqual((status, key, asc), (s.CHECK_CONDITION, s.UNIT_ATTENTION, 0x29))
            self.assertEqual(self.attention(session)[0], s.GOOD)
            self.assertEqual(self.attention(session, lun=1)[0], s.GOOD)
        self.two.answer_r2t(other_lun, other_lun.r2ts[0])
        self.assertEqual(self.two.wait(other_lun).status, s.GOOD)

    def test_lun_reset_ends_a_reservation(self):
        self.assertEqual(self.one.command(s.RESERVE_6).status, s.GOOD)
        self.assertEqual(self.two.command(s.read_10(0, 1), read=512).status, s.RESERVATION_CONFLICT)
        self.assertEqual(self.two.tmf(LUN_RESET), COMPLETE)
        self.attention(self.two)
        self.assertEqual(self.two.command(s.read_10(0, 1), read=512).status, s.GOOD)

    def test_target_warm_reset(self):
        mine, theirs = self.stuck_write(self.one, lun=1), self.stuck_write(self.two)
        self.assertEqual(self.one.tmf(WARM_RESET), COMPLETE)
        self.silent(self.one, mine)
        self.silent(self.two, theirs)
        for lun in (0, 1):
            status, key, asc, _ = self.attention(self.two, lun)
            self.assertEqual((status, key, asc), (s.CHECK_CONDITION, s.UNIT_ATTENTION, 0x29))

    def test_target_cold_reset_ends_every_session(self):
        self.one.send(self.one.tmf_pdu(COLD_RESET))
        self.assertTrue(self.one.closed_within(10))
        self.assertTrue(self.two.closed_within(10))
        again = self.session(self.portal)
        self.assertEqual(again.nop(b"x").data, b"x")

    def test_functions_that_do_not_apply(self):
        self.assertIn(self.one.tmf(REASSIGN, referenced=0x1001), (NOT_SUPPORTED, NO_REASSIGN, REJECTED))
        self.assertIn(self.one.tmf(CLEAR_ACA), (COMPLETE, NOT_SUPPORTED))
        self.assertEqual(self.one.tmf(LUN_RESET, lun=77), NO_LUN)
        self.one.send(self.one.tmf_pdu(0x55))
        answer = self.one.pump()
        if answer.opcode == p.TASK_MANAGEMENT_RESPONSE:
            self.assertIn(answer.bhs[2], (NOT_SUPPORTED, REJECTED))
        else:
            self.assertEqual(answer.opcode, p.REJECT)
        self.assertEqual(self.one.nop(b"x").data, b"x")

    def test_not_immediate(self):
        task = self.stuck_write(self.one)
        self.assertEqual(self.one.tmf(ABORT_TASK, referenced=task.itt, immediate=False), COMPLETE)
        self.silent(self.one, task)

    def test_data_after_an_abort_is_thrown_away(self):
        task = self.stuck_write(self.one)
        self.assertEqual(self.one.tmf(ABORT_TASK, referenced=task.itt), COMPLETE)
        self.one.answer_r2t(task, task.r2ts[0])
        again = self.session(self.portal, isid=b"\x80\0\0\0\0\x07")  # the late data may cost its own session
        self.assertEqual(bytes(again.command(s.read_10(0, 8), read=4096).data), bytes(4096))

    def test_resets_while_both_sessions_work(self):
        """No task is lost, no answer is missing: each command ends, or is aborted by a reset that was answered."""
        for round_number in range(40):
            tasks = [(session, session.start(s.read_10(8 * n, 8), read=4096))
                     for n in range(8) for session in (self.one, self.two)]
            resetter, watcher = (self.one, self.two) if round_number % 2 else (self.two, self.one)
            self.assertEqual(resetter.tmf(LUN_RESET), COMPLETE)
            self.assertEqual(watcher.nop(b"n").data, b"n")
            for session, task in tasks:
                session.tasks.pop(task.itt, None)
            for session in (self.one, self.two):
                for _ in range(12):
                    if self.attention(session)[0] == s.GOOD:
                        break
                else:
                    self.fail("unit attentions do not end")
