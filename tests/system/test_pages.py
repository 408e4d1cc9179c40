"""Every page that a LUN has, decoded by the tools that people use: sg3-utils, sdparm, libiscsi. None may complain."""

import os
import pathlib
import re
import struct
import subprocess

from harness import daemon as daemons
from harness import scsi as s
from harness.case import IQN, Case, text

KINDS = {
    "thin": 'path = "{folder}/thin"\ncreate = "64M"\nserial = "aaaaaaa0"',
    "512e": 'path = "{folder}/e"\ncreate = "64M"\nphysical_block_size = 4096\nserial = "aaaaaaa1"',
    "4096": 'path = "ram:64M"\nblock_size = 4096\nserial = "aaaaaaa2"',
    "thick": 'path = "ram:64M"\nthin = "off"\nwrite_cache = false\nserial = "aaaaaaa3"',
    "removable": 'path = "ram:64M"\nremovable = true\nserial = "aaaaaaa4"',
    "read-only": 'path = "ram:64M"\nread_only = true\nserial = "aaaaaaa5"',
    "long serial": 'path = "ram:64M"\nserial = "0123456789abcdef0123456789abcdef0123"',
}
# What these tools say of a page that they do not like, and never of one that they do.
COMPLAINT = re.compile(
    r"unexpected|truncat|too short|too small|too long|malformed|corrupt|bad |invalid|illegal|fail|error:|mismatch|"
    r"not supported|unable|cannot|expected|wrong", re.IGNORECASE)
# What they say between brackets or of a feature that need not be there, and names of fields: no complaints.
FINE = re.compile(
    r"\[[^\]]*\]|not reported|percentages? not supported|"
    r"(read|write|verify|non-medium|hard|soft) errors?|error (recovery|counter|log)|device failure|bad (block|sector)|"
    r"exit failure mode|failure details|inline data not supported|not supported: ",
    re.IGNORECASE)
# Of the others it says "failed to unmarshall", whatever is in them: libiscsi 1.19.
LIBISCSI_DECODES = (0x00, 0x80, 0x83, 0xB0, 0xB1, 0xB2)
NO_SAVED_PAGES = (s.ILLEGAL_REQUEST, 0x39, 0)


def hexadecimal(data: bytes) -> str:
    return "\n".join(data[at : at + 16].hex(" ") for at in range(0, len(data), 16)) + "\n"


class Pages(Case):
    seconds_max = 240

    def setUp(self) -> None:
        super().setUp()
        self.need("sg_vpd", "sg_logs", "sg_modes", "sdparm", "iscsi-inq")
        luns = [keys.replace("{folder}", str(self.folder.path)) for keys in KINDS.values()]
        self.itgtd, self.portal = self.serve(luns)
        # The path has no spaces, and the portal no brackets: the URL needs no quotes.
        self.url = f"iscsi://{text(self.portal)}/{IQN}"
        self.first = self.session(self.portal)
        self.known = s.supported(self.first)

    def each_lun(self):
        for lun, kind in enumerate(KINDS):
            for _ in range(8):
                if self.first.command(s.TEST_UNIT_READY, lun=lun).status == s.GOOD:
                    break
            yield lun, kind

    def has(self, opcode: int, action: int | None = None) -> None:
        if (opcode, action) not in self.known:
            self.skipTest(f"there is no command {opcode:02x}h" + ("" if action is None else f"/{action:02x}h"))

    def fetch(self, cdb: bytes, lun: int, length: int = 4096) -> bytes:
        task = self.first.command(cdb, read=length, lun=lun)
        self.assertEqual(task.status, s.GOOD, f"{cdb.hex()}: {task.sense_code}")
        self.assertEqual(task.residual, ("underflow", length - len(task.data)) if len(task.data) < length else ("none", 0))
        return bytes(task.data)

    def tool(self, *command: str, wire: bool = False, status: tuple[int, ...] = (0,), fine=FINE) -> str:
        """Runs it, wants its exit status to be one of these and nothing in its output that is a complaint."""
        environment = {**os.environ, "LC_ALL": "C"}
        if wire:
            library = pathlib.Path(daemons.binary()).parent / "tests" / "system" / "libsg-over-iscsi.so"
            if not library.exists():
                self.skipTest(f"{library} is not built")
            environment["LD_PRELOAD"] = str(library)
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=60,
                              check=False, env=environment)
        shown = f"{' '.join(command)}: status {done.returncode}\n{done.stdout}{done.stderr}"
        self.assertIn(done.returncode, status, shown)
        for line in (done.stdout + done.stderr).splitlines():
            if COMPLAINT.search(line) and COMPLAINT.search(fine.sub("", line)):
                self.fail(f"{line!r} in\n{shown}")
        return done.stdout

    def from_file(self, data: bytes, *command: str, **how) -> str:
        return self.tool(command[0], command[1] + self.folder.file("page.hex", hexadecimal(data)), *command[2:], **how)

    def test_vpd(self):
        for lun, _ in self.each_lun():
            listed = self.fetch(s.inquiry(4096, 0), lun)
            self.assertEqual(struct.unpack(">H", listed[2:4])[0], len(listed) - 4)
            pages = list(listed[4:])
            self.assertEqual(pages, sorted(set(pages)))
            self.assertTrue({0x00, 0x80, 0x83, 0x86, 0xB0, 0xB1, 0xB2} <= set(pages), listed.hex())
            for page in pages:
                with self.subTest(f"{page:02x}h"):
                    data = self.fetch(s.inquiry(4096, page), lun)
                    self.assertEqual((data[0], data[1]), (0, page))
                    self.assertEqual(struct.unpack(">H", data[2:4])[0], len(data) - 4, "PAGE LENGTH")
                    self.from_file(data, "sg_vpd", "--inhex=")
                    self.from_file(data, "sg_inq", "--inhex=", "--vpd")
                    if page in LIBISCSI_DECODES:
                        self.tool("iscsi-inq", "-e", "1", "-c", str(page), f"{self.url}/{lun}")
            for page in set(range(256)) - set(pages):
                task = self.first.command(s.inquiry(255, page), read=255, lun=lun)
                self.assertEqual(task.sense_code, (s.ILLEGAL_REQUEST, 0x24, 0), f"page {page:02x}h is not listed")

    def test_standard_inquiry(self):
        for lun, _ in self.each_lun():
            data = self.fetch(s.inquiry(255), lun, 255)
            self.assertEqual(data[4], len(data) - 5, "ADDITIONAL LENGTH")
            self.from_file(data, "sg_inq", "--inhex=")
            self.tool("iscsi-inq", f"{self.url}/{lun}")
            self.tool("sg_inq", f"{self.url}/{lun}", wire=True)
            self.tool("sg_vpd", "--all", "--long", f"{self.url}/{lun}", wire=True)

    def mode_pages(self, data: bytes, header_bytes: int) -> dict[tuple[int, int], bytes]:
        """Every page after the header and the block descriptors, by page and subpage; nothing may be left over."""
        length, descriptor = (data[0] + 1, data[3]) if header_bytes == 4 else (
            struct.unpack(">H", data[:2])[0] + 2, struct.unpack(">H", data[6:8])[0])
        self.assertEqual(length, len(data), "MODE DATA LENGTH")
        pages, at = {}, header_bytes + descriptor
        while at < len(data):
            subpage_format = bool(data[at] & 0x40)
            size = 4 + struct.unpack(">H", data[at + 2 : at + 4])[0] if subpage_format else 2 + data[at + 1]
            code = (data[at] & 0x3F, data[at + 1] if subpage_format else 0)
            self.assertNotIn(code, pages)
            pages[code] = data[at : at + size]
            at += size
        self.assertEqual(at, len(data), "the last mode page is cut off")
        return pages

    def test_mode_pages(self):
        for lun, _ in self.each_lun():
            current = self.mode_pages(self.fetch(s.mode_sense_10(0x3F), lun), 8)
            self.assertTrue({(0x01, 0), (0x08, 0), (0x0A, 0), (0x1C, 0)} <= set(current), sorted(current))
            every = self.mode_pages(self.fetch(s.mode_sense_10(0x3F, subpage=0xFF), lun), 8)
            self.assertTrue(set(current) <= set(every))
            by_control = {}
            for control in range(4):
                task = self.first.command(s.mode_sense_10(0x3F, subpage=0xFF, control=control), read=4096, lun=lun)
                if control == 3 and task.sense_code == NO_SAVED_PAGES:
                    continue
                self.assertEqual(task.status, s.GOOD, (control, task.sense_code))
                by_control[control] = self.mode_pages(bytes(task.data), 8)
                self.assertEqual(set(by_control[control]), set(every), control)
                short = bytes([0x1A, 0, control << 6 | 0x3F, 0xFF, 255, 0])
                task = self.first.command(short, read=255, lun=lun)
                self.assertEqual(self.mode_pages(bytes(task.data), 4), by_control[control])
                for (page, subpage), value in by_control[control].items():
                    with self.subTest(page=page, subpage=subpage, control=control):
                        one = self.fetch(s.mode_sense_10(page, subpage=subpage, control=control), lun)
                        self.assertEqual(self.mode_pages(one, 8), {(page, subpage): value})
            for code, mask in by_control[1].items():
                # What can't be changed is as it is by default.
                for now, default, changeable in zip(by_control[0][code][2:], by_control[2][code][2:], mask[2:], strict=True):
                    self.assertEqual(now & ~changeable, default & ~changeable, f"page {code}")

    def test_mode_pages_decoded(self):
        for lun, _ in self.each_lun():
            where = f"{self.url}/{lun}"
            for control in ("0", "1", "2"):
                self.tool("sg_modes", "-a", "-f", "-c", control, where, wire=True)
                self.tool("sg_modes", "-6", "-a", "-c", control, where, wire=True)
            self.tool("sg_modes", "-l", where, wire=True)
            # It asks for every page that it knows: status 5 is that of the last one that is not there.
            self.tool("sdparm", "--all", "--long", where, wire=True, status=(0, 5))
            self.tool("sdparm", "--six", "--all", where, wire=True, status=(0, 5))
            self.tool("sdparm", "--inquiry", "--all", where, wire=True)

    def test_log_pages(self):
        self.has(0x4D)
        for lun, _ in self.each_lun():
            listed = self.fetch(s.log_sense(0), lun)
            self.from_file(listed, "sg_logs", "--in=", "--pdt=0")
            codes = [(page, 0) for page in listed[4:]]
            task = self.first.command(s.log_sense(0, 0xFF), read=4096, lun=lun)
            if task.status == s.GOOD:
                self.from_file(bytes(task.data), "sg_logs", "--in=", "--pdt=0")
                pairs = task.data[4:]
                both = [(pairs[at], pairs[at + 1]) for at in range(0, len(pairs), 2)]
                self.assertEqual(both, sorted(set(both)))
                codes = sorted(set(codes) | set(both))
            self.assertTrue({(0, 0), (0x0D, 0), (0x0E, 0), (0x2F, 0)} <= set(codes), codes)
            for page, subpage in codes:
                with self.subTest(f"{page:02x}h/{subpage:02x}h"):
                    data = self.fetch(s.log_sense(page, subpage), lun)
                    self.assertEqual((data[0] & 0x3F, data[1]), (page, subpage))
                    self.assertEqual(bool(data[0] & 0x40), subpage != 0, "SPF")
                    self.assertEqual(struct.unpack(">H", data[2:4])[0], len(data) - 4, "PAGE LENGTH")
                    self.from_file(data, "sg_logs", "--in=", "--pdt=0")
            self.tool("sg_logs", "--all", "--all", f"{self.url}/{lun}", wire=True)

    def test_capacity_and_provisioning(self):
        for lun, kind in self.each_lun():
            where = f"{self.url}/{lun}"
            self.tool("sg_readcap", "--long", where, wire=True)
            self.tool("sg_readcap", where, wire=True)
            self.tool("iscsi-readcapacity16", where)
            if kind not in ("thick", "read-only"):
                data = self.fetch(s.service_action_in_16(0x12, 4096), lun)
                self.from_file(data, "sg_get_lba_status", "--inhex=")
                self.tool("sg_get_lba_status", "--lba=0", where, wire=True)
        self.tool("iscsi-ls", "-s", f"iscsi://{text(self.portal)}")

    def test_luns_and_operation_codes(self):
        for lun, _ in self.each_lun():
            where = f"{self.url}/{lun}"
            self.tool("sg_luns", "--select=0", where, wire=True)
            self.tool("sg_luns", "--select=1", where, wire=True)
            self.tool("sg_luns", "--select=2", where, wire=True)
            out = self.tool("sg_opcodes", "--no-inquiry", "--rctd", where, wire=True)
            for name in ("Read(16)", "Write(16)", "Inquiry", "Report luns"):
                self.assertIn(name, out)
            for opcode, action in s.supported(self.first, lun):
                service = [] if action is None else [f"--sa={action}"]
                self.tool("sg_opcodes", "--no-inquiry", f"--opcode={opcode}", *service, where, wire=True)

    def test_task_management_functions(self):
        self.has(0xA3, 0x0D)
        out = self.tool("sg_opcodes", "--no-inquiry", "--tmf", f"{self.url}/0", wire=True)
        self.assertIn("Abort task", out)
        self.tool("sg_opcodes", "--no-inquiry", "--tmf", "--repd", f"{self.url}/0", wire=True)

    def test_port_groups(self):
        self.has(0xA3, 0x0A)
        for lun, _ in self.each_lun():
            self.tool("sg_rtpg", "--decode", f"{self.url}/{lun}", wire=True)
            self.tool("sg_rtpg", "--decode", "--extended", f"{self.url}/{lun}", wire=True)

    def test_persistent_reservations(self):
        self.has(0x5E, 0x00)
        for lun, kind in self.each_lun():
            where = f"{self.url}/{lun}"
            register = s.reservation_list(0, 0xABC + lun)
            self.assertEqual(self.first.command(s.persistent_reserve_out(0), write=register, lun=lun).status, s.GOOD, kind)
            reserve = s.persistent_reserve_out(1, kind=5)
            self.assertEqual(self.first.command(reserve, write=s.reservation_list(0xABC + lun), lun=lun).status, s.GOOD)
            self.assertIn(f"0x{0xABC + lun:x}", self.tool("sg_persist", "--no-inquiry", "-k", where, wire=True))
            self.assertIn("registrants only", self.tool("sg_persist", "--no-inquiry", "-r", where, wire=True))
            self.assertIn("system-test", self.tool("sg_persist", "--no-inquiry", "-s", where, wire=True))
            self.tool("sg_persist", "--no-inquiry", "-c", where, wire=True)
            self.assertEqual(self.first.command(s.persistent_reserve_out(3), write=s.reservation_list(0xABC + lun),
                                                lun=lun).status, s.GOOD)

    def test_identifying_information(self):
        self.has(0xA3, 0x05)
        for lun, _ in self.each_lun():
            self.tool("sg_ident", f"{self.url}/{lun}", wire=True)

    def test_timestamp(self):
        self.has(0xA3, 0x0F)
        self.tool("sg_timestamp", f"{self.url}/0", wire=True)

    def test_diagnostics_and_buffers(self):
        self.has(0x1C)
        self.has(0x3C)
        for lun, _ in self.each_lun():
            self.tool("sg_senddiag", "--list", f"{self.url}/{lun}", wire=True)
            self.tool("sg_read_buffer", "--mode=desc", f"{self.url}/{lun}", wire=True)

    def test_copy_parameters(self):
        self.has(0x84, 0x03)
        self.tool("sg_copy_results", "--params", f"{self.url}/0", wire=True)

    def test_sense(self):
        """What commands fail with, as fixed and as descriptor format."""
        names = re.compile(r"(?<=[Ss]ense key: )Illegal Request|(?<=Additional sense: ).*")
        beyond = s.read_10(0xFFFFFFF0, 1)
        bad_field = bytearray(s.read_16(0, 1))
        bad_field[1] = 0x07
        for lun, _ in self.each_lun():
            for cdb, read in ((beyond, 512), (bytes(bad_field), 512), (bytes([0xFF]) + bytes(5), 0), (s.request_sense(), 252)):
                task = self.first.command(cdb, read=read, lun=lun)
                sense = task.sense or bytes(task.data)
                self.assertTrue(sense)
                self.from_file(sense, "sg_decode_sense", "--file=", fine=names)
            sense = bytes(self.first.command(s.request_sense(descriptor=True), read=252, lun=lun).data)
            self.assertIn(sense[0], (0x72, 0x73))
            self.from_file(sense, "sg_decode_sense", "--file=", fine=names)
