"""The checks that tools/check-tree runs. Each is a function from the tree to its findings."""

import ast
import pathlib
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from functools import cached_property

from tree import cxx, rules


@dataclass(frozen=True)
class Finding:
    check: str
    path: str
    line: int
    message: str
    item: str = ""  # what an exemption may name beside the path: a function

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message} [{self.check}]"


@dataclass
class Exemption:
    line: int
    check: str
    path: str
    item: str
    used: bool = False


@dataclass
class Tree:
    root: pathlib.Path
    texts: dict[str, str] = field(default_factory=dict)

    @cached_property
    def files(self) -> list[str]:
        """Files of the tree: tracked, and new ones that are not ignored; every file where there is no git."""
        command = ["git", "-C", str(self.root), "ls-files", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, capture_output=True, text=True) if shutil.which("git") else None
        if listed is not None and listed.returncode == 0:
            names = listed.stdout.splitlines()
        else:
            names = [str(path.relative_to(self.root)) for path in self.root.rglob("*")]
            names = [name for name in names if not re.match(r"build|\.git/", name) and "__pycache__" not in name]
        return sorted({name for name in names if (self.root / name).is_file()})

    @cached_property
    def cxx_files(self) -> list[str]:
        return [
            name
            for name in self.files
            if name.endswith((".cc", ".h")) and name.split("/")[0] in rules.CXX_FOLDERS
        ]

    @cached_property
    def scripts(self) -> dict[str, str]:
        """Shell and Python files, by the end of their name or their first line: name -> language."""
        found = {}
        for name in self.files:
            first = self.text(name).split("\n", 1)[0] if "." not in name.split("/")[-1] else ""
            if name.endswith(".py") or (first.startswith("#!") and "python" in first):
                found[name] = "python"
            elif name.endswith(".sh") or (first.startswith("#!") and "sh" in first):
                found[name] = "shell"
        return found

    def text(self, name: str) -> str:
        if name not in self.texts:
            self.texts[name] = (self.root / name).read_text(encoding="utf-8", errors="replace")
        return self.texts[name]

    @cached_property
    def blanked(self) -> dict[str, str]:
        return {name: cxx.blank(self.text(name)) for name in self.cxx_files}


def _layer(path: str) -> str | None:
    return max((layer for layer in rules.LAYERS if path.startswith(layer)), key=len, default=None)


def _includes(tree: Tree, name: str):
    source = cxx.blank(tree.text(name), keep_strings=True)
    for match in re.finditer(r'^[ \t]*#[ \t]*include[ \t]*(["<])([^">]+)[">]', source, re.MULTILINE):
        yield source.count("\n", 0, match.start()) + 1, match.group(1), match.group(2)


def layering(tree: Tree):
    """Who may include whom, and where each third-party header has its home."""
    folders = tuple(layer.split("/")[0] + "/" for layer in rules.LAYERS)
    for name in tree.cxx_files:
        layer = _layer(name)
        if layer is None:
            continue
        for line, quote, included in _includes(tree, name):
            project = quote == '"' and included.startswith((*folders, "version.h"))
            if project:
                allowed = ("base/", *rules.LAYERS[layer])
                # target/ is above its own parts; a part is named by the longest prefix.
                inner = _layer(included) or included
                ok = included.startswith("base/") or any(
                    included.startswith(prefix) and (prefix == "" or inner.startswith(prefix)) for prefix in allowed
                )
                if not ok:
                    names = ", ".join(sorted(set(allowed)))
                    yield Finding("layering", name, line, f'"{included}" is not for {layer}: it may include {names}')
            elif quote == '"':
                yield Finding("layering", name, line, f'"{included}": project headers are named from the root')
            if name.startswith("tests/") or project:
                continue
            yield from _third_party(name, line, included)


def _third_party(name: str, line: int, included: str):
    for header, homes in rules.THIRD_PARTY:
        if re.match(header, included) and not name.startswith(homes):
            where = ", ".join(homes) or "tests/"
            yield Finding("layering", name, line, f"<{included}> has its home in {where}")
    for header, denied in rules.THIRD_PARTY_DENIED:
        if re.match(header, included) and name.startswith(denied):
            yield Finding("layering", name, line, f"<{included}> is not for {', '.join(denied)}")
    if name.startswith(rules.PURE) and re.match(rules.IMPURE_HEADERS, included):
        yield Finding("layering", name, line, f"<{included}>: a pure core has no system calls, threads or clocks")


def file_size(tree: Tree):
    """Lines of a source file."""
    for name in [*tree.cxx_files, *tree.scripts]:
        lines = tree.text(name).count("\n")
        if lines > rules.LINES_OF_FILE_MAX:
            yield Finding("file_size", name, 1, f"{lines} lines; the limit is {rules.LINES_OF_FILE_MAX}")


def function_size(tree: Tree):
    """Lines of a function, in C++ and Python."""
    limit = rules.LINES_OF_FUNCTION_MAX
    for name in tree.cxx_files:
        for function in cxx.functions(tree.text(name)):
            if function.lines > limit:
                message = f"{function.name} has {function.lines} lines; the limit is {limit}"
                yield Finding("function_size", name, function.first_line, message, function.name)
    for name, language in tree.scripts.items():
        if language != "python":
            continue
        for node in ast.walk(ast.parse(tree.text(name), name)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > limit:
                    message = f"{node.name} has {lines} lines; the limit is {limit}"
                    yield Finding("function_size", name, node.lineno, message, node.name)


def banned(tree: Tree):
    """Names with a better replacement."""
    for pattern, folders, replacement in rules.BANNED:
        homes = rules.BANNED_HOMES.get(pattern, ())
        for name, source in tree.blanked.items():
            if not name.startswith(folders) or (homes and name.startswith(homes)):
                continue
            for match in re.finditer(pattern, source):
                line = source.count("\n", 0, match.start()) + 1
                word = match.group(0).rstrip("( ")
                yield Finding("banned", name, line, f"{word}: use {replacement}", word)


def leftovers(tree: Tree):
    """Marks of unfinished work."""
    for name in [*tree.cxx_files, *tree.scripts]:
        for number, line in enumerate(tree.text(name).split("\n"), 1):
            found = re.search(rules.LEFTOVERS, line)
            if found:
                yield Finding("leftovers", name, number, f"{found.group(0)}: finish it or file it")


def machine_paths(tree: Tree):
    """Paths of one machine."""
    for name in tree.files:
        for number, line in enumerate(tree.text(name).split("\n"), 1):
            found = re.search(rules.MACHINE_PATHS, line)
            if found:
                yield Finding("machine_paths", name, number, f"{found.group(0)}: a path of one machine")


def in_build(tree: Tree):
    """Every .cc is named in a meson.build of its folder or one above."""
    for name in tree.cxx_files:
        if not name.endswith(".cc"):
            continue
        path = pathlib.PurePosixPath(name)
        named = False
        for parent in path.parents:
            build = str(parent / "meson.build") if str(parent) != "." else "meson.build"
            if build in tree.files:
                relative = str(path.relative_to(parent))
                text = tree.text(build)
                named = named or f"'{relative}'" in text or f"'{path.stem}'" in text
        if not named:
            yield Finding("in_build", name, 1, "is in no meson.build")


def include_guard(tree: Tree):
    """Every header starts with a comment that says what it is for, and has #pragma once."""
    for name in tree.cxx_files:
        if name.endswith(".h"):
            text = tree.text(name)
            if "#pragma once" not in text:
                yield Finding("include_guard", name, 1, "has no #pragma once")
            if not text.startswith("//"):
                yield Finding("include_guard", name, 1, "does not start with a comment that says what it is for")


def cxx_format(tree: Tree):
    """clang-format has nothing to change."""
    tool = shutil.which("clang-format")
    if tool is None:
        yield Finding("cxx_format", "tools/install-deps", 1, "clang-format is not installed")
        return
    half = (len(tree.cxx_files) + 1) // 2
    parts = [part for part in (tree.cxx_files[:half], tree.cxx_files[half:]) if part]
    running = [
        subprocess.Popen([tool, "--dry-run", *part], cwd=tree.root, stderr=subprocess.PIPE, text=True)
        for part in parts
    ]
    seen = set()
    for process in running:
        _, output = process.communicate()
        for match in re.finditer(r"^([^:\n]+):(\d+):\d+: (?:warning|error):", output, re.MULTILINE):
            if match.group(1) not in seen:  # one a file is enough: one command mends all
                seen.add(match.group(1))
                yield Finding("cxx_format", match.group(1), int(match.group(2)), "run clang-format -i")


def scripts(tree: Tree):
    """Shell scripts parse, and stop at the first error."""
    for name, language in tree.scripts.items():
        if language != "shell":
            continue
        parsed = subprocess.run(["bash", "-n", name], cwd=tree.root, capture_output=True, text=True)
        if parsed.returncode:
            yield Finding("scripts", name, 1, parsed.stderr.strip())
        if not re.search(r"^set -[a-z]*e|^exec ", tree.text(name), re.MULTILINE):
            yield Finding("scripts", name, 1, "has no `set -e`")


CHECKS = {
    check.__name__: check
    for check in (
        layering, file_size, function_size, banned, leftovers, machine_paths, in_build, include_guard, cxx_format,
        scripts,
    )
}


def _exemptions(tree: Tree) -> list[Exemption]:
    """Lines `check path[:item] reason...`; # starts a comment."""
    name = "tests/tree/exemptions.txt"
    found = []
    if name not in tree.files:
        return found
    for number, line in enumerate(tree.text(name).split("\n"), 1):
        if not line.strip() or line.startswith("#"):
            continue
        words = line.split(None, 2)
        if len(words) < 3 or words[0] not in CHECKS:
            raise SystemExit(f"{name}:{number}: want: check path[:item] reason")
        path, _, item = words[1].partition(":")
        found.append(Exemption(number, words[0], path, item))
    return found


def run(root: pathlib.Path) -> list[Finding]:
    tree = Tree(root)
    exemptions = _exemptions(tree)
    kept = []
    for check in CHECKS.values():
        for finding in check(tree):
            matching = [
                e for e in exemptions
                if e.check == finding.check and e.path == finding.path and e.item in ("", finding.item)
            ]
            for exemption in matching:
                exemption.used = True
            if not matching:
                kept.append(finding)
    for exemption in exemptions:
        if not exemption.used:
            message = f"{exemption.check} finds nothing in {exemption.path} that needs an exemption"
            kept.append(Finding(exemption.check, "tests/tree/exemptions.txt", exemption.line, message))
    return kept
