"""A small iSCSI initiator on a raw socket: every field can be had wrong on purpose, every PDU can be looked at."""

import socket
import struct
import time
from collections import deque
from dataclasses import dataclass, field

from harness import chap as chaplib
from harness import pdu as p
from harness.pdu import Pdu

SECURITY, OPERATIONAL, FULL_FEATURE = 0, 1, 3
# What open-iscsi offers, but for the lengths that a test may want to see exceeded.
OPERATIONAL_KEYS = {
    "HeaderDigest": "None", "DataDigest": "None", "MaxRecvDataSegmentLength": "262144", "InitialR2T": "No",
    "ImmediateData": "Yes", "MaxBurstLength": "1048576", "FirstBurstLength": "262144", "MaxOutstandingR2T": "1",
    "MaxConnections": "1", "DataPDUInOrder": "Yes", "DataSequenceInOrder": "Yes", "DefaultTime2Wait": "2",
    "DefaultTime2Retain": "0", "ErrorRecoveryLevel": "0",
}


class Closed(Exception):
    """The target ended the connection."""


class LoginFailed(Exception):
    def __init__(self, status: int):
        super().__init__(f"login status {status:#06x}")
        self.status = status


@dataclass
class Task:
    """A SCSI command under way."""

    itt: int
    write: bytes = b""
    data: bytearray = field(default_factory=bytearray)
    data_pdus: list[Pdu] = field(default_factory=list)
    r2ts: list[Pdu] = field(default_factory=list)
    response: Pdu | None = None
    auto_data: bool = True
    lun: int = 0

    @property
    def done(self) -> bool:
        return self.response is not None

    @property
    def status(self) -> int:
        assert self.response is not None
        return self.response.bhs[3]

    @property
    def sense(self) -> bytes:
        assert self.response is not None
        if self.response.opcode != p.SCSI_RESPONSE or len(self.response.data) < 2:
            return b""
        length = struct.unpack(">H", self.response.data[:2])[0]
        return self.response.data[2 : 2 + length]

    @property
    def sense_code(self) -> tuple[int, int, int]:
        """Sense key, ASC, ASCQ; of fixed or descriptor format."""
        sense = self.sense
        if len(sense) < 4:
            return (0, 0, 0)
        if sense[0] & 0x7F in (0x72, 0x73):
            return (sense[1] & 0xF, sense[2], sense[3])
        return (sense[2] & 0xF, sense[12], sense[13])

    @property
    def residual(self) -> tuple[str, int]:
        assert self.response is not None
        flags, count = self.response.flags, self.response.u32(44)
        return ("overflow" if flags & 4 else "underflow" if flags & 2 else "none", count)


class Initiator:
    """One connection, one session."""

    def __init__(self, address: tuple[str, int], name: str = "iqn.1993-08.org.debian:01:system-test",
                 isid: bytes = b"\x80\x00\x01\x00\x00\x01", timeout: float = 10.0, connect=socket.create_connection):
        self.address = address
        self.name = name
        self.isid = isid
        self.timeout = timeout
        self.socket: socket.socket = connect(address, timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray()
        self.header_digest = self.data_digest = False
        self.cmd_sn = 1
        self.exp_stat_sn = 0
        self.itt = 0x1000
        self.tsih = 0
        self.keys: dict[str, str] = {}  # what the target said
        self.tasks: dict[int, Task] = {}
        self.other: deque[Pdu] = deque()  # what belongs to no task, in order
        self.answer_nops = True
        self.max_cmd_sn = 1
        self.max_send_segment = 8192
        self.stage = SECURITY

    def __enter__(self) -> "Initiator":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    # Bytes and PDUs.

    def send_raw(self, data: bytes) -> None:
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise Closed(str(error)) from error

    def send(self, pdu: Pdu) -> None:
        self.send_raw(pdu.encode(self.header_digest, self.data_digest))

    def _need(self, count: int, deadline: float) -> bytes:
        while len(self.buffer) < count:
            self.socket.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                got = self.socket.recv(1 << 18)
            except ConnectionResetError as error:
                raise Closed("reset") from error
            if not got:
                raise Closed("end of stream")
            self.buffer += got
        out = bytes(self.buffer[:count])
        del self.buffer[:count]
        return out

    def receive(self, timeout: float | None = None) -> Pdu:
        """The next PDU, whatever it is; raises TimeoutError or Closed. Digests are checked."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        header = self._need(48, deadline)
        ahs = self._need(header[4] * 4, deadline)
        if self.header_digest:
            found = self._need(4, deadline)
            assert found == p.digest(header + ahs), "header digest of the target is wrong"
        length = int.from_bytes(header[5:8], "big")
        data = self._need(length + (-length % 4), deadline)
        if self.data_digest and length:
            assert self._need(4, deadline) == p.digest(data), "data digest of the target is wrong"
        assert not any(data[length:]), "padding is not zero"
        pdu = Pdu(bytearray(header), ahs, data[:length])
        self._account(pdu)
        return pdu

    def _account(self, pdu: Pdu) -> None:
        carries_status = pdu.opcode not in (p.R2T, p.DATA_IN) or (pdu.opcode == p.DATA_IN and pdu.flags & 1)
        if pdu.opcode == p.NOP_IN and pdu.itt == p.RESERVED_TAG:
            carries_status = False  # RFC 7143 §11.19.2: StatSN is not advanced
        if carries_status:
            self.exp_stat_sn = (pdu.stat_sn + 1) & 0xFFFFFFFF
        if (pdu.max_cmd_sn - self.max_cmd_sn) & 0xFFFFFFFF < 0x80000000:
            self.max_cmd_sn = pdu.max_cmd_sn

    def closed_within(self, seconds: float) -> bool:
        """The target ends the connection in that time; what it sends before is put into `other`."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                self.other.append(self.receive(max(0.001, deadline - time.monotonic())))
            except Closed:
                return True
            except TimeoutError:
                return False

    def next_itt(self) -> int:
        self.itt += 1
        return self.itt

    def next_cmd_sn(self) -> int:
        self.cmd_sn = (self.cmd_sn + 1) & 0xFFFFFFFF
        return (self.cmd_sn - 1) & 0xFFFFFFFF

    # Login.

    def login_request(self, keys, csg: int, nsg: int | None, more: bool = False, data: bytes | None = None, **fields) -> Pdu:
        flags = (csg << 2) | (0x80 | nsg if nsg is not None else 0) | (0x40 if more else 0)
        values = {"bytes_8": self.isid, "u16_14": self.tsih, "u32_24": self.cmd_sn, "u32_28": self.exp_stat_sn, **fields}
        body = p.encode_keys(keys) if data is None else data
        return Pdu.make(p.LOGIN | p.IMMEDIATE, flags, body, itt=0x100, **values)

    def login_step(self, keys, csg: int, nsg: int | None, **fields) -> tuple[Pdu, dict[str, str]]:
        """Sends one request; the response and its keys (of all its parts). Raises LoginFailed."""
        self.send(self.login_request(keys, csg, nsg, **fields))
        data = b""
        while True:
            response = self.receive()
            assert response.opcode == p.LOGIN_RESPONSE, f"not a login response: {response}"
            status = (response.bhs[36] << 8) | response.bhs[37]
            if status:
                raise LoginFailed(status)
            data += response.data
            if not response.flags & 0x40:
                break
            self.send(self.login_request({}, csg, None))  # go on: RFC 7143 §6.2
        found = dict(p.parse_keys(data))
        self.keys.update(found)
        return response, found

    def first_keys(self, target: str | None) -> dict[str, str]:
        keys = {"InitiatorName": self.name}
        if target is None:
            keys["SessionType"] = "Discovery"
        else:
            keys.update({"SessionType": "Normal", "TargetName": target})
        return keys

    def login(self, target: str | None, chap: chaplib.Chap | None = None, security: bool = True, **operational) -> "Initiator":
        """A whole login; target None: discovery. Keys of `operational` replace the usual ones; None leaves one out."""
        first = self.first_keys(target)
        if chap is not None:
            self.login_step({**first, "AuthMethod": "CHAP,None"}, SECURITY, None)
            assert self.keys.get("AuthMethod") == "CHAP", f"AuthMethod: {self.keys.get('AuthMethod')}"
            self.authenticate(chap)
            first = {}
        elif security:
            self.login_step({**first, "AuthMethod": "None"}, SECURITY, OPERATIONAL)
            first = {}
        keys = {**first, **OPERATIONAL_KEYS, **operational}
        if target is None:
            for key in ("InitialR2T", "ImmediateData", "MaxBurstLength", "FirstBurstLength", "MaxOutstandingR2T",
                        "MaxConnections", "DataPDUInOrder", "DataSequenceInOrder"):
                keys.pop(key, None)
        response, _ = self.login_step(
            {key: value for key, value in keys.items() if value is not None}, OPERATIONAL, FULL_FEATURE
        )
        rounds = 0
        while not response.flags & 0x80:
            rounds += 1
            assert rounds < 10, "the target does not end the operational stage"
            response, _ = self.login_step({}, OPERATIONAL, FULL_FEATURE)
        self.finish_login(response)
        return self

    def authenticate(self, chap: chaplib.Chap) -> None:
        """From AuthMethod=CHAP to the end of the security stage. RFC 7143 §12.1.3."""
        _, said = self.login_step({"CHAP_A": chap.algorithms}, SECURITY, None)
        algorithm, identifier = int(said["CHAP_A"]), int(said["CHAP_I"])
        challenge = chaplib.decode(said["CHAP_C"])
        keys = {"CHAP_N": chap.user,
                "CHAP_R": chap.encode(chaplib.response(algorithm, identifier, chap.secret, challenge))}
        ours = b""
        if chap.mutual_secret or chap.reflect:
            ours = chap.our_challenge(challenge)
            keys.update({"CHAP_I": "77", "CHAP_C": chap.encode(ours)})
        _, said = self.login_step(keys, SECURITY, OPERATIONAL)
        if chap.mutual_secret:
            assert said.get("CHAP_N") == chap.mutual_user, f"CHAP_N of the target: {said.get('CHAP_N')}"
            wanted = chaplib.response(algorithm, 77, chap.mutual_secret, ours)
            assert chaplib.decode(said["CHAP_R"]) == wanted, "the target does not know the mutual secret"

    def finish_login(self, response: Pdu) -> None:
        self.tsih = int.from_bytes(response.bhs[14:16], "big")
        self.header_digest = self.keys.get("HeaderDigest") == "CRC32C"
        self.data_digest = self.keys.get("DataDigest") == "CRC32C"
        self.max_send_segment = int(self.keys.get("MaxRecvDataSegmentLength", "8192"))
        self.max_cmd_sn = response.max_cmd_sn
        self.stage = FULL_FEATURE

    # Full feature phase.

    def command_pdu(self, cdb: bytes, lun: int = 0, read: int = 0, write: int = 0, immediate_data: bytes = b"",
                    final: bool = True, attribute: int = 1, immediate: bool = False, itt: int | None = None,
                    **fields) -> Pdu:
        flags = (p.FINAL if final else 0) | (0x40 if read else 0) | (0x20 if write else 0) | attribute
        cmd_sn = self.cmd_sn if immediate else self.next_cmd_sn()
        values = {"bytes_8": p.lun_field(lun), "u32_20": read or write, "u32_24": cmd_sn,
                  "u32_28": self.exp_stat_sn, "bytes_32": bytes(cdb)[:16].ljust(16, b"\0"), **fields}
        opcode = p.SCSI_COMMAND | (p.IMMEDIATE if immediate else 0)
        return Pdu.make(opcode, flags, immediate_data, itt=self.next_itt() if itt is None else itt, **values)

    def start(self, cdb: bytes, lun: int = 0, read: int = 0, write: bytes = b"", immediate_bytes: int | None = None,
              unsolicited_bytes: int = 0, auto_data: bool = True, **fields) -> Task:
        """Sends a command. immediate_bytes None: as much as was negotiated; unsolicited: in Data-Out after it."""
        if immediate_bytes is None:
            allowed = self.keys.get("ImmediateData", "Yes") == "Yes"
            first_burst = int(self.keys.get("FirstBurstLength", "65536"))
            immediate_bytes = min(len(write), self.max_send_segment, first_burst) if allowed else 0
        expected = fields.pop("expected", len(write))
        pdu = self.command_pdu(cdb, lun, read, expected, write[:immediate_bytes], not unsolicited_bytes, **fields)
        task = Task(pdu.itt, write, auto_data=auto_data, lun=lun)
        self.tasks[task.itt] = task
        self.send(pdu)
        if unsolicited_bytes:
            self.send_data(task, immediate_bytes, unsolicited_bytes, p.RESERVED_TAG)
        return task

    def send_data(self, task: Task, offset: int, length: int, ttt: int, first_sn: int = 0) -> None:
        """Data-Out PDUs for [offset, offset + length), the last one final."""
        data_sn, end = first_sn, offset + length
        while offset < end:
            size = min(end - offset, self.max_send_segment)
            self.send(self.data_pdu(task, offset, size, ttt, data_sn, final=offset + size == end))
            offset += size
            data_sn += 1

    def data_pdu(self, task: Task, offset: int, size: int, ttt: int, data_sn: int, final: bool, **fields) -> Pdu:
        values = {"bytes_8": p.lun_field(task.lun), "u32_20": ttt, "u32_28": self.exp_stat_sn, "u32_36": data_sn,
                  "u32_40": offset, **fields}
        return Pdu.make(p.DATA_OUT, p.FINAL if final else 0, task.write[offset : offset + size], itt=task.itt, **values)

    def answer_r2t(self, task: Task, r2t: Pdu) -> None:
        self.send_data(task, r2t.u32(40), r2t.u32(44), r2t.ttt)

    def pump(self, timeout: float | None = None) -> Pdu:
        """Receives one PDU and gives it to its task, or to `other`."""
        pdu = self.receive(timeout)
        if pdu.opcode == p.NOP_IN and pdu.ttt != p.RESERVED_TAG and self.answer_nops:
            self.send(self.nop_pdu(itt=p.RESERVED_TAG, ttt=pdu.ttt, immediate=True, data=pdu.data))
            return pdu
        task = self.tasks.get(pdu.itt)
        if task is None or pdu.opcode not in (p.DATA_IN, p.SCSI_RESPONSE, p.R2T):
            self.other.append(pdu)
            return pdu
        if pdu.opcode == p.R2T:
            task.r2ts.append(pdu)
            if task.auto_data:
                self.answer_r2t(task, pdu)
        elif pdu.opcode == p.DATA_IN:
            offset = pdu.u32(40)
            assert offset == len(task.data), f"Data-In at {offset}, expected {len(task.data)}"
            assert pdu.u32(36) == len(task.data_pdus), "DataSN is out of order"
            task.data += pdu.data
            task.data_pdus.append(pdu)
            if pdu.flags & 1:
                task.response = pdu
        else:
            task.response = pdu
        if task.done:
            del self.tasks[task.itt]
        return pdu

    def wait(self, task: Task, timeout: float | None = None) -> Task:
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while not task.done:
            self.pump(max(0.001, deadline - time.monotonic()))
        return task

    def command(self, cdb: bytes, **arguments) -> Task:
        return self.wait(self.start(cdb, **arguments))

    def wait_for(self, opcode: int, timeout: float | None = None) -> Pdu:
        """The next PDU of that opcode that belongs to no task; others stay in `other`."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            for pdu in self.other:
                if pdu.opcode == opcode:
                    self.other.remove(pdu)
                    return pdu
            self.pump(max(0.001, deadline - time.monotonic()))

    def nop_pdu(self, itt: int, ttt: int = p.RESERVED_TAG, immediate: bool = False, data: bytes = b"", lun: int = 0) -> Pdu:
        cmd_sn = self.cmd_sn if immediate else self.next_cmd_sn()
        return Pdu.make(p.NOP_OUT | (p.IMMEDIATE if immediate else 0), p.FINAL, data, itt=itt, bytes_8=p.lun_field(lun),
                        u32_20=ttt, u32_24=cmd_sn, u32_28=self.exp_stat_sn)

    def nop(self, data: bytes = b"", immediate: bool = False) -> Pdu:
        self.send(self.nop_pdu(self.next_itt(), data=data, immediate=immediate))
        return self.wait_for(p.NOP_IN)

    def text_pdu(self, data: bytes, final: bool = True, more: bool = False, ttt: int = p.RESERVED_TAG, itt: int | None = None) -> Pdu:
        flags = (p.FINAL if final else 0) | (0x40 if more else 0)
        return Pdu.make(p.TEXT, flags, data, itt=self.next_itt() if itt is None else itt, u32_20=ttt,
                        u32_24=self.next_cmd_sn(), u32_28=self.exp_stat_sn)

    def text(self, keys) -> list[tuple[str, str]]:
        """A text exchange; every part of the answer is fetched."""
        request = self.text_pdu(p.encode_keys(keys))
        self.send(request)
        data = b""
        while True:
            response = self.wait_for(p.TEXT_RESPONSE)
            data += response.data
            if response.final:
                return p.parse_keys(data)
            self.send(self.text_pdu(b"", ttt=response.ttt, itt=request.itt))

    def tmf_pdu(self, function: int, lun: int = 0, referenced: int = p.RESERVED_TAG, immediate: bool = True, **fields) -> Pdu:
        cmd_sn = self.cmd_sn if immediate else self.next_cmd_sn()
        values = {"bytes_8": p.lun_field(lun), "u32_20": referenced, "u32_24": cmd_sn, "u32_28": self.exp_stat_sn, **fields}
        opcode = p.TASK_MANAGEMENT | (p.IMMEDIATE if immediate else 0)
        return Pdu.make(opcode, p.FINAL | function, itt=self.next_itt(), **values)

    def tmf(self, function: int, timeout: float | None = None, **arguments) -> int:
        """The response code: RFC 7143 §11.6.1."""
        self.send(self.tmf_pdu(function, **arguments))
        return self.wait_for(p.TASK_MANAGEMENT_RESPONSE, timeout).bhs[2]

    def logout(self, reason: int = 0, cid: int = 0) -> Pdu:
        self.send(Pdu.make(p.LOGOUT | p.IMMEDIATE, p.FINAL | reason, itt=self.next_itt(), u16_20=cid,
                           u32_24=self.cmd_sn, u32_28=self.exp_stat_sn))
        return self.wait_for(p.LOGOUT_RESPONSE)
