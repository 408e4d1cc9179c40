"""A file system image through qemu-img: written, read back, compared, while a second session reads on the other path."""

import os
import threading

from harness import scsi as s
from harness.case import IQN, MIB, Case, portal, target, text
from harness.chap import Chap
from harness.daemon import Folder
from harness.initiator import Initiator

SECRET = "sesame-open-the-door"
IMAGE_BYTES = 1024 * MIB
FILES_MIB = 24  # of content that does not compress; the rest of the image is sparse


class Reader(threading.Thread):
    """Reads on the other portal for as long as the copy runs; what it counts must be more than nothing."""

    def __init__(self, initiator: Initiator, block_size: int):
        super().__init__()
        self.initiator, self.block_size = initiator, block_size
        self.stopping = threading.Event()
        self.reads = 0
        self.error: Exception | None = None

    def run(self) -> None:
        blocks = IMAGE_BYTES // self.block_size
        try:
            while not self.stopping.is_set():
                lba = (self.reads * 7919) % (blocks - 128)
                count = 65536 // self.block_size
                task = self.initiator.command(s.read_16(lba, count), read=65536)
                assert task.status == 0 and len(task.data) == 65536, (task.status, task.sense_code)
                self.reads += 1
        except Exception as error:  # handed to the test's own thread
            self.error = error


def data_extents(path: str) -> list[tuple[int, int]]:
    """What is not a hole."""
    found, at = [], 0
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        while at < size:
            try:
                start = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:  # ENXIO: the rest is a hole
                break
            at = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            found.append((start, at))
    return found


class QemuImg(Case):
    seconds_max = 240
    image = ""
    image_folder: Folder | None = None

    @classmethod
    def tearDownClass(cls) -> None:
        if cls.image_folder:
            cls.image_folder.remove()

    def make_image(self) -> str:
        """A 1 GiB ext4 image with files in it, made once."""
        cls = type(self)
        if not cls.image:
            cls.image_folder = Folder()
            content = cls.image_folder.path / "content"
            content.mkdir()
            for number in range(FILES_MIB):
                (content / f"file{number}").write_bytes(os.urandom(MIB))
            cls.image = cls.image_folder.disk("ext4.img", IMAGE_BYTES)
            self.run_tool(["mkfs.ext4", "-q", "-F", "-d", str(content), cls.image])
        return cls.image

    def round_trip(self, block_size: int, digests: bool, chap: bool) -> None:
        self.need("qemu-img", "mkfs.ext4")
        if "iscsi" not in self.run_tool(["qemu-img", "--help"]):
            self.skipTest("qemu-img has no iscsi driver: qemu-block-extra is not installed")
        image = self.make_image()
        where = [portal(), portal()]
        disk = self.folder.path / "disk"
        secret = self.folder.file("secret", SECRET)
        lun = f'path = "{disk}"\ncreate = "1G"\nserial = "aaaaaaa0"\nblock_size = {block_size}'
        self.daemon(target(where, [lun], chap=f'user = "u"\nsecret_file = "{secret}"' if chap else ""), where)
        reader = Reader(self.session(where[1], login={"chap": Chap("u", SECRET)} if chap else {}), block_size)
        reader.start()
        try:
            remote = self.remote(where[0], digests, chap)
            local = f"driver=raw,file.driver=file,file.filename={image}"
            self.qemu_img("convert", "-n", "--target-image-opts", local, remote)
            self.read_back(image, remote)
            self.qemu_img("compare", local, remote)
        finally:
            reader.stopping.set()
            reader.join(30)
        if reader.error is not None:
            raise reader.error
        self.assertGreater(reader.reads, 10)
        # What the target has on its disk is what the initiator meant; and a file system checker agrees.
        self.same(image, str(disk))
        self.run_tool(["e2fsck", "-f", "-n", str(disk)])

    def same(self, one: str, other: str) -> None:
        """Both files have the same bytes; holes are not read."""
        self.assertEqual(os.stat(one).st_size, os.stat(other).st_size)
        extents = sorted(data_extents(one) + data_extents(other))
        with open(one, "rb") as first, open(other, "rb") as second:
            done = 0
            for start, end in extents:
                at = max(start, done)
                first.seek(at)
                second.seek(at)
                while at < end:
                    size = min(end - at, MIB)
                    self.assertEqual(first.read(size), second.read(size), f"{one} and {other} differ near byte {at}")
                    at += size
                done = max(done, end)
        self.assertGreater(sum(end - start for start, end in extents), FILES_MIB * MIB)

    def read_back(self, image: str, remote: str) -> None:
        copy = self.folder.path / "copy"
        self.qemu_img("convert", "-O", "raw", remote, str(copy))
        self.same(image, str(copy))

    @staticmethod
    def remote(where, digests: bool, chap: bool) -> str:
        """The LUN as qemu-img names it in full."""
        options = {"driver": "raw", "file.driver": "iscsi", "file.transport": "tcp", "file.portal": text(where),
                   "file.target": IQN, "file.lun": "0", "file.header-digest": "crc32c" if digests else "none"}
        if chap:
            options.update({"file.user": "u", "file.password-secret": "secret0"})
        return ",".join(f"{key}={value}" for key, value in options.items())

    def qemu_img(self, command: str, *arguments: str) -> None:
        secret = f"secret,id=secret0,file={self.folder.path}/secret"
        self.run_tool(["qemu-img", command, "--object", secret, "--image-opts", *arguments], timeout=180)

    def test_512(self):
        self.round_trip(512, digests=False, chap=False)

    def test_512_with_digests_and_chap(self):
        self.round_trip(512, digests=True, chap=True)

    def test_4096(self):
        self.round_trip(4096, digests=True, chap=False)

    def test_4096_with_chap(self):
        self.round_trip(4096, digests=False, chap=True)

    def test_url(self):
        """As one would type it."""
        self.need("qemu-img")
        _, where = self.serve()
        out = self.run_tool(["qemu-img", "info", f"iscsi://{text(where)}/{IQN}/0"])
        self.assertIn("16 MiB", out)
