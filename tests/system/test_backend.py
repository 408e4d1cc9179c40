"""Disks that misbehave: missing, shrunk, full, read-only. The right sense, and the daemon lives."""

import os
import subprocess
import time

from harness import scsi as s
from harness.case import MIB, Case


class Backend(Case):
    seconds_max = 90

    def attach(self, lun: str, **options):
        itgtd, where = self.serve([lun, 'path = "ram:1M"'], **options)
        return itgtd, self.session(where)

    def settle(self, session, lun: int = 0) -> None:
        for _ in range(8):
            if session.command(s.TEST_UNIT_READY, lun=lun).status == 0:
                return

    def test_what_is_written_is_in_the_file(self):
        disk = self.folder.disk("disk", 8 * MIB)
        itgtd, session = self.attach(f'path = "{disk}"')
        data = os.urandom(300 * 512)
        self.assertEqual(session.command(s.write_10(5, 300), write=data).status, 0)
        self.assertEqual(session.command(s.SYNCHRONIZE_CACHE_10).status, 0)
        self.assertEqual(bytes(session.command(s.read_10(5, 300), read=len(data)).data), data)
        with open(disk, "rb") as file:
            file.seek(5 * 512)
            self.assertEqual(file.read(len(data)), data)

    def test_unaligned_and_large_transfers(self):
        disk = self.folder.disk("disk", 16 * MIB)
        _, session = self.attach(f'path = "{disk}"')
        model = bytearray(16 * MIB)
        for lba, blocks in ((0, 1), (1, 7), (7, 9), (1023, 2049), (8191, 8192), (32767, 1), (3, 5)):
            data = os.urandom(blocks * 512)
            model[lba * 512 : (lba + blocks) * 512] = data
            self.assertEqual(session.command(s.write_16(lba, blocks), write=data).status, 0)
        for lba, blocks in ((0, 8192), (1, 3), (8000, 8192), (32760, 8)):
            got = session.command(s.read_16(lba, blocks), read=blocks * 512).data
            self.assertEqual(bytes(got), bytes(model[lba * 512 : (lba + blocks) * 512]))

    def test_create_makes_a_sparse_file(self):
        path = self.folder.path / "made"
        _, session = self.attach(f'path = "{path}"\ncreate = "1G"')
        self.assertEqual(os.stat(path).st_size, 1 << 30)
        self.assertLess(os.stat(path).st_blocks * 512, 1 * MIB)
        self.assertEqual(session.command(s.read_10(0x1FFFFF, 1), read=512).status, 0)

    def test_never_written_blocks_are_zero(self):
        for lun in ('path = "ram:4M"', f'path = "{self.folder.disk("z", 4 * MIB)}"'):
            with self.subTest(lun):
                _, session = self.attach(lun)
                self.assertEqual(bytes(session.command(s.read_10(100, 256), read=131072).data), bytes(131072))

    def test_a_missing_device_comes_and_goes(self):
        path = self.folder.path / "later"
        itgtd, session = self.attach(f'path = "{path}"')
        task = session.command(s.read_10(0, 1), read=512)
        self.assertEqual((task.status, task.sense_code[:2]), (s.CHECK_CONDITION, (s.NOT_READY, 0x04)))
        self.assertEqual(session.command(s.TEST_UNIT_READY).sense_code[0], s.NOT_READY)
        self.assertEqual(session.command(s.inquiry(96), read=96).status, 0)  # INQUIRY always answers
        self.settle(session, 1)
        self.assertEqual(session.command(s.read_10(0, 1), lun=1, read=512).status, 0)  # the target is not down
        self.folder.disk("later", 4 * MIB)
        self.eventually(lambda: session.command(s.TEST_UNIT_READY).status == 0, 20, "the LUN is ready")
        self.assertEqual(session.command(s.read_10(0, 1), read=512).status, 0)

    def test_a_file_that_shrinks(self):
        disk = self.folder.disk("disk", 8 * MIB)
        itgtd, session = self.attach(f'path = "{disk}"')
        self.assertEqual(session.command(s.read_10(16000, 8), read=4096).status, 0)
        os.truncate(disk, 1 * MIB)
        task = session.command(s.read_10(16000, 8), read=4096)
        self.assertEqual(task.status, s.CHECK_CONDITION, "data from behind the end of the file")
        self.assertIn(task.sense_code[0], (s.MEDIUM_ERROR, s.HARDWARE_ERROR, s.ILLEGAL_REQUEST, s.NOT_READY, s.UNIT_ATTENTION))
        self.settle(session)
        self.assertEqual(session.command(s.read_10(0, 8), read=4096).status, 0)
        self.assertTrue(itgtd.running())

    def test_a_full_file_system(self):
        small = self.folder.path / "small"
        small.mkdir()
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2M", "tmpfs", str(small)], capture_output=True, text=True)
        if mounted.returncode:
            self.skipTest(f"cannot mount a tmpfs: {mounted.stderr.strip()}")
        self.addCleanup(subprocess.run, ["umount", "-l", str(small)], check=False)
        itgtd, session = self.attach(f'path = "{small}/disk"\ncreate = "16M"')
        failed = None
        for lba in range(0, 32768, 512):
            task = session.command(s.write_10(lba, 512), write=b"\x11" * 262144)
            if task.status:
                failed = task
                break
        self.assertIsNotNone(failed, "a full file system was not noticed")
        # SBC-3 §4.7.3.6: DATA PROTECT, SPACE ALLOCATION FAILED WRITE PROTECT.
        self.assertEqual((failed.status, failed.sense_code), (s.CHECK_CONDITION, (s.DATA_PROTECT, 0x27, 0x07)))
        self.assertEqual(session.command(s.read_10(0, 8), read=4096).status, 0)
        self.assertTrue(itgtd.running())

    def test_read_only(self):
        disk = self.folder.disk("disk", 4 * MIB)
        _, session = self.attach(f'path = "{disk}"\nread_only = true')
        self.assertEqual(session.command(s.read_10(0, 8), read=4096).status, 0)
        task = session.command(s.write_10(0, 1), write=bytes(512))
        self.assertEqual((task.status, task.sense_code[:2]), (s.CHECK_CONDITION, (s.DATA_PROTECT, 0x27)))
        self.assertTrue(session.command(s.mode_sense_6(0x3F), read=255).data[2] & 0x80, "WP is not set")

    def test_a_folder_is_not_a_disk(self):
        itgtd, session = self.attach(f'path = "{self.folder.path}"')
        self.assertEqual(session.command(s.read_10(0, 1), read=512).sense_code[0], s.NOT_READY)
        self.assertTrue(itgtd.running())

    def test_a_block_device(self):
        disk = self.folder.disk("disk", 8 * MIB)
        made = subprocess.run(["losetup", "--find", "--show", disk], capture_output=True, text=True)
        if made.returncode:
            self.skipTest(f"no loop device can be had: {made.stderr.strip()}")
        device = made.stdout.strip()
        self.addCleanup(subprocess.run, ["losetup", "--detach", device], check=False)
        itgtd, session = self.attach(f'path = "{device}"')
        data = os.urandom(64 * 512)
        self.assertEqual(session.command(s.write_10(3, 64), write=data).status, 0)
        self.assertEqual(session.command(s.SYNCHRONIZE_CACHE_10).status, 0)
        self.assertEqual(bytes(session.command(s.read_10(3, 64), read=len(data)).data), data)
        itgtd.stop()
        with open(disk, "rb") as file:
            file.seek(3 * 512)
            self.assertEqual(file.read(len(data)), data)

    def test_durable_writes_survive_a_kill(self):
        """kill -9 right after GOOD: what was acknowledged is there for the next daemon."""
        disk = self.folder.disk("disk", 4 * MIB)
        itgtd, session = self.attach(f'path = "{disk}"\nwrite_cache = false')
        data = os.urandom(4096)
        self.assertEqual(session.command(s.write_10(0, 8), write=data).status, 0)
        itgtd.process.kill()
        itgtd.process.wait()
        itgtd.process = None
        with open(disk, "rb") as file:
            self.assertEqual(file.read(4096), data)

    def test_identity(self):
        """The disk that LIO's initiators know: design.md, Identity."""
        lun = 'path = "ram:1M"\nserial = "aaaaaaa0"\nproduct = "p_iscsi_lun_0"'
        _, session = self.attach(lun)
        standard = bytes(session.command(s.inquiry(96), read=96).data)
        self.assertEqual((standard[8:16], standard[16:32]), (b"LIO-ORG ", b"p_iscsi_lun_0   "))
        serial = bytes(session.command(s.inquiry(255, 0x80), read=255).data)
        self.assertEqual(serial[4:].rstrip(), b"aaaaaaa0")
        identification = bytes(session.command(s.inquiry(255, 0x83), read=255).data).hex()
        self.assertIn("6001405aaaaaaa000000000000000000", identification)

    def test_a_made_serial_is_kept(self):
        where_config = f'path = "{self.folder.disk("disk", MIB)}"'
        found = []
        for _ in range(2):
            itgtd, session = self.attach(where_config)
            found.append(bytes(session.command(s.inquiry(255, 0x80), read=255).data)[4:])
            itgtd.stop()
        self.assertEqual(found[0], found[1])
        self.assertTrue(found[0].strip())

    def test_many_flushes_and_writes_at_once(self):
        disk = self.folder.disk("disk", 16 * MIB)
        _, session = self.attach(f'path = "{disk}"')
        started = time.monotonic()
        for _ in range(5):
            tasks = [session.start(s.write_10(n * 8, 8, 0x08), write=bytes([n]) * 4096) for n in range(16)]
            tasks += [session.start(s.SYNCHRONIZE_CACHE_10) for _ in range(8)]
            for task in tasks:
                self.assertEqual(session.wait(task).status, 0)
        self.assertLess(time.monotonic() - started, 30)
