"""The tables of a scenario, as a file for bench/results/."""

import datetime
import pathlib
import platform
import subprocess

from lab import image
from lab.lab import Lab, markdown

PACKAGES = ("qemu-system-x86", "drbd-utils", "corosync", "open-iscsi", "multipath-tools", "fio", "pacemaker", "resource-agents", "targetcli-fb")


def _said(*command: str) -> str:
    out = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    return out.stdout.strip() if out.returncode == 0 else ""


def write(lab: Lab, name: str, about: str, folder: pathlib.Path) -> pathlib.Path:
    """Replaces FOLDER/lab-NAME.md: what was measured, when, and on what."""
    root = pathlib.Path(__file__).resolve().parents[3]
    versions = _said("dpkg-query", "--show", "--showformat", "${Package} ${Version}\\n", *PACKAGES).splitlines()
    described = _said("git", "-C", str(root), "describe", "--always", "--dirty") or "unknown"
    parts = [
        f"# {about.splitlines()[0]}",
        "\n".join(line for line in about.splitlines()[1:]).strip(),
        f"- made by `tests/lab/run --results bench/results {name}` at {datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M} UTC\n"
        f"- itgtd {described}; guests: Linux {image.kernel()[0]}, QEMU without acceleration on {platform.machine()}, a CPU each\n"
        f"- packages: {', '.join(versions)}",
    ]
    parts += [f"## {title}\n\n{markdown(head, rows)}" for title, head, rows in lab.tables]
    path = folder / f"lab-{name}.md"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text("\n\n".join(part for part in parts if part) + "\n")
    return path
