"""The initramfs with which every guest begins; the rest of its system is this machine's own, read-only, below a tmpfs."""

import gzip
import hashlib
import lzma
import pathlib
import re
import shutil
import subprocess
import tempfile

from lab.errors import LabError, Skip

MODULES = ("virtio_pci", "virtio_net", "virtio_blk", "virtio_console", "9p", "9pnet_virtio", "overlay")
# What a program of a guest may write to without finding what this machine has there.
EMPTY = ("tmp", "run", "var/tmp", "var/log", "var/lib/corosync", "var/lib/drbd", "var/lib/itgtd", "var/lib/iscsi", "etc/iscsi/nodes",
         "etc/iscsi/send_targets", "etc/drbd.d", "etc/corosync", "etc/multipath", "etc/itgtd", "root", "mnt")
# Every process that init starts takes an emulated machine some hundredth of a second, so it starts few.
APPLETS = ("sh", "mount", "mkdir", "insmod", "ip", "cp", "chmod", "switch_root")
FIRST_TABLE = """proc /proc proc defaults 0 0
sys /sys sysfs defaults 0 0
dev /dev devtmpfs defaults 0 0
tmpfs /overlay tmpfs mode=755 0 0
"""
SECOND_TABLE = """proc /new/proc proc defaults 0 0
sys /new/sys sysfs defaults 0 0
dev /new/dev devtmpfs defaults 0 0
""" + "".join(f"tmpfs /new/{folder} tmpfs mode=755 0 0\n" for folder in EMPTY)
# The kernel hands "lab_..." of its command line to init as environment. lab_nics: NAME,MAC,ADDRESS/PREFIX;...
INIT = """#!/bin/sh
export PATH=/bin
mount -a -T /first
for module in /modules/*.ko; do insmod "$module" || echo "lab: no $module"; done
mkdir /overlay/upper /overlay/work
mount -t 9p -o trans=virtio,version=9p2000.L,cache=loose,ro,msize=500000 root /machine || echo "lab: no root over 9p"
mount -t overlay -o lowerdir=/machine,upperdir=/overlay/upper,workdir=/overlay/work overlay /new
mkdir -p @EMPTY@
mount -a -T /second
mkdir -p /new/dev/pts /new/dev/shm /new/run/lock /new/run/lab/build
mount -t devpts devpts /new/dev/pts
mount -t tmpfs tmpfs /new/dev/shm
mount --bind "/machine$lab_build" /new/run/lab/build
chmod 1777 /new/tmp /new/var/tmp
cp /itgt-lab-agent /bin/busybox /new/run/lab/
echo "$lab_name" > /proc/sys/kernel/hostname
ip link set lo up
IFS=";"
for nic in $lab_nics; do
  IFS=, read -r name mac address <<END
$nic
END
  for device in /sys/class/net/*; do
    read -r found < "$device/address"
    [ "$found" = "$mac" ] || continue
    ip link set "${device##*/}" name "$name"
    ip address add "$address" broadcast + dev "$name"
    ip link set "$name" up
  done
done
exec switch_root /new /run/lab/itgt-lab-agent
"""


def kernel() -> tuple[str, pathlib.Path]:
    """Version and image of the newest Debian kernel that has its modules here."""
    found = []
    for image in pathlib.Path("/boot").glob("vmlinuz-*-amd64"):
        version = image.name.removeprefix("vmlinuz-")
        if pathlib.Path(f"/lib/modules/{version}/modules.dep").exists():
            found.append(([int(number) for number in re.findall(r"\d+", version)], version, image))
    if not found:
        raise Skip("there is no kernel with modules in /boot (package linux-image-amd64)")
    _, version, image = max(found)
    return version, image


def unpacked(build: pathlib.Path, version: str, image: pathlib.Path) -> pathlib.Path:
    """The kernel that is in the image, as QEMU can start it directly (PVH). An emulated machine would be busy for longer with unpacking
    it than with all the rest of the boot. An image that is packed in some other way is used as it is."""
    path = build / "tests/lab" / f"vmlinux-{version}"
    if path.exists() and path.stat().st_mtime > image.stat().st_mtime:
        return path
    packed = image.read_bytes()
    start = packed.find(b"\xfd7zXZ\0")
    if start < 0:
        return image
    kernel_elf = lzma.LZMADecompressor().decompress(packed[start:])
    if not kernel_elf.startswith(b"\x7fELF"):
        return image
    new = path.with_suffix(".new")
    new.write_bytes(kernel_elf)
    new.rename(path)
    return path


def _modules(version: str) -> list[pathlib.Path]:
    """Files of MODULES and of what they need, in the order of loading."""
    files: list[pathlib.Path] = []
    for name in MODULES:
        out = subprocess.run(["modprobe", "-S", version, "--show-depends", name], capture_output=True, text=True, timeout=20, check=False)
        if out.returncode:
            raise LabError(f"modprobe --show-depends {name}: {out.stderr.strip()}")
        for line in out.stdout.splitlines():
            words = line.split()
            if words[0] == "insmod" and pathlib.Path(words[1]) not in files:
                files.append(pathlib.Path(words[1]))
    return files


def initramfs(build: pathlib.Path, version: str) -> pathlib.Path:
    """Made once for each kernel and each content."""
    agent = build / "tests/lab/itgt-lab-agent"
    script = INIT.replace("@EMPTY@", " ".join(f"/new/{folder}" for folder in EMPTY))
    busybox = pathlib.Path("/bin/busybox")
    digest = hashlib.sha256((script + FIRST_TABLE + SECOND_TABLE).encode() + agent.read_bytes() + busybox.read_bytes()).hexdigest()[:16]
    path = build / "tests/lab" / f"initramfs-{version}-{digest}.gz"
    if path.exists():
        return path
    with tempfile.TemporaryDirectory(prefix="itgt-lab-image.") as name:
        root = pathlib.Path(name)
        for folder in ("bin", "dev", "proc", "sys", "machine", "overlay", "new", "modules"):
            (root / folder).mkdir()
        (root / "init").write_text(script)
        (root / "init").chmod(0o755)
        (root / "first").write_text(FIRST_TABLE)
        (root / "second").write_text(SECOND_TABLE)
        shutil.copy(agent, root)
        shutil.copy(busybox, root / "bin")
        for applet in APPLETS:
            (root / "bin" / applet).symlink_to("busybox")
        for number, module in enumerate(_modules(version)):
            shutil.copy(module, root / "modules" / f"{number:02}-{module.name}")
        names = "\n".join(str(entry.relative_to(root)) for entry in sorted(root.rglob("*")))
        made = subprocess.run(["cpio", "--quiet", "-o", "-H", "newc", "-R", "0:0"], input=names.encode(), cwd=root, capture_output=True,
                              timeout=60, check=False)
        if made.returncode:
            raise LabError(f"cpio: {made.stderr.decode(errors='replace').strip()}")
        new = path.with_suffix(".new")
        new.write_bytes(gzip.compress(made.stdout, 1))
        for old in path.parent.glob(f"initramfs-{version}-*.gz"):
            old.unlink(missing_ok=True)
        new.rename(path)
    return path
