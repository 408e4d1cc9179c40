"""A network namespace with addresses of its own, and sockets in it."""

import ctypes
import itertools
import os
import socket
import subprocess
import threading

_CLONE_NEWNET = 0x40000000
_NUMBERS = itertools.count()


def _ip(*arguments: str, check: bool = True) -> subprocess.CompletedProcess:
    return subprocess.run(["ip", *arguments], check=check, capture_output=True, text=True, timeout=20)


def connect_inside(namespace: str, address: tuple[str, int], timeout: float) -> socket.socket:
    """A connection from the namespace of this file: a thread of its own enters it, the socket stays there."""
    result: list = []

    def inside() -> None:
        try:
            with open(namespace, "rb") as handle:
                libc = ctypes.CDLL(None, use_errno=True)
                if libc.setns(handle.fileno(), _CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
            result.append(socket.create_connection(address, timeout))
        except OSError as error:
            result.append(error)

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    if isinstance(result[0], OSError):
        raise result[0]
    return result[0]


class Netns:
    """addresses: "192.168.222.35/24" and the like, one interface each: an end of a veth pair."""

    def __init__(self, addresses: list[str]):
        self.name = f"itgt-test-{os.getpid()}-{next(_NUMBERS)}"
        _ip("netns", "add", self.name)
        try:
            self.ip("link", "set", "lo", "up")
            for number, address in enumerate(addresses):
                self.ip("link", "add", f"net{number}", "type", "veth", "peer", "name", f"peer{number}")
                self.ip("link", "set", f"net{number}", "up")
                self.ip("link", "set", f"peer{number}", "up")
                self.add_address(number, address)
        except BaseException:
            self.remove()
            raise

    def ip(self, *arguments: str) -> None:
        _ip("-n", self.name, *arguments)

    def add_address(self, number: int, address: str) -> None:
        """To interface `number`. No duplicate address detection: an IPv6 address can be used at once."""
        nodad = ["nodad"] if ":" in address else []
        self.ip("address", "add", address, "dev", f"net{number}", *nodad)

    def remove_address(self, number: int, address: str) -> None:
        self.ip("address", "delete", address, "dev", f"net{number}")

    def remove(self) -> None:
        _ip("netns", "delete", self.name, check=False)

    def command(self, command: list[str]) -> list[str]:
        return ["ip", "netns", "exec", self.name, *command]

    def connect(self, address: tuple[str, int], timeout: float = 10.0) -> socket.socket:
        return connect_inside(f"/run/netns/{self.name}", address, timeout)
