"""CHAP as the initiator has it: RFC 7143 §12.1.3; algorithms as IANA numbers them."""

import base64
import hashlib
import os
from dataclasses import dataclass

MD5, SHA1, SHA256, SHA3_256 = 5, 6, 7, 8
_HASHES = {MD5: hashlib.md5, SHA1: hashlib.sha1, SHA256: hashlib.sha256, SHA3_256: hashlib.sha3_256}


def response(algorithm: int, identifier: int, secret: str, challenge: bytes) -> bytes:
    return _HASHES[algorithm](bytes([identifier]) + secret.encode() + challenge).digest()


def decode(value: str) -> bytes:
    if value[:2].lower() == "0x":
        digits = value[2:]
        return bytes.fromhex("0" * (len(digits) % 2) + digits)
    if value[:2].lower() == "0b":
        return base64.b64decode(value[2:])
    raise ValueError(f"neither hex nor base64: {value[:20]}")


def to_hex(data: bytes) -> str:
    return "0x" + data.hex()


def to_base64(data: bytes) -> str:
    return "0b" + base64.b64encode(data).decode()


@dataclass
class Chap:
    """What the initiator authenticates with. mutual_secret: it asks the target to do so too, and checks."""

    user: str
    secret: str
    mutual_user: str = ""
    mutual_secret: str = ""
    algorithms: str = "7,5"
    encode: object = to_hex
    challenge: bytes = b""  # ours, for the target; drawn when empty
    reflect: bool = False  # send the target's own challenge back as ours

    def our_challenge(self, theirs: bytes) -> bytes:
        if self.reflect:
            return theirs
        self.challenge = self.challenge or os.urandom(16)
        return self.challenge
