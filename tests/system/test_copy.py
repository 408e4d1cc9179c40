"""Copies that the daemon makes by itself: EXTENDED COPY and offloaded data transfer, between workers and units."""

import os
import struct

from harness import scsi as s
from harness.case import Case

BLOCK = 512
LUNS = ['path = "ram:16M"\nserial = "aaaaaaa0"', 'path = "ram:16M"\nserial = "aaaaaaa1"']
TOKEN_REVOKED = (s.ILLEGAL_REQUEST, 0x23, 0x06)
ZEROS = struct.pack(">IHH", 0xFFFF0001, 0, 504).ljust(512, b"\0")


def third_party_out(action: int, length: int, list_identifier: int = 0) -> bytes:
    return struct.pack(">BBIIIH", 0x83, action, 0, list_identifier, length, 0)


def token_information(list_identifier: int) -> bytes:
    return struct.pack(">BBIIIH", 0x84, 0x07, list_identifier, 0, 4096, 0)


def range_list(ranges) -> bytes:
    return struct.pack(">H", 16 * len(ranges)) + b"".join(struct.pack(">QII", lba, blocks, 0) for lba, blocks in ranges)


def with_length(rest: bytes) -> bytes:
    return struct.pack(">H", len(rest)) + rest


class Copies(Case):
    def setUp(self) -> None:
        super().setUp()
        _, portal = self.serve(LUNS, workers=4)
        # Each in another worker.
        self.sessions = [self.session(portal, isid=bytes([0x80, 0, 0, 0, 0, number])) for number in range(4)]
        for each in self.sessions:
            each.command(s.TEST_UNIT_READY, lun=1)
        self.first = self.sessions[0]
        self.data = os.urandom(2 * 1024 * BLOCK)
        self.good(self.first.command(s.write_16(0, 2048), write=self.data))

    def good(self, task):
        self.assertEqual(task.status, s.GOOD, task.sense_code if task.status else None)
        return task

    def read(self, lun: int, lba: int, blocks: int) -> bytes:
        return bytes(self.good(self.sessions[-1].command(s.read_16(lba, blocks), lun=lun, read=blocks * BLOCK)).data)

    def naa(self, lun: int) -> bytes:
        page = bytes(self.good(self.first.command(s.inquiry(255, 0x83), lun=lun, read=255)).data)
        self.assertEqual(page[4:8], bytes([0x01, 0x03, 0x00, 0x10]))
        return page[8:24]

    def extended_copy(self, session, source: int, destination: int, blocks: int, source_lba: int, destination_lba: int):
        cscds = b"".join(struct.pack(">BBHBBBB16s4sI", 0xE4, 0, 0, 1, 3, 0, 16, self.naa(lun), b"", BLOCK) for lun in (0, 1))
        segment = struct.pack(">BBHHHHHQQ", 2, 0, 24, source, destination, 0, blocks, source_lba, destination_lba)
        listed = struct.pack(">BBHIII", 0, 0x18, len(cscds), 0, len(segment), 0) + cscds + segment
        return session.command(third_party_out(0, len(listed)), write=listed)

    def populate(self, session, lun: int, ranges, list_identifier: int = 1) -> bytes:
        listed = with_length(struct.pack(">BBIIH", 0, 0, 0, 0, 0) + range_list(ranges))
        self.good(session.command(third_party_out(0x10, len(listed), list_identifier), lun=lun, write=listed))
        told = bytes(self.good(session.command(token_information(list_identifier), lun=lun, read=4096)).data)
        self.assertEqual(len(told), 550)
        self.assertEqual(told[5], 0x01)
        return told[38:]

    def write_using(self, session, lun: int, token: bytes, ranges, offset: int = 0):
        listed = with_length(struct.pack(">B5sQ512s6s", 0, b"", offset, token, b"") + range_list(ranges))
        return session.command(third_party_out(0x11, len(listed), 2), lun=lun, write=listed)

    def test_extended_copy_between_and_within_units(self):
        self.good(self.extended_copy(self.first, 0, 1, 2048, 0, 100))
        self.assertEqual(self.read(1, 100, 2048), self.data)
        self.good(self.extended_copy(self.sessions[1], 1, 1, 2000, 100, 107))
        self.assertEqual(self.read(1, 107, 2000), self.data[: 2000 * BLOCK])

    def test_a_token_is_used_by_another_session_and_on_another_unit(self):
        token = self.populate(self.first, 0, [(1000, 1048), (0, 10)])
        self.good(self.write_using(self.sessions[1], 1, token, [(5, 58), (100, 1000)]))
        self.assertEqual(self.read(1, 5, 58), self.data[1000 * BLOCK : 1058 * BLOCK])
        self.assertEqual(self.read(1, 100, 1000), self.data[1058 * BLOCK :] + self.data[: 10 * BLOCK])

    def test_a_token_is_used_within_its_unit(self):
        token = self.populate(self.first, 0, [(0, 1024)])
        for times in range(3):
            self.good(self.write_using(self.first, 0, token, [(4096 + 2048 * times, 1024)]))
            self.assertEqual(self.read(0, 4096 + 2048 * times, 1024), self.data[: 1024 * BLOCK])

    def test_a_write_of_any_session_revokes_the_token(self):
        for number, writer in enumerate(self.sessions):
            token = self.populate(self.first, 0, [(0, 100)], 10 + number)
            self.good(writer.command(s.write_16(100, 1), write=bytes(BLOCK)))
            self.good(self.write_using(self.first, 1, token, [(0, 100)]))
            self.good(writer.command(s.write_16(99, 1), write=bytes(BLOCK)))
            refused = self.write_using(self.first, 1, token, [(0, 100)])
            self.assertEqual(refused.sense_code, TOKEN_REVOKED)

    def test_every_command_that_writes_revokes_the_token(self):
        zeros = bytes(BLOCK)
        unmap = struct.pack(">HHIQII", 22, 16, 0, 50, 1, 0)
        commands = {
            "WRITE AND VERIFY": (struct.pack(">BBQIBB", 0x8E, 0, 50, 1, 0, 0), zeros),
            "WRITE SAME": (struct.pack(">BBQIBB", 0x93, 0, 50, 1, 0, 0), zeros),
            "UNMAP": (struct.pack(">BBIBHB", 0x42, 0, 0, 0, len(unmap), 0), unmap),
            "ORWRITE": (struct.pack(">BBQIBB", 0x8B, 0, 50, 1, 0, 0), b"\xff" * BLOCK),
        }
        for number, (name, (cdb, data)) in enumerate(commands.items()):
            with self.subTest(name):
                token = self.populate(self.first, 0, [(0, 100)], 20 + number)
                self.good(self.sessions[2].command(cdb, write=data))
                self.assertEqual(self.write_using(self.first, 1, token, [(0, 100)]).sense_code, TOKEN_REVOKED)

    def test_zeros(self):
        self.good(self.write_using(self.first, 0, ZEROS, [(10, 1000), (2000, 1)]))
        self.assertEqual(self.read(0, 0, 2048), self.data[: 10 * BLOCK] + bytes(1000 * BLOCK) +
                         self.data[1010 * BLOCK : 2000 * BLOCK] + bytes(BLOCK) + self.data[2001 * BLOCK :])

    def test_many_tokens_at_once(self):
        """More than a unit keeps: the oldest of the initiator go, the newest can be used."""
        tokens = [self.populate(self.first, 0, [(number, 1)], number) for number in range(80)]
        self.assertEqual(len(set(tokens)), 80)
        for number in (79, 40, 20):
            self.good(self.write_using(self.first, 1, tokens[number], [(number, 1)]))
            self.assertEqual(self.read(1, number, 1), self.data[number * BLOCK : (number + 1) * BLOCK])
        self.assertEqual(self.write_using(self.first, 1, tokens[0], [(0, 1)]).sense_code, (s.ILLEGAL_REQUEST, 0x23, 0x08))
