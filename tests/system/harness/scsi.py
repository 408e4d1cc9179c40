"""CDBs and what comes back, as far as the tests need them."""

import struct

GOOD, CHECK_CONDITION, BUSY, RESERVATION_CONFLICT, TASK_SET_FULL, TASK_ABORTED = 0, 2, 8, 0x18, 0x28, 0x40
NO_SENSE, NOT_READY, MEDIUM_ERROR, HARDWARE_ERROR, ILLEGAL_REQUEST, UNIT_ATTENTION, DATA_PROTECT = 0, 2, 3, 4, 5, 6, 7

TEST_UNIT_READY = bytes(6)
RESERVE_6 = bytes([0x16, 0, 0, 0, 0, 0])
RELEASE_6 = bytes([0x17, 0, 0, 0, 0, 0])
SYNCHRONIZE_CACHE_10 = bytes([0x35]) + bytes(9)


def inquiry(length: int = 255, page: int | None = None) -> bytes:
    return struct.pack(">BBBHB", 0x12, 0 if page is None else 1, page or 0, length, 0)


def read_10(lba: int, blocks: int, flags: int = 0) -> bytes:
    return struct.pack(">BBIBHB", 0x28, flags, lba, 0, blocks, 0)


def write_10(lba: int, blocks: int, flags: int = 0) -> bytes:
    return struct.pack(">BBIBHB", 0x2A, flags, lba, 0, blocks, 0)


def read_16(lba: int, blocks: int, flags: int = 0) -> bytes:
    return struct.pack(">BBQIBB", 0x88, flags, lba, blocks, 0, 0)


def write_16(lba: int, blocks: int, flags: int = 0) -> bytes:
    return struct.pack(">BBQIBB", 0x8A, flags, lba, blocks, 0, 0)


def read_capacity_16(length: int = 32) -> bytes:
    return struct.pack(">BBQIBB", 0x9E, 0x10, 0, length, 0, 0)


def report_luns(length: int = 4096) -> bytes:
    return struct.pack(">BBBBBBIBB", 0xA0, 0, 0, 0, 0, 0, length, 0, 0)


def luns_of(data: bytes) -> list[int]:
    count = struct.unpack(">I", data[:4])[0] // 8
    return [struct.unpack(">H", data[8 + 8 * i : 10 + 8 * i])[0] & 0x3FFF for i in range(count)]


def request_sense(length: int = 252, descriptor: bool = False) -> bytes:
    return bytes([0x03, int(descriptor), 0, 0, length, 0])


def mode_sense_6(page: int, length: int = 255) -> bytes:
    return bytes([0x1A, 0, page, 0, length, 0])
