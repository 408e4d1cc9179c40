"""Answers cut at any length, and blocks that nobody wrote: never a byte of what was in that memory before."""

import os
import struct

from harness import scsi as s
from harness.case import MIB, Case

OLD = 0xA5  # what memory is filled with before
FULL = 8192
BY_TWO = tuple(range(0, 256))


def one_byte_at(cdb: bytes, at: int):
    return lambda length: cdb[:at] + bytes([min(length, 255)]) + cdb[at + 1 :]


def field(cdb: bytes, at: int, size: int):
    return lambda length: cdb[:at] + length.to_bytes(size, "big") + cdb[at + size :]


class ShortAnswers(Case):
    seconds_max = 120

    def setUp(self) -> None:
        super().setUp()
        self.itgtd, self.portal = self.serve([f'path = "{self.folder.disk("disk", 16 * MIB)}"\nserial = "aaaaaaa0"',
                                              f'path = "ram:{16 * MIB}"\nserial = "aaaaaaa1"'])
        self.first = self.session(self.portal)
        self.known = s.supported(self.first)

    def soil(self) -> None:
        """Fills the memory that answers are made in with something that would be recognised."""
        for kib in (1, 4, 16, 64, 256):
            for _ in range(8):
                task = self.first.command(s.write_10(0x4000, kib * 2), write=bytes([OLD]) * (kib * 1024))
                self.assertEqual(task.status, s.GOOD)
                self.first.command(s.read_10(0x4000, kib * 2), read=kib * 1024)

    def commands(self) -> dict[str, tuple]:
        """By name: what makes the CDB from an allocation length, its largest value, and whether the answer stays the same."""
        found = {
            "INQUIRY": (field(s.inquiry(), 3, 2), 65535, True),
            "MODE SENSE (6)": (one_byte_at(s.mode_sense_6(0x3F), 4), 255, True),
            "MODE SENSE (10)": (field(s.mode_sense_10(0x3F, subpage=0xFF), 7, 2), 65535, True),
            "REQUEST SENSE": (one_byte_at(s.request_sense(), 4), 255, True),
            "READ CAPACITY (16)": (field(s.read_capacity_16(), 10, 4), FULL, True),
        }
        for page in self.first.command(s.inquiry(255, 0), read=255).data[4:]:
            found[f"VPD {page:02x}h"] = (field(s.inquiry(255, page), 3, 2), 65535, True)
        for control in (1, 2, 3):
            if self.first.command(s.mode_sense_10(0x3F, control=control), read=4096).status == s.GOOD:
                found[f"MODE SENSE (10), PC {control}"] = (field(s.mode_sense_10(0x3F, control=control), 7, 2), 65535, True)
        if (0x4D, None) in self.known:
            for page in self.first.command(s.log_sense(0), read=4096).data[4:]:
                counts = page not in (0x00, 0x0D, 0x0E, 0x2F)  # it may, and so may its length not
                found[f"LOG SENSE {page:02x}h"] = (field(s.log_sense(page), 7, 2), 65535, not counts)
        for opcode, action in self.known:
            if opcode == 0xA3:
                found[f"MAINTENANCE IN {action:02x}h"] = (field(s.maintenance_in(action, 0), 6, 4), FULL, action != 0x0F)
            if opcode == 0x5E:
                found[f"PERSISTENT RESERVE IN {action:02x}h"] = (field(s.persistent_reserve_in(action), 7, 2), FULL, True)
        for name, opcode, action, cdb, at, size in (
            ("RECEIVE COPY OPERATING PARAMETERS", 0x84, 0x03, bytes([0x84, 3]) + bytes(14), 10, 4),
            ("RECEIVE DIAGNOSTIC RESULTS", 0x1C, None, bytes([0x1C, 1, 0, 0, 0, 0]), 3, 2),
            ("READ BUFFER, descriptor", 0x3C, None, bytes([0x3C, 3]) + bytes(8), 6, 3),
            ("READ BUFFER, echo descriptor", 0x3C, None, bytes([0x3C, 11]) + bytes(8), 6, 3),
            ("READ DEFECT DATA (10)", 0x37, None, bytes([0x37, 0, 0x1D]) + bytes(7), 7, 2),
            ("READ DEFECT DATA (12)", 0xB7, None, bytes([0xB7, 0x1D]) + bytes(10), 6, 4),
        ):
            if (opcode, action) in self.known:
                found[name] = (field(cdb, at, size), min(FULL, (1 << 8 * size) - 1), True)
        return found

    def check(self, name: str, make, most: int, same: bool, whole: bytes) -> None:
        for length in BY_TWO:
            task = self.first.command(make(length), read=length)
            if task.status == s.CHECK_CONDITION and length < 24:
                self.assertEqual(task.sense_code, (s.ILLEGAL_REQUEST, 0x24, 0), f"{name}, {length} bytes")
                continue  # REPORT LUNS and the like have a least allocation length
            self.assertEqual(task.status, s.GOOD, f"{name}, {length} bytes: {task.sense_code}")
            self.assertEqual(len(task.data), min(length, len(whole)), f"{name}, {length} bytes")
            if same:
                self.assertEqual(bytes(task.data), whole[:length], f"{name}, {length} bytes")
            self.assertNotIn(bytes([OLD]) * 3, bytes(task.data))
            self.assertEqual(task.residual, ("underflow", length - len(task.data)) if len(task.data) < length else ("none", 0))
        # The initiator takes more, and less, than the allocation length says.
        cut = min(len(whole), most)
        task = self.first.command(make(most), read=len(whole) + 64)
        self.assertEqual((len(task.data), task.residual), (cut, ("underflow", len(whole) + 64 - cut)), name)
        if cut > 8:
            task = self.first.command(make(most), read=cut - 4)
            self.assertEqual((len(task.data), task.residual), (cut - 4, ("overflow", 4)), name)
            if same:
                self.assertEqual(bytes(task.data), whole[: cut - 4], name)

    def test_every_allocation_length(self):
        if (0x5F, 0) in self.known:
            task = self.first.command(s.persistent_reserve_out(0), write=s.reservation_list(0, 0xABCD))
            self.assertEqual(task.status, s.GOOD, task.sense_code)
            self.first.command(s.persistent_reserve_out(1, kind=5), write=s.reservation_list(0xABCD))
        commands = self.commands()
        self.soil()  # what it writes is part of some answers
        wholes = {}
        for name, (make, most, _) in commands.items():
            task = self.first.command(make(most), read=most)
            self.assertEqual(task.status, s.GOOD, f"{name}: {task.sense_code}")
            wholes[name] = bytes(task.data)
        self.soil()
        for name, (make, most, same) in commands.items():
            with self.subTest(name):
                self.check(name, make, most, same, wholes[name])

    def test_blocks_that_nobody_wrote(self):
        self.soil()
        for lun in (0, 1):
            for _ in range(4):
                if self.first.command(s.TEST_UNIT_READY, lun=lun).status == s.GOOD:
                    break
            for blocks in (*range(1, 18), 64, 127, 128, 129, 1000, 2048):
                for lba in (0, 1, 7, 8191, 30000 - blocks):
                    with self.subTest(lun=lun, lba=lba, blocks=blocks):
                        data = self.first.command(s.read_16(lba, blocks), lun=lun, read=blocks * 512).data
                        self.assertEqual(bytes(data), bytes(blocks * 512))

    def test_blocks_that_were_unmapped(self):
        for lun in (0, 1):
            for _ in range(4):
                if self.first.command(s.TEST_UNIT_READY, lun=lun).status == s.GOOD:
                    break
            for lba, blocks in ((0, 8), (64, 64), (1024, 2048), (3, 5), (4090, 11)):
                written = bytes([OLD]) * ((blocks + 2) * 512)
                before = max(lba - 1, 0)
                self.assertEqual(self.first.command(s.write_16(before, blocks + 2), lun=lun, write=written).status, s.GOOD)
                unmap = struct.pack(">HHIQII", 22, 16, 0, lba, blocks, 0)
                cdb = struct.pack(">BBIBHB", 0x42, 0, 0, 0, len(unmap), 0)
                self.assertEqual(self.first.command(cdb, lun=lun, write=unmap).status, s.GOOD)
                data = bytes(self.first.command(s.read_16(lba, blocks), lun=lun, read=blocks * 512).data)
                self.assertEqual(data, bytes(blocks * 512), (lun, lba, blocks))
                last = bytes(self.first.command(s.read_16(lba + blocks, 1), lun=lun, read=512).data)
                self.assertEqual(last, bytes([OLD]) * 512 if lba else last)

    def test_reads_of_a_part(self):
        """An initiator that expects less or more than the blocks it asks for gets no byte beyond them."""
        data = os.urandom(8 * 512)
        self.soil()
        self.assertEqual(self.first.command(s.write_10(0, 8), write=data).status, s.GOOD)
        for expected in (1, 3, 511, 512, 513, 4095, 4096, 4097, 8192):
            task = self.first.command(s.read_10(0, 8), read=expected)
            self.assertEqual(bytes(task.data), data[:expected])
            kind = "overflow" if expected < 4096 else "underflow" if expected > 4096 else "none"
            self.assertEqual(task.residual, (kind, abs(4096 - expected)))
