#!/usr/bin/env python3
"""The checks on the tree find what they are for: each is given a small tree that breaks its rule."""

import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from tree import checks, cxx  # noqa: E402


class ChecksTest(unittest.TestCase):
    def findings(self, files: dict[str, str], with_format: bool = False) -> list[str]:
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            for name, text in files.items():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_text(text)
            found = [f for f in checks.run(root) if with_format or f.check != "cxx_format"]
            return [f"{f.path}:{f.line} {f.check}" for f in found]

    def test_a_clean_tree_has_no_findings(self):
        self.assertEqual(self.findings({"base/a.h": "// A thing.\n#pragma once\n"}), [])

    def test_layering(self):
        found = self.findings({
            "scsi/a.h": '// A.\n#pragma once\n#include "net/ring.h"\n#include "base/b.h"\n',
            "net/a.h": '// A.\n#pragma once\n#include "target/worker.h"\n#include <liburing.h>\n',
            "target/iscsi/a.h": '// A.\n#pragma once\n#include "net/ring.h"\n#include <fmt/core.h>\n',
            "target/a.h": '// A.\n#pragma once\n#include "net/ring.h"\n#include <toml++/toml.h>\n',
            "base/a.h": '// A.\n#pragma once\n#include "a.h"\n// #include "net/ring.h"\n',
            "scsi/b.h": "// B.\n#pragma once\n#include <unistd.h>\n",
        })
        self.assertEqual(
            sorted(found),
            ["base/a.h:3 layering", "net/a.h:3 layering", "scsi/a.h:3 layering", "scsi/b.h:3 layering",
             "target/a.h:4 layering", "target/iscsi/a.h:3 layering", "target/iscsi/a.h:4 layering"],
        )

    def test_control_may_not_include_the_worker_but_target_may(self):
        found = self.findings({
            "target/control/a.h": '// A.\n#pragma once\n#include "target/worker.h"\n#include "target/config/config.h"\n',
            "target/a.h": '// A.\n#pragma once\n#include "target/iscsi/bhs.h"\n#include "scsi/sense.h"\n',
            "target/config/a.h": '// A.\n#pragma once\n#include "target/iscsi/bhs.h"\n',
        })
        self.assertEqual(sorted(found), ["target/config/a.h:3 layering", "target/control/a.h:3 layering"])

    def test_sizes(self):
        body = "  a();\n" * 71
        found = self.findings({
            "base/a.h": "// A.\n#pragma once\n" + "\n" * 900,
            "base/b.h": "// B.\n#pragma once\nvoid f() {\n" + body + "}\n",
            "base/c.py": "def f():\n" + "    a()\n" * 71,
        })
        self.assertEqual(
            found,
            ["base/a.h:1 file_size", "base/b.h:3 function_size", "base/c.py:1 function_size"],
        )

    def test_functions_are_found_with_their_names(self):
        text = """
namespace a {
constexpr int kTable[] = {1, 2};
struct S : T {
  S(int x) : x_{x}, y_(f({x})) { g(); }
  bool operator==(const S&) const { return true; }
  ~S() noexcept { if (x_) { h(); } }
  int x_ = {};
};
auto f(int a = 0'1, char b = '{') -> int {
  auto l = [](int y) { return y; };
  return l(a);
}
TEST(Name, does) {
}
}  // namespace a
"""
        found = [(f.name, f.first_line, f.last_line) for f in cxx.functions(text)]
        self.assertEqual(found, [("S", 5, 5), ("operator==", 6, 6), ("~S", 7, 7), ("f", 10, 13), ("Name.does", 14, 15)])

    def test_banned_names(self):
        found = self.findings({
            "base/a.h": "// strtol( is banned\n#pragma once\nint a = strtol(p);\nauto s = \"atoi(\";\n",
            "net/a.h": "// A.\n#pragma once\nstd::function<void()> f;\n",
            "target/daemon.h": "// A.\n#pragma once\nstd::function<void()> f;\n",
        })
        self.assertEqual(found, ["base/a.h:3 banned", "net/a.h:3 banned"])

    def test_leftovers_paths_build_and_guards(self):
        found = self.findings({
            "base/a.h": "#pragma once\n// TO" "DO: more\n",
            "base/b.cc": "",
            "base/c.cc": "",
            "base/meson.build": "files('c.cc')",
            "README.md": "see /wo" "rk/main\n",
            "tools/x": "#!/bin/bash\nif\n",
        })
        self.assertEqual(
            sorted(found),
            ["README.md:1 machine_paths", "base/a.h:1 include_guard", "base/a.h:2 leftovers", "base/b.cc:1 in_build",
             "tools/x:1 scripts", "tools/x:1 scripts"],
        )

    def test_format(self):
        files = {".clang-format": "BasedOnStyle: Google\n", "base/a.h": "// A.\n#pragma once\nint  a ;\n"}
        found = self.findings(files, with_format=True)
        self.assertEqual(found, ["base/a.h:3 cxx_format"])

    def test_an_exemption_that_is_not_needed_is_a_finding(self):
        found = self.findings({
            "tests/tree/exemptions.txt": "banned base/a.h:strtol why\nbanned base/b.h why\n",
            "base/a.h": "// A.\n#pragma once\nint a = strtol(p);\n",
        })
        self.assertEqual(found, ["tests/tree/exemptions.txt:2 banned"])


if __name__ == "__main__":
    unittest.main()
