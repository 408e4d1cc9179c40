"""Persistent reservations, with the words of sg_persist: what is read, changed, and who may write."""

import re
from dataclasses import dataclass

from lab.agent import Outcome
from lab.errors import LabError
from lab.guest import Guest

WRITE_EXCLUSIVE_REGISTRANTS_ONLY = "5"
# Exit status of sg3_utils for RESERVATION CONFLICT.
SG_RESERVATION_CONFLICT = 24
# A block that nothing else in a scenario uses, in a disk with 512 bytes a block: 400 MiB from its beginning.
PROBE_BLOCK = 400 << 11


@dataclass(frozen=True)
class Reservations:
    """What a path says. `registrants`: each with its key, whether it holds the reservation, and its port."""

    generation: int
    keys: tuple[str, ...]
    holder: str  # its key; empty: no reservation
    kind: str  # "Write Exclusive, registrants only"
    registrants: str


def read(guest: Guest, device: str) -> Reservations:
    """READ KEYS, READ RESERVATION and READ FULL STATUS of /dev/DEVICE."""
    keys, reservation, full = (_persist(guest, device, ["--in", f"--{what}"]).out for what in ("read-keys", "read-reservation", "read-full-status"))
    found = re.search(r"PR generation=0x([0-9a-f]+)", keys)
    if found is None:
        raise LabError(f"{guest.name}: {device}: {keys}")
    held = re.search(r"Key=(0x[0-9a-f]+)\s+scope: LU_SCOPE,\s+type: (.*)", reservation)
    return Reservations(int(found.group(1), 16), tuple(re.findall(r"^\s+(0x[0-9a-f]+)$", keys, re.MULTILINE)), held.group(1) if held else "",
                        held.group(2).strip() if held else "", full)


def change(guest: Guest, device: str, *options: str, check: bool = True) -> Outcome:
    """PERSISTENT RESERVE OUT: change(guest, "sda", "register", "param-sark=0x1")."""
    return _persist(guest, device, ["--out", *(f"--{option}" for option in options)], check)


def write_conflicts(guest: Guest, device: str) -> bool:
    """Writes PROBE_BLOCK with zeros; whether the answer is RESERVATION CONFLICT. Any other error is one."""
    cdb = bytes([0x2A, 0, *PROBE_BLOCK.to_bytes(4, "big"), 0, 0, 1, 0])
    outcome = _again(guest, ["sg_raw", "-s", "512", "-i", "/dev/zero", f"/dev/{device}", *(f"{byte:02x}" for byte in cdb)])
    if outcome.status not in (0, SG_RESERVATION_CONFLICT):
        raise LabError(f"{guest.name}: {outcome.command}: status {outcome.status}: {outcome.text}")
    return outcome.status == SG_RESERVATION_CONFLICT


def _persist(guest: Guest, device: str, options: list[str], check: bool = True) -> Outcome:
    words = ["sg_persist", "--no-inquiry", *options, f"/dev/{device}"]
    return guest.run(words) if check and "--in" not in options else guest.run(words, check=False) if not check else _again(guest, words)


def _again(guest: Guest, words: list[str]) -> Outcome:
    """A failover's unit attention ends the first command on a path; it is said once."""
    outcome = guest.run(words, check=False)
    return guest.run(words, check=False) if outcome.status == 6 else outcome
