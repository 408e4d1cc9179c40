"""iSCSI PDUs as bytes: RFC 7143 §11. Nothing is checked here that a test may want to get wrong."""

import struct
from dataclasses import dataclass, field

RESERVED_TAG = 0xFFFFFFFF

# Opcodes, RFC 7143 §11.2.1.2.
NOP_OUT, SCSI_COMMAND, TASK_MANAGEMENT, LOGIN, TEXT, DATA_OUT, LOGOUT, SNACK = 0, 1, 2, 3, 4, 5, 6, 0x10
NOP_IN, SCSI_RESPONSE, TASK_MANAGEMENT_RESPONSE, LOGIN_RESPONSE, TEXT_RESPONSE = 0x20, 0x21, 0x22, 0x23, 0x24
DATA_IN, LOGOUT_RESPONSE, R2T, ASYNC, REJECT = 0x25, 0x26, 0x31, 0x32, 0x3F
IMMEDIATE = 0x40
FINAL = 0x80


def _crc32c_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_TABLE = _crc32c_table()


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def digest(data: bytes) -> bytes:
    """As it stands on the wire: RFC 7143 §13.1, least significant byte first."""
    return struct.pack("<I", crc32c(data))


def pad(data: bytes) -> bytes:
    return bytes(data) + bytes(-len(data) % 4)


def lun_field(lun: int) -> bytes:
    """Peripheral device addressing below 256, flat space above. SAM-5 §4.7."""
    return struct.pack(">H", lun if lun < 256 else 0x4000 | lun) + bytes(6)


@dataclass
class Pdu:
    """One PDU. `bhs` is 48 bytes; byte 4 and the segment length are set when it is encoded, unless told otherwise."""

    bhs: bytearray = field(default_factory=lambda: bytearray(48))
    ahs: bytes = b""
    data: bytes = b""

    @classmethod
    def make(cls, opcode: int, flags: int = FINAL, data: bytes = b"", itt: int | None = None, **fields) -> "Pdu":
        """fields: u8_N, u16_N, u32_N, bytes_N set N's byte on."""
        pdu = cls(data=bytes(data))
        pdu.bhs[0], pdu.bhs[1] = opcode, flags
        if itt is not None:
            pdu.set_u32(16, itt)
        for name, value in fields.items():
            kind, _, offset = name.partition("_")
            at = int(offset)
            if kind == "bytes":
                pdu.bhs[at : at + len(value)] = value
            else:
                size = {"u8": 1, "u16": 2, "u32": 4}[kind]
                pdu.bhs[at : at + size] = (value & ((1 << 8 * size) - 1)).to_bytes(size, "big")
        return pdu

    def encode(self, header_digest: bool = False, data_digest: bool = False, set_lengths: bool = True) -> bytes:
        header = bytearray(self.bhs)
        if set_lengths:
            header[4] = len(self.ahs) // 4
            header[5:8] = len(self.data).to_bytes(3, "big")
        head = bytes(header) + self.ahs
        out = head + (digest(head) if header_digest else b"")
        if self.data:
            out += pad(self.data) + (digest(pad(self.data)) if data_digest else b"")
        return out

    def u32(self, offset: int) -> int:
        return int.from_bytes(self.bhs[offset : offset + 4], "big")

    def set_u32(self, offset: int, value: int) -> None:
        self.bhs[offset : offset + 4] = (value & 0xFFFFFFFF).to_bytes(4, "big")

    @property
    def opcode(self) -> int:
        return self.bhs[0] & 0x3F

    @property
    def flags(self) -> int:
        return self.bhs[1]

    @property
    def final(self) -> bool:
        return bool(self.bhs[1] & FINAL)

    @property
    def itt(self) -> int:
        return self.u32(16)

    @property
    def ttt(self) -> int:
        return self.u32(20)

    @property
    def stat_sn(self) -> int:
        return self.u32(24)

    @property
    def exp_cmd_sn(self) -> int:
        return self.u32(28)

    @property
    def max_cmd_sn(self) -> int:
        return self.u32(32)

    def __str__(self) -> str:
        return f"PDU opcode {self.opcode:#04x} flags {self.flags:#04x} itt {self.itt:#x} data {len(self.data)} B"


def parse_keys(data: bytes) -> list[tuple[str, str]]:
    found = []
    for item in data.split(b"\0"):
        if item:
            key, _, value = item.decode("utf-8", "replace").partition("=")
            found.append((key, value))
    return found


def encode_keys(keys: dict[str, str] | list[tuple[str, str]]) -> bytes:
    pairs = keys.items() if isinstance(keys, dict) else keys
    return b"".join(f"{key}={value}".encode() + b"\0" for key, value in pairs)
