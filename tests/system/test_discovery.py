"""Discovery: what each initiator is told, by libiscsi, iscsi-ls, iscsiadm and a raw session. RFC 7143 Appendix C."""

import ctypes.util
import os
import pathlib
import re
import sys

from harness.case import IQN, Case, portal, target
from harness.netns import Netns

HERE = pathlib.Path(__file__).resolve().parent
# Line for line what the article's initiator sees.
WANTED = [f"192.168.222.35:3260,1 {IQN}", f"192.168.221.35:3260,1 {IQN}"]
RAM = 'path = "ram:4M"'


class SeedDiscovery(Case):
    """The article's two virtual addresses, in a network namespace."""

    def setUp(self) -> None:
        super().setUp()
        self.need("ip")
        self.netns = Netns(["192.168.222.35/24", "192.168.221.35/24"])
        self.addCleanup(self.netns.remove)
        self.portals = [("192.168.222.35", 3260), ("192.168.221.35", 3260)]
        self.daemon(target(self.portals, [RAM]), self.portals, netns=self.netns)

    def test_iscsi_ls_on_either_portal(self):
        self.need("iscsi-ls")
        for host, _ in self.portals:
            out = self.run_tool(self.netns.command(["iscsi-ls", f"iscsi://{host}:3260"]))
            found = [re.sub(r"Target:(\S+) Portal:(\S+)", r"\2 \1", line).strip() for line in out.splitlines()]
            self.assertEqual(sorted(found), sorted(WANTED))

    def test_iscsi_ls_shows_the_disk(self):
        self.need("iscsi-ls")
        out = self.run_tool(self.netns.command(["iscsi-ls", "-s", "iscsi://192.168.222.35:3260"]))
        self.assertIn("Lun:0    Type:DIRECT_ACCESS (Size:3M)", out)  # iscsi-ls counts whole MiB below the last LBA

    def test_libiscsi(self):
        if ctypes.util.find_library("iscsi") is None:
            self.skipTest("libiscsi is not installed")
        for host, _ in self.portals:
            command = [sys.executable, str(HERE / "libiscsi_discover.py"), f"{host}:3260"]
            found = self.run_tool(self.netns.command(command)).splitlines()
            self.assertEqual(found, WANTED)

    def test_iscsiadm(self):
        self.need("iscsiadm")
        if not os.path.exists("/sys/class/iscsi_transport/tcp"):
            self.skipTest("iscsiadm discovers only where the kernel has iscsi_tcp")
        out = self.run_tool(self.netns.command(["iscsiadm", "-m", "discovery", "-t", "st", "-p", "192.168.222.35"]))
        self.assertEqual(out.splitlines(), WANTED)

    def test_raw_lines_are_in_the_order_of_the_configuration(self):
        initiator = self.initiator(self.portals[0], connect=self.netns.connect).login(None)
        found = initiator.text({"SendTargets": "All"})
        self.assertEqual(found, [("TargetName", IQN), ("TargetAddress", "192.168.222.35:3260,1"),
                                 ("TargetAddress", "192.168.221.35:3260,1")])


class SendTargets(Case):
    """Who may see what."""

    def setUp(self) -> None:
        super().setUp()
        self.open, self.closed = "iqn.2017-01.com.linbit:open", "iqn.2017-01.com.linbit:closed"
        self.far = "iqn.2017-01.com.linbit:far"
        self.portal = portal()
        one = [self.portal]
        config = target(one, [RAM], name=self.open)
        config += target(one, [RAM], name=self.closed, more='initiators = ["iqn.1993-08.org.debian:01:a*"]')
        config += target(one, [RAM], name=self.far, more='networks = ["192.0.2.0/24"]')
        self.daemon(config, one)

    def names(self, initiator: str, value: str = "All") -> list[str]:
        session = self.initiator(self.portal, name=initiator).login(None)
        return sorted(found for key, found in session.text({"SendTargets": value}) if key == "TargetName")

    def test_access_lists_decide_what_is_listed(self):
        self.assertEqual(self.names("iqn.1993-08.org.debian:01:abc"), sorted([self.open, self.closed]))
        self.assertEqual(self.names("iqn.1993-08.org.debian:01:b"), [self.open])

    def test_one_name(self):
        self.assertEqual(self.names("iqn.1993-08.org.debian:01:abc", self.closed), [self.closed])
        self.assertEqual(self.names("iqn.1993-08.org.debian:01:b", self.closed), [])
        self.assertEqual(self.names("iqn.1993-08.org.debian:01:b", "iqn.2017-01.com.linbit:none"), [])

    def test_in_a_normal_session(self):
        session = self.session(self.portal, self.open)
        # RFC 7143 Appendix C: an empty value means the target of the session; All is for discovery sessions only.
        wanted = [("TargetName", self.open), ("TargetAddress", f"{self.portal[0]}:{self.portal[1]},1")]
        self.assertEqual(session.text({"SendTargets": ""}), wanted)
        self.assertEqual(session.text({"SendTargets": self.open}), wanted)
        self.assertNotIn(("TargetName", self.closed), session.text({"SendTargets": "All"}))

    def test_a_list_longer_than_a_segment_comes_in_parts(self):
        names = [f"iqn.2017-01.com.linbit:{number:0180d}" for number in range(60)]
        where = portal()
        self.daemon("".join(target([where], [], name=name) for name in names), [where])
        session = self.initiator(where).login(None, MaxRecvDataSegmentLength="1024")
        found = [value for key, value in session.text({"SendTargets": "All"}) if key == "TargetName"]
        self.assertEqual(found, names)
