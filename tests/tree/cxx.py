"""Just enough of C++ to find includes and function bodies: comments and literals blanked, braces matched."""

import re
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""//[^\n]*|/\*.*?\*/|R"(?P<d>[^()\\ ]{0,16})\(.*?\)(?P=d)"|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])+'""",
    re.DOTALL,
)


def blank(text: str, keep_strings: bool = False) -> str:
    """The text with comments (and the insides of literals) replaced by spaces; line numbers stay."""

    def replace(match: re.Match) -> str:
        found = match.group(0)
        if found[0] == "'" and match.start() and text[match.start() - 1].isalnum():
            return found  # a digit separator: 0x0400'0000
        if keep_strings and found[0] not in "/":
            return found
        return re.sub(r"[^\n]", " ", found)

    return _TOKEN.sub(replace, text)


@dataclass
class Function:
    name: str
    first_line: int
    last_line: int

    @property
    def lines(self) -> int:
        return self.last_line - self.first_line + 1


_SCOPE = re.compile(r"\b(?:namespace|class|struct|union|enum|extern|concept|requires)\b")
_INITIALISER = re.compile(r"\)\s*(?:noexcept\s*(?:\([^)]*\))?\s*)?:(?!:).*[\w>]\s*$", re.DOTALL)
_TRAILER = re.compile(r"\b(?:const|noexcept|override|final|mutable|try|else|do)\s*$")


def _kind(head: str, inside: str) -> str:
    if inside in ("function", "block", "value"):
        return "block" if inside != "value" else "value"
    head = head.strip()
    if _INITIALISER.search(head) and not _TRAILER.search(head):
        return "member"  # Foo() : a_{1} ...
    before_paren = head.split("(", 1)[0]
    if _SCOPE.search(before_paren) and not re.search(r"\)\s*(?:const|noexcept|override|final|&)*\s*$", head):
        return "scope"
    if "=" in re.sub(r"operator\s*[=!<>+\-*/|&^%]*=", "", before_paren):
        return "value"
    if "(" in head:
        return "function"
    return "value"


def _name(head: str) -> str:
    test = re.search(r"\b(TEST(?:_[FP])?)\s*\(\s*(\w+)\s*,\s*(\w+)", head)
    if test:
        return f"{test.group(2)}.{test.group(3)}"
    found = re.search(r"([~\w:]+|operator\s*\S+?)\s*\(", head)
    return found.group(1) if found else "?"


def functions(text: str) -> list[Function]:
    """The function bodies at namespace and class level, from the line of the name to the closing brace."""
    source = re.sub(r"^[ \t]*#(?:[^\n\\]|\\.|\\\n)*", lambda m: re.sub(r"[^\n]", " ", m.group(0)), blank(text),
                    flags=re.MULTILINE)
    found: list[Function] = []
    stack: list[tuple[str, str, int]] = []
    head_start, paren, line = 0, 0, 1
    for position, character in enumerate(source):
        if character == "\n":
            line += 1
        elif character == "(":
            paren += 1
        elif character == ")":
            paren = max(0, paren - 1)
        elif character == "{" and (paren == 0 or (stack and stack[-1][0] in ("function", "block"))):
            head = source[head_start:position]
            kind = _kind(head, stack[-1][0] if stack else "scope")
            start = line - head.lstrip().count("\n")
            stack.append((kind, head, start))
            if kind != "member":
                head_start = position + 1
        elif character == "}" and stack and (paren == 0 or stack[-1][0] in ("function", "block")):
            kind, head, start = stack.pop()
            if kind == "function":
                found.append(Function(_name(head), start, line))
            if kind != "member":
                head_start = position + 1
        elif character == ";" and paren == 0:
            head_start = position + 1
        elif character == ":" and source[head_start:position].strip() in ("public", "private", "protected"):
            head_start = position + 1
    return found
