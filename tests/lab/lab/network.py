"""The switches between the guests."""

import pathlib
import subprocess

from lab import process
from lab.errors import eventually

# Name of the network, also of each guest's interface in it, and the first three numbers of its addresses. The first two are the
# seed's; DRBD and corosync talk over the third.
NETWORKS = {"enp0s8": "192.168.222", "enp0s9": "192.168.221", "enp0s10": "192.168.220"}
STORAGE = ("enp0s8", "enp0s9")
RING = "enp0s10"


class Network:
    """A vde_switch as a hub: it learns no addresses, so that no frame is lost for what it learned before a failover."""

    def __init__(self, name: str, folder: pathlib.Path):
        self.name = name
        self.socket = folder / f"{name}.vde"
        # It ends when its standard input does.
        self.process = process.spawn(["vde_switch", "--hub", "-s", str(self.socket)], folder / f"{name}.log", stdin=subprocess.PIPE)
        eventually(lambda: (self.socket / "ctl").exists(), 10, f"the switch of {name}", 0.02)

    def remove(self) -> None:
        process.end(self.process)
