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


def mode_sense_10(page: int, length: int = 4096, subpage: int = 0, control: int = 0) -> bytes:
    return struct.pack(">BBBBBBBHB", 0x5A, 0, control << 6 | page, subpage, 0, 0, 0, length, 0)


def log_sense(page: int, subpage: int = 0, length: int = 4096, control: int = 1) -> bytes:
    return struct.pack(">BBBBBBBHB", 0x4D, 0, control << 6 | page, subpage, 0, 0, 0, length, 0)


def service_action_in_16(action: int, length: int, lba: int = 0) -> bytes:
    return struct.pack(">BBQIBB", 0x9E, action, lba, length, 0, 0)


def maintenance_in(action: int, length: int, byte_2: int = 0) -> bytes:
    return struct.pack(">BBBBBBIBB", 0xA3, action, byte_2, 0, 0, 0, length, 0, 0)


def mode_select_10(length: int, save: bool = False) -> bytes:
    """The pages are in the format of the standard (PF)."""
    return struct.pack(">BBBBBBBHB", 0x55, 0x10 | int(save), 0, 0, 0, 0, 0, length, 0)


def persistent_reserve_in(action: int, length: int = 4096) -> bytes:
    return struct.pack(">BBBBBBBHB", 0x5E, action, 0, 0, 0, 0, 0, length, 0)


def persistent_reserve_out(action: int, kind: int = 0, length: int = 24) -> bytes:
    """kind: the type of reservation; the scope is the logical unit."""
    return struct.pack(">BBBBBIB", 0x5F, action, kind, 0, 0, length, 0)


def reservation_list(key: int = 0, action_key: int = 0, flags: int = 0) -> bytes:
    """The parameter list of PERSISTENT RESERVE OUT; flags: SPEC_I_PT 8, ALL_TG_PT 4, APTPL 1."""
    return struct.pack(">QQIBBH", key, action_key, 0, flags, 0, 0)


def keys_of(data: bytes) -> tuple[int, list[int]]:
    """PRGENERATION and the keys of READ KEYS."""
    generation, length = struct.unpack(">II", data[:8])
    return generation, [struct.unpack(">Q", data[8 + at : 16 + at])[0] for at in range(0, length, 8)]


def compare_and_write(lba: int, blocks: int, flags: int = 0) -> bytes:
    return struct.pack(">BBQBBBBBB", 0x89, flags, lba, 0, 0, 0, blocks, 0, 0)


def supported(session, lun: int = 0) -> dict[tuple[int, int | None], int]:
    """What REPORT SUPPORTED OPERATION CODES lists: (operation code, service action or None) and the CDB's length."""
    task = session.command(maintenance_in(0x0C, 16384), read=16384, lun=lun)
    assert task.status == GOOD, task.sense_code
    found = {}
    for at in range(4, len(task.data), 8):
        opcode, _, action, _, flags, length = struct.unpack(">BBHBBH", task.data[at : at + 8])
        found[opcode, action if flags & 1 else None] = length
    return found
