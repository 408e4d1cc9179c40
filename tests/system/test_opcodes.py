"""REPORT SUPPORTED OPERATION CODES against what the daemon does with each operation code."""

import struct

from harness import scsi as s
from harness.case import Case

INVALID_OPCODE = (s.ILLEGAL_REQUEST, 0x20, 0x00)
INVALID_FIELD = (s.ILLEGAL_REQUEST, 0x24, 0x00)
# Operation codes whose byte 1, or bytes 8 and 9, say which command it is. SPC-4, annex of operation codes.
WITH_SERVICE_ACTIONS = (0x5E, 0x5F, 0x83, 0x84, 0x9D, 0x9E, 0x9F, 0xA3, 0xA4, 0xA9, 0xAB, 0x48, 0x7F)
SERVICE_ACTION_BITS = 5
# What initiators and clusters use: docs/, "every command". (operation code, service action)
WANTED = {
    "TEST UNIT READY": (0x00, None), "REQUEST SENSE": (0x03, None), "INQUIRY": (0x12, None), "READ (6)": (0x08, None),
    "WRITE (6)": (0x0A, None), "READ (10)": (0x28, None), "WRITE (10)": (0x2A, None), "READ (12)": (0xA8, None),
    "WRITE (12)": (0xAA, None), "READ (16)": (0x88, None), "WRITE (16)": (0x8A, None), "WRITE AND VERIFY (10)": (0x2E, None),
    "WRITE AND VERIFY (12)": (0xAE, None), "WRITE AND VERIFY (16)": (0x8E, None), "VERIFY (10)": (0x2F, None),
    "VERIFY (12)": (0xAF, None), "VERIFY (16)": (0x8F, None), "COMPARE AND WRITE": (0x89, None), "ORWRITE (16)": (0x8B, None),
    "WRITE ATOMIC (16)": (0x9C, None), "WRITE SAME (10)": (0x41, None), "WRITE SAME (16)": (0x93, None), "UNMAP": (0x42, None),
    "SYNCHRONIZE CACHE (10)": (0x35, None), "SYNCHRONIZE CACHE (16)": (0x91, None), "PRE-FETCH (10)": (0x34, None),
    "PRE-FETCH (16)": (0x90, None), "READ CAPACITY (10)": (0x25, None), "READ CAPACITY (16)": (0x9E, 0x10),
    "GET LBA STATUS": (0x9E, 0x12), "REPORT LUNS": (0xA0, None), "MODE SENSE (6)": (0x1A, None), "MODE SENSE (10)": (0x5A, None),
    "MODE SELECT (6)": (0x15, None), "MODE SELECT (10)": (0x55, None), "LOG SENSE": (0x4D, None),
    "RESERVE (6)": (0x16, None), "RELEASE (6)": (0x17, None), "START STOP UNIT": (0x1B, None),
    "PREVENT ALLOW MEDIUM REMOVAL": (0x1E, None), "SEND DIAGNOSTIC": (0x1D, None), "RECEIVE DIAGNOSTIC RESULTS": (0x1C, None),
    "READ BUFFER": (0x3C, None), "WRITE BUFFER": (0x3B, None), "READ DEFECT DATA (10)": (0x37, None),
    "READ DEFECT DATA (12)": (0xB7, None), "FORMAT UNIT": (0x04, None), "SANITIZE, OVERWRITE": (0x48, 0x01),
    "SANITIZE, BLOCK ERASE": (0x48, 0x02), "SANITIZE, EXIT FAILURE MODE": (0x48, 0x1F),
    "PERSISTENT RESERVE IN, READ KEYS": (0x5E, 0), "READ RESERVATION": (0x5E, 1), "REPORT CAPABILITIES": (0x5E, 2),
    "READ FULL STATUS": (0x5E, 3), "REGISTER": (0x5F, 0), "RESERVE": (0x5F, 1), "RELEASE": (0x5F, 2), "CLEAR": (0x5F, 3),
    "PREEMPT": (0x5F, 4), "PREEMPT AND ABORT": (0x5F, 5), "REGISTER AND IGNORE EXISTING KEY": (0x5F, 6),
    "REGISTER AND MOVE": (0x5F, 7), "EXTENDED COPY (LID1)": (0x83, 0x00), "POPULATE TOKEN": (0x83, 0x10),
    "WRITE USING TOKEN": (0x83, 0x11), "RECEIVE COPY STATUS (LID1)": (0x84, 0x00), "RECEIVE COPY OPERATING PARAMETERS": (0x84, 0x03),
    "RECEIVE COPY FAILURE DETAILS (LID1)": (0x84, 0x04), "RECEIVE ROD TOKEN INFORMATION": (0x84, 0x07),
    "REPORT IDENTIFYING INFORMATION": (0xA3, 0x05), "REPORT TARGET PORT GROUPS": (0xA3, 0x0A),
    "REPORT SUPPORTED OPERATION CODES": (0xA3, 0x0C), "REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS": (0xA3, 0x0D),
    "REPORT TIMESTAMP": (0xA3, 0x0F), "SET IDENTIFYING INFORMATION": (0xA4, 0x06), "SET TARGET PORT GROUPS": (0xA4, 0x0A),
    "SET TIMESTAMP": (0xA4, 0x0F),
}


class OperationCodes(Case):
    def setUp(self) -> None:
        super().setUp()
        # Nothing is lost by what the commands do: FORMAT UNIT, SANITIZE and WRITE SAME included.
        self.itgtd, self.portal = self.serve(['path = "ram:2M"\nserial = "aaaaaaa0"'])
        self.first = self.session(self.portal)
        self.known = s.supported(self.first)

    def settled(self):
        """What a command left behind (a unit attention, a medium that is out, SANITIZE under way) must not hide what the next says."""
        for _ in range(20):
            task = self.first.command(s.TEST_UNIT_READY)
            if task.status == s.GOOD:
                return
            self.first.command(bytes([0x1B, 0, 0, 0, 1, 0]))  # START STOP UNIT

    def wire(self, opcode: int, action: int | None, length: int):
        """A CDB with that operation code and nothing else, and no data: what it says of itself is what counts."""
        cdb = bytearray(max(length, 6))
        cdb[0] = opcode
        if action is not None and opcode == 0x7F:
            cdb[7] = len(cdb) - 8
            cdb[8:10] = struct.pack(">H", action)
        elif action is not None:
            cdb[1] = action
        self.settled()
        return self.first.command(bytes(cdb[:16]), read=0)

    def test_every_wanted_command_is_listed(self):
        absent = [name for name, key in WANTED.items() if key not in self.known]
        self.assertFalse(absent)

    def test_listed_commands_exist_and_others_do_not(self):
        opcodes = {opcode for opcode, _ in self.known}
        for opcode in range(256):
            actions = sorted(action for code, action in self.known if code == opcode and action is not None)
            with self.subTest(f"{opcode:02x}h"):
                if opcode not in opcodes:
                    self.assertEqual(self.wire(opcode, None, 16).sense_code, INVALID_OPCODE)
                elif (opcode, None) in self.known:
                    self.assertNotEqual(self.wire(opcode, None, self.known[opcode, None]).sense_code, INVALID_OPCODE)
                for action in actions:
                    task = self.wire(opcode, action, self.known[opcode, action])
                    self.assertNotEqual(task.sense_code, INVALID_OPCODE, f"service action {action:02x}h")

    def test_service_actions_that_are_not_listed(self):
        for opcode in {opcode for opcode, action in self.known if action is not None}:
            self.assertIn(opcode, WITH_SERVICE_ACTIONS)
            for action in range(1 << SERVICE_ACTION_BITS):
                if (opcode, action) not in self.known:
                    with self.subTest(f"{opcode:02x}h/{action:02x}h"):
                        task = self.wire(opcode, action, 16)
                        # SPC-4: an unsupported service action is INVALID FIELD IN CDB, with a pointer to it.
                        self.assertEqual(task.sense_code, INVALID_FIELD)
                        self.assertEqual(struct.unpack(">BH", task.sense[15:18]), (0xCC, 1) if task.sense[15] & 0x08 else (0xC0, 1))

    def test_one_command_at_a_time(self):
        """The one-command format says the same as the list, and its usage map is the length of the CDB."""
        for (opcode, action), length in self.known.items():
            with self.subTest(f"{opcode:02x}h/{action}"):
                options = 1 if action is None else 2
                cdb = struct.pack(">BBBBHIBB", 0xA3, 0x0C, options, opcode, action or 0, 255, 0, 0)
                data = bytes(self.first.command(cdb, read=255).data)
                self.assertEqual(data[1] & 7, 3)
                self.assertEqual(struct.unpack(">H", data[2:4])[0], length)
                self.assertEqual(data[4], opcode)
                self.assertGreaterEqual(len(data), 4 + length)
        for opcode in set(range(256)) - {opcode for opcode, _ in self.known}:
            cdb = struct.pack(">BBBBHIBB", 0xA3, 0x0C, 1, opcode, 0, 255, 0, 0)
            self.assertEqual(self.first.command(cdb, read=255).data[1] & 7, 1, f"{opcode:02x}h")

    def test_bits_outside_the_usage_map(self):
        """A bit that the map does not have is refused, with the pointer at it, before the command does anything."""
        for (opcode, action), length in self.known.items():
            options = 1 if action is None else 2
            cdb = struct.pack(">BBBBHIBB", 0xA3, 0x0C, options, opcode, action or 0, 255, 0, 0)
            usage = bytes(self.first.command(cdb, read=255).data)[4 : 4 + length]
            for byte in range(1, length - 1):  # the last one is CONTROL
                for bit in range(8):
                    if usage[byte] >> bit & 1:
                        continue
                    wrong = bytearray(length)
                    wrong[0] = opcode
                    if action is not None:
                        wrong[1] = action
                    wrong[byte] |= 1 << bit
                    if byte == 1 and action is not None and bit < SERVICE_ACTION_BITS:
                        continue  # another service action
                    self.settled()
                    task = self.first.command(bytes(wrong), read=0)
                    where = f"{opcode:02x}h/{action} byte {byte} bit {bit}"
                    self.assertEqual(task.sense_code, INVALID_FIELD, where)
                    pointed = task.sense[15] & 0x08 == 0 or task.sense[15] & 0x07 == bit
                    self.assertTrue(pointed and struct.unpack(">H", task.sense[16:18])[0] == byte, f"{where}: {task.sense.hex()}")
