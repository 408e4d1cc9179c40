#!/usr/bin/env python3
"""SendTargets through libiscsi's own API: prints what discovery found, in the form of iscsiadm.

  libiscsi_discover.py HOST:PORT
"""

import ctypes
import ctypes.util
import sys

DISCOVERY = 1


class Portal(ctypes.Structure):
    pass


Portal._fields_ = [("next", ctypes.POINTER(Portal)), ("portal", ctypes.c_char_p)]


class Address(ctypes.Structure):
    pass


Address._fields_ = [
    ("next", ctypes.POINTER(Address)), ("target_name", ctypes.c_char_p), ("portals", ctypes.POINTER(Portal)),
]


def main() -> int:
    name = ctypes.util.find_library("iscsi") or "libiscsi.so.7"
    library = ctypes.CDLL(name)
    library.iscsi_create_context.restype = ctypes.c_void_p
    library.iscsi_get_error.restype = ctypes.c_char_p
    library.iscsi_discovery_sync.restype = ctypes.POINTER(Address)
    context = ctypes.c_void_p(library.iscsi_create_context(b"iqn.1993-08.org.debian:01:libiscsi"))

    def must(status: int, what: str) -> None:
        if status:
            raise SystemExit(f"{what}: {library.iscsi_get_error(context).decode()}")

    must(library.iscsi_set_session_type(context, DISCOVERY), "session type")
    must(library.iscsi_connect_sync(context, sys.argv[1].encode()), "connect")
    must(library.iscsi_login_sync(context), "login")
    target = library.iscsi_discovery_sync(context)
    if not target:
        raise SystemExit(f"discovery: {library.iscsi_get_error(context).decode()}")
    while target:
        portal = target.contents.portals
        while portal:
            print(portal.contents.portal.decode(), target.contents.target_name.decode())
            portal = portal.contents.next
        target = target.contents.next
    library.iscsi_logout_sync(context)
    library.iscsi_destroy_context(context)
    return 0


if __name__ == "__main__":
    sys.exit(main())
