"""itgtctl with a real itgtd: exit statuses, what is said when nobody answers, the control socket's file."""

import json
import os
import pathlib
import pty
import socket
import stat
import subprocess
import threading

from harness import daemon as daemons
from harness.case import Case, portal, target


def itgtctl() -> str:
    return str(pathlib.Path(daemons.binary()).parent / "itgtctl")


class Ctl(Case):
    @property
    def socket_path(self) -> str:
        return str(self.folder.path / "control.sock")

    def ctl(self, *arguments: str, path: str | None = None) -> tuple[int, str, str]:
        """Status, standard output, standard error."""
        done = subprocess.run([itgtctl(), "--socket", path or self.socket_path, *arguments], capture_output=True, text=True,
                              timeout=60, stdin=subprocess.DEVNULL, env={"PATH": "/usr/bin:/bin", **daemons.SANITIZER_OPTIONS})
        return done.returncode, done.stdout, done.stderr


class WithoutACluster(Ctl):
    def test_status_says_so_in_one_screen(self):
        self.serve()
        status, out, error = self.ctl("status")
        self.assertEqual((status, error), (0, ""))
        self.assertRegex(out, r"No \[cluster\] in the configuration: this node is on its own\.")
        self.assertRegex(out, r"1 target")
        self.assertRegex(out, r"itgtd \d+\.\d+")
        self.assertNotIn("\033", out)

    def test_status_as_json(self):
        self.serve()
        for arguments in (["--json", "status"], ["status", "--json"]):
            status, out, _ = self.ctl(*arguments)
            self.assertEqual(status, 0)
            self.assertFalse(json.loads(out)["configured"])

    def test_the_rest_is_refused_with_the_reason(self):
        self.serve()
        for arguments in (["move", "g"], ["drain", "n"], ["undrain", "n"], ["maintenance", "on"], ["history"], ["why", "g"]):
            status, out, error = self.ctl(*arguments)
            self.assertEqual((status, out), (1, ""), arguments)
            self.assertIn("has no [cluster]", error)


class Usage(Ctl):
    def test_wrong_words(self):
        for arguments, said in (
            ([], "subcommand"), (["mvoe"], "is move meant"), (["move"], "GROUP"), (["maintenance", "maybe"], "maybe"),
            (["history", "-n", "0"], "0"), (["status", "--nonsense"], "nonsense"), (["drain"], "NODE"),
        ):
            status, out, error = self.ctl(*arguments)
            self.assertEqual((status, out), (2, ""), arguments)
            self.assertIn(said, error)

    def test_help_and_version(self):
        status, out, _ = self.ctl("--help")
        self.assertEqual(status, 0)
        for name in ("status", "move", "drain", "undrain", "maintenance", "history", "why"):
            self.assertRegex(out, rf"\n  {name} ")
        status, out, _ = self.ctl("--version")
        self.assertEqual(status, 0)
        self.assertRegex(out, r"^itgtctl \d+\.\d+")


class NobodyThere(Ctl):
    def test_no_socket(self):
        status, out, error = self.ctl("status")
        self.assertEqual((status, out), (1, ""))
        self.assertIn(f"can't reach itgtd at {self.socket_path}: No such file or directory", error)
        self.assertIn("systemctl start itgtd", error)

    def test_a_socket_that_a_killed_daemon_left(self):
        served, _ = self.serve()
        served.kill()
        self.assertTrue(stat.S_ISSOCK(os.stat(self.socket_path).st_mode))
        status, _, error = self.ctl("status")
        self.assertEqual(status, 1)
        self.assertIn("Connection refused", error)
        # The next one takes its place.
        served.start()
        self.assertEqual(self.ctl("status")[0], 0)

    def test_somebody_else_listens_there(self):
        for answer, said in ((b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak JSON-RPC"), (b"", "closed the connection")):
            path = str(self.folder.path / f"other{len(answer)}.sock")
            with socket.socket(socket.AF_UNIX) as other:
                other.bind(path)
                other.listen()

                def serve(listening=other, text=answer):
                    client, _ = listening.accept()
                    with client:
                        client.recv(4096)
                        client.sendall(text)

                thread = threading.Thread(target=serve)
                thread.start()
                status, _, error = self.ctl("status", path=path)
                thread.join(20)
                self.assertEqual(status, 1)
                self.assertIn(said, error)


class SocketFile(Ctl):
    def test_its_mode_and_that_it_goes_with_the_daemon(self):
        served, _ = self.serve()
        self.assertEqual(stat.S_IMODE(os.stat(self.socket_path).st_mode), 0o660)
        served.stop()
        self.assertFalse(os.path.exists(self.socket_path))

    def test_a_second_daemon_does_not_take_it(self):
        self.serve()
        paths = f'[daemon]\nstate_dir = "{self.folder.path}/other"\ncontrol_socket = "{self.socket_path}"\n\n'
        other = daemons.Daemon(self.folder, paths + target([portal()], ['path = "ram:1M"']), [])
        log = subprocess.run(other.command(), capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
                             env={**os.environ, **daemons.SANITIZER_OPTIONS})
        self.assertEqual(log.returncode, 1, log.stderr)
        self.assertIn(f"another itgtd listens at {self.socket_path}", log.stderr)
        self.assertEqual(self.ctl("status")[0], 0)


class Terminal(Ctl):
    def status_on_a_terminal(self, **environment: str) -> bytes:
        """A cluster as a daemon would tell it, on a terminal."""
        path = str(self.folder.path / "fake.sock")
        pathlib.Path(path).unlink(missing_ok=True)
        result = {"configured": True, "connected": True, "quorate": False, "node": "a", "nodes": [{"name": "a", "member": True}]}
        with socket.socket(socket.AF_UNIX) as fake:
            fake.bind(path)
            fake.listen()
            ours, theirs = pty.openpty()
            with subprocess.Popen([itgtctl(), "--socket", path, "status"], stdin=subprocess.DEVNULL, stdout=theirs,
                                  env={"PATH": "/usr/bin:/bin", **daemons.SANITIZER_OPTIONS, **environment}) as process:
                client, _ = fake.accept()
                with client:
                    client.recv(4096)
                    client.sendall(json.dumps({"jsonrpc": "2.0", "id": 1, "result": result}).encode() + b"\n")
                    self.assertEqual(process.wait(30), 0)
            os.close(theirs)
            out = os.read(ours, 65536)
            os.close(ours)
        return out

    def test_colours_on_a_terminal_alone(self):
        self.assertIn(b"\033[1;31mNO QUORUM\033[0m", self.status_on_a_terminal())
        self.assertNotIn(b"\033", self.status_on_a_terminal(NO_COLOR="1"))
