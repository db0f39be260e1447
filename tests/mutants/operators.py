"""What is planted: a line changed as a slip would change it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

# What stands for what, in both languages; spaces tell operators from pointers and arguments.
_SWAPS = (
    (r" < ", " <= "),
    (r" <= ", " < "),
    (r" > ", " >= "),
    (r" >= ", " > "),
    (r" == ", " != "),
    (r" != ", " == "),
    (r" \+ ", " - "),
    (r" - ", " + "),
    (r" \+= ", " -= "),
    (r" << ", " >> "),
    (r" & ", " | "),
    (r" \| (?!None\b)", " & "),  # but for annotations, which mypy alone looks at
    (r"\b(?<!\.)0\b(?!x|\.)", "1"),
    (r"\b(?<!\.)1\b(?!\.)", "0"),
)
_OF_C = (
    (r" && ", " || "),
    (r" \|\| ", " && "),
    (r"\btrue\b", "false"),
    (r"\bfalse\b", "true"),
    (r"\bif \((?!!)", "if (!"),
    (r"\bif \(!", "if ("),
    (r"\buint32_t\)", "uint16_t)"),
)
_OF_PYTHON = (
    (r" and ", " or "),
    (r" or ", " and "),
    (r"\bTrue\b", "False"),
    (r"\bFalse\b", "True"),
    (r"\bif not ", "if "),
    (r"^(\s+)if (?!not )", r"\1if not "),
    (r"\bmin\(", "max("),
    (r"\bmax\(", "min("),
)
# A statement by itself, which may as well be missing.
_C_STATEMENT = re.compile(
    r"^\s+(?!return|break|continue|case|default|goto|struct|const|static)"
    r"(?:[a-z_][\w>.\-\[\]]* [+\-|&]?= .*|[a-z_]\w*\(.*\));$"
)
_PYTHON_STATEMENT = re.compile(r"^(\s+)(?:self\.[\w.]+ [+\-|]?= .*[^(\[{,]|[a-z_][\w.]*\(.*\))$")


@dataclass(frozen=True)
class Mutant:
    """One changed line of a file; `number` counts from 1."""

    path: str
    number: int
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.path}:{self.number}: {self.before.strip()}  ->  {self.after.strip() or ';'}"


def planted(mutant: Mutant, text: str) -> str:
    """Return a file's text with a mutant in it."""
    lines = text.split("\n")
    assert lines[mutant.number - 1] == mutant.before
    lines[mutant.number - 1] = mutant.after
    return "\n".join(lines)


def mutants(path: str, text: str) -> Iterator[Mutant]:
    """Yield every mutant of a file, of code alone."""
    python = path.endswith(".py")
    swaps = _SWAPS + (_OF_PYTHON if python else _OF_C)
    for number, line in _code(text, python):
        for pattern, replacement in swaps:
            for found in re.finditer(pattern, line):
                after = line[: found.start()] + found.expand(replacement) + line[found.end() :]
                if after != line and not _in_text(line, found.start(), python):
                    yield Mutant(path, number, line, after)
        if python and (statement := _PYTHON_STATEMENT.match(line)):
            yield Mutant(path, number, line, f"{statement[1]}pass")
        elif not python and _C_STATEMENT.match(line):
            yield Mutant(path, number, line, "")


def _code(text: str, python: bool) -> Iterator[tuple[int, str]]:
    """Yield the lines that do something; comments, docstrings and declarations do not."""
    within = False
    begin, end = ('"""', '"""') if python else ("/*", "*/")
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if within:
            within = end not in stripped
            continue
        if stripped.startswith(begin):
            within = end not in stripped[len(begin) :]
            continue
        # What an assertion demands is no behaviour.
        silent = (
            "assert",
            "#",
            "import ",
            "from ",
            "@",
            "class ",
            "def ",
            "_Static_assert",
            "enum",
            "*",
        )
        if stripped and line[0] in " \t" and not stripped.startswith(silent):
            yield number, line


def _in_text(line: str, at: int, python: bool) -> bool:
    """Whether a place of a line is in a string, or a comment behind the code."""
    before = line[:at]
    return before.count('"') % 2 == 1 or ("  #" if python else "/*") in before
