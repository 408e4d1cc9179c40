"""The configuration as an operator meets it: --check, exit statuses, messages with file and line."""

import re
import subprocess

from harness import daemon
from harness.case import IQN, Case, portal, target, text


class Check(Case):
    def check(self, config: str, *arguments: str) -> tuple[int, str]:
        path = self.folder.file("itgtd.toml", config)
        done = subprocess.run([daemon.binary(), "--config", path, *arguments], capture_output=True, text=True, timeout=30,
                              stdin=subprocess.DEVNULL, env={"PATH": "/usr/bin:/bin", **daemon.SANITIZER_OPTIONS})
        return done.returncode, done.stdout + done.stderr

    def refused(self, config: str, *wanted: str) -> str:
        status, out = self.check(config, "--check")
        self.assertEqual(status, 2, out)
        for pattern in wanted:
            self.assertRegex(out, pattern)
        return out

    def test_a_good_file(self):
        status, out = self.check(target([portal()], ['path = "ram:1M"']), "--check")
        self.assertEqual(status, 0, out)

    def test_the_example_of_the_design(self):
        secret, mutual = self.folder.file("u.secret", "0123456789abcdef"), self.folder.file("t.secret", "fedcba9876543210")
        config = f'''
[daemon]
workers = 0
polling = "adaptive"
control_socket = "/run/itgtd/control.sock"
state_dir = "/var/lib/itgtd"
http = "127.0.0.1:9860"
log_level = "info"

[[target]]
name = "iqn.2017-01.com.linbit:drbd0"
alias = "p_iscsi_target_0"
portals = ["192.168.222.35:3260", "[2001:db8::35]:3260"]
group = "drbd0"
initiators = ["iqn.1993-08.org.debian:*"]
networks = ["192.168.222.0/24"]
header_digest = "optional"
[target.chap]
user = "u"
secret_file = "{secret}"
mutual_user = "t"
mutual_secret_file = "{mutual}"

[[target.lun]]
id = 0
path = "/dev/drbd0"
serial = "aaaaaaa0"
product = "p_iscsi_lun_0"
vendor = "LIO-ORG"
block_size = 512
physical_block_size = 4096
removable = false
thin = "auto"
read_only = false
write_cache = true

[cluster]
corosync = true

[[group]]
name = "drbd0"
drbd = "r0"
vips = ["192.168.222.35/24", "192.168.221.35/24@enp0s9"]
nodes = ["iscsi-2", "iscsi-0", "iscsi-1"]
failback = "never"
state = "/dev/drbd1"
'''
        status, out = self.check(config, "--check")
        self.assertEqual(status, 0, out)

    def test_every_error_at_once_with_file_and_line(self):
        config = f'''[[target]]
nmae = "{IQN}"
portals = ["127.0.0.1:99999"]
[[target.lun]]
path = "ram:1M"
block_size = 513
'''
        out = self.refused(config, r"itgtd\.toml:2: .*nmae.*name", r"itgtd\.toml:3: ", r"itgtd\.toml:6: ")
        self.assertGreaterEqual(len(re.findall(r"itgtd\.toml:\d+: ", out)), 3)

    def test_syntax(self):
        self.refused('[[target]]\nname = "x\n', r"itgtd\.toml:2: ")
        self.refused("[=\n", r"itgtd\.toml:1: ")
        self.refused("\x00\xff", r"itgtd\.toml:")

    def test_names(self):
        for name in ("", "iqn", "drbd0", "iqn.2017-01.com.linbit:" + "a" * 220, "iqn.2017-01.com.linbit:a b", "naa.12"):
            with self.subTest(name[:30]):
                self.refused(target([portal()], ['path = "ram:1M"'], name=name), r"itgtd\.toml:2: ")

    def test_what_may_be_there_once(self):
        where = portal()
        self.refused(target([where], []) + target([where], []), r"itgtd\.toml:\d+: .*drbd0")
        self.refused(target([where], ['id = 1\npath = "ram:1M"', 'id = 1\npath = "ram:1M"']), r"itgtd\.toml:\d+: ")

    def test_secrets(self):
        short = self.folder.file("short", "too-short")
        same = self.folder.file("same", "the-same-for-both-ways")
        open_to_all = self.folder.file("open", "0123456789abcdef", mode=0o644)
        one = 'user = "u"\nsecret_file = "{}"'
        where = [portal()]
        self.refused(target(where, [], chap=one.format(short)), "12 bytes|96 bits|short")
        self.refused(target(where, [], chap=one.format(self.folder.path / "none")), "none")
        self.refused(target(where, [], chap=one.format(open_to_all)), "open")
        both = f'{one.format(same)}\nmutual_user = "t"\nmutual_secret_file = "{same}"'
        out = self.refused(target(where, [], chap=both), "same|differ")
        self.assertNotIn("the-same-for-both-ways", out)

    def test_no_file(self):
        done = subprocess.run([daemon.binary(), "--config", str(self.folder.path / "none"), "--check"],
                              capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL)
        self.assertEqual(done.returncode, 2, done.stdout + done.stderr)

    def test_arguments(self):
        for arguments, wanted in ((["--help"], 0), (["--version"], 0), (["--bogus"], 2)):
            done = subprocess.run([daemon.binary(), *arguments], capture_output=True, text=True, timeout=30,
                                  stdin=subprocess.DEVNULL)
            self.assertEqual(done.returncode, wanted, done.stdout + done.stderr)

    def test_a_port_that_is_taken(self):
        where, free = portal(), portal()
        first = self.daemon(target([where], ['path = "ram:1M"']), [where])
        # It costs the portal only: the others are served, and it is tried again.
        second = self.daemon(target([where, free], ['path = "ram:1M"'], name=IQN + "-second"), [free])
        self.assertIn(text(where), second.log)
        self.session(free, IQN + "-second")
        # None left: not a place to go on from.
        paths = f'[daemon]\ncontrol_socket = "{self.folder.path}/c.sock"\nstate_dir = "{self.folder.path}"\n\n'
        status, out = self.check(paths + target([where], ['path = "ram:1M"']))
        self.assertEqual(status, 1, out)
        self.assertIn(text(where), out)
        self.assertTrue(first.running())
        self.session(where)
        first.stop()
        self.eventually(lambda: self.initiator(where).login(IQN + "-second"), what="the portal is had when it is free")
