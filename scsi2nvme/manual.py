"""The manual's pages, from the verbs' records and the configuration's tables.

`python -m scsi2nvme.manual DIRECTORY`, as `make man` runs it, writes man8 and man5 below that.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from scsi2nvme import __version__
from scsi2nvme.__main__ import build_parser
from scsi2nvme.api.configuration import ConfigFile
from scsi2nvme.cli.verb import DAEMON_CONFIG, EXIT_STATUS, Verb
from scsi2nvme.cli.verbs import every_verb
from scsi2nvme.cli.verbs.serve import CONFIG_EXAMPLE

_TOML = "scsi2nvme.toml"
# Sections of a verb's epilog whose lines stay as they are.
_VERBATIM = ("configuration file", "examples")
# `  word      what it means`, and what goes on below that.
_ROW = re.compile(r" {2,}(\S+(?: \S+)*) {2,}(\S.*)")
_MORE = re.compile(r" {20,}(\S.*)")
_WORDS: dict[type, str] = {str: "string", int: "integer", bool: "boolean"}


# ---- roff ----


def escaped(text: str) -> str:
    """Return text as man(7) takes it: nothing of it is a request or an escape."""
    text = text.replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq")
    text = text.replace("`", r"\(ga").replace("…", "...")
    return rf"\&{text}" if text.startswith((".", r"\(aq")) else text


def prose(text: str) -> str:
    """Return text as man(7) takes it, what stands between backticks in bold."""
    parts = text.split("`")
    return "".join(
        rf"\fB{escaped(part)}\fR" if number % 2 else escaped(part)
        for number, part in enumerate(parts)
    )


def head(name: str, section: int) -> Iterator[str]:
    """Yield the title line; without a date, so that the same source makes the same page."""
    title = escaped(name.upper())
    yield f'.TH "{title}" "{section}" "" "scsi2nvme {escaped(__version__)}" "scsi2nvme"'


def paragraphs(text: str) -> Iterator[str]:
    """Yield paragraphs; indented ones stay as they are."""
    for block in text.split("\n\n"):
        if block.startswith("  "):
            yield from verbatim(block.split("\n"))
        else:
            yield ".PP"
            yield prose(" ".join(block.split()))


def verbatim(lines: list[str]) -> Iterator[str]:
    """Yield lines as they are, indented."""
    least = min(len(line) - len(line.lstrip()) for line in lines if line.strip())
    yield from (".PP", ".RS 4", ".EX")
    yield from (escaped(line[least:]) for line in lines)
    yield from (".EE", ".RE")


def rows(lines: list[str]) -> Iterator[str]:
    """Yield a section's lines: what is in two columns as terms, the rest as paragraphs."""
    for line in lines:
        if more := _MORE.fullmatch(line):
            yield prose(more[1])
        elif row := _ROW.fullmatch(line):
            yield from (".TP", rf"\fB{escaped(row[1])}\fR", prose(row[2]))
        else:
            yield from (".PP", prose(line.strip()))


def section(text: str) -> Iterator[str]:
    """Yield a paragraph of an epilog, `title:` and what is indented below it, as a section."""
    title, *lines = text.split("\n")
    name, _, note = title.rstrip(":").partition(" (")
    yield f".SH {escaped(name.upper())}"
    if name not in _VERBATIM:
        yield from rows(lines)
        return
    if note:
        yield prose(note.rstrip(")") + ":")
    inside = [line for line in lines if line.startswith("  ") or not line]
    yield from verbatim(inside)
    rest = [line for line in lines if line and not line.startswith("  ")]
    if rest:
        yield from paragraphs(" ".join(rest))


def see_also(*pages: tuple[str, int]) -> Iterator[str]:
    """Yield the last section."""
    yield ".SH SEE ALSO"
    refs = [f".BR {escaped(name)} ({number})" for name, number in pages]
    yield from (f"{ref} ," for ref in refs[:-1])
    yield refs[-1]


# ---- verbs ----


def argument(action: argparse.Action) -> str:
    """Return what stands behind an option, or in a positional argument's place."""
    if action.nargs == 0:
        return ""
    word = action.metavar if isinstance(action.metavar, str) else action.dest
    if action.metavar is None and action.choices is not None:
        word = "|".join(map(str, action.choices))
    return rf"\fI{escaped(word)}\fR"


def usage(actions: list[argparse.Action]) -> Iterator[str]:
    """Yield the synopsis, piece by piece."""
    for action in actions:
        if action.option_strings:
            name = rf"\fB{escaped(action.option_strings[-1])}\fR"
            more = " ..." if isinstance(action, argparse._AppendAction) else ""
            yield f"[{' '.join(filter(None, (name, argument(action))))}]{more}"
        else:
            one = argument(action)
            yield {"?": f"[{one}]", "*": f"[{one} ...]", "+": f"{one} ..."}.get(
                str(action.nargs), one
            )


def verb_page(verb: Verb) -> str:
    """Return the page of a verb."""
    parser = argparse.ArgumentParser(prog=f"scsi2nvme {verb.name}", add_help=False)
    verb.arguments(parser)
    actions = parser._actions
    epilog = [text if isinstance(text, str) else text() for text in verb.epilog]
    lines = [
        *head(f"scsi2nvme-{verb.name}", 8),
        ".SH NAME",
        rf"scsi2nvme\-{escaped(verb.name)} \- {escaped(verb.doc)}",
        ".SH SYNOPSIS",
        ".nh",
        f".HP\n.B scsi2nvme {escaped(verb.name)}",
        *usage(actions),
        ".hy",
        ".SH DESCRIPTION",
        *paragraphs(verb.description),
    ]
    if actions:
        lines.append(".SH OPTIONS")
    for action in actions:
        names = ", ".join(rf"\fB{escaped(name)}\fR" for name in action.option_strings)
        shown = " ".join(filter(None, (names, argument(action))))
        lines += [".TP", shown, prose(action.help or "")]
    for text in epilog:
        lines += section(text)
    lines += see_also(("scsi2nvme", 8), (_TOML, 5))
    return "\n".join(lines) + "\n"


def program_page() -> str:
    """Return the page of the program."""
    parser = build_parser()
    lines = [
        *head("scsi2nvme", 8),
        ".SH NAME",
        r"scsi2nvme \- publish NVMe disks as SCSI logical units",
        ".SH SYNOPSIS",
        r".B scsi2nvme",
        r"\fISUBCOMMAND\fR [\fIARGUMENT\fR ...]",
        ".br",
        r".B scsi2nvme",
        r"\fB\-\-version\fR | \fB\-\-help\fR",
        ".SH DESCRIPTION",
        prose(parser.description or ""),
        "Each subcommand has a page of its own.",
        ".SH SUBCOMMANDS",
    ]
    for verb in every_verb():
        lines += [".TP", rf".BR scsi2nvme\-{escaped(verb.name)} (8)", prose(verb.doc)]
    lines += section(EXIT_STATUS)
    lines += [
        *(".TP", r"\fB130\fR", "interrupted before it was done", ".SH FILES"),
        *(".TP", rf"\fI{DAEMON_CONFIG}\fR", "the configuration of \\fBscsi2nvme daemon\\fR"),
        *(".TP", r"\fI/var/lib/scsi2nvme\fR", "its state, and the control socket"),
        *see_also((_TOML, 5), ("targetcli", 8)),
    ]
    return "\n".join(lines) + "\n"


# ---- the configuration ----


def config_page() -> str:
    """Return the page of the configuration file."""
    lines = [
        *head(_TOML, 5),
        ".SH NAME",
        rf"{_TOML} \- what scsi2nvme is to serve",
        ".SH DESCRIPTION",
        *paragraphs(
            "A TOML file that `scsi2nvme serve --config` reads, and `scsi2nvme daemon`, by default "
            f"from `{DAEMON_CONFIG}`. What the command line says goes first. A key that is not "
            "listed here is refused. A file that holds secrets must not be open to other users.\n\n"
            "`scsi2nvme check --config` says whether it makes sense here."
        ),
        *(".SH KEYS", *keys(ConfigFile)),
    ]
    for field, kind, many in _tables(ConfigFile):
        lines += _table(field, kind, field.name, many=many)
        for inner, rows, _ in (each for each in _tables(kind) if each[2]):
            lines += _table(inner, rows, f"{field.name}.{inner.name}", many=True)
    lines += [".SH EXAMPLE", *verbatim(CONFIG_EXAMPLE.split("\n"))]
    lines += see_also(("scsi2nvme", 8), ("scsi2nvme-serve", 8), ("scsi2nvme-check", 8))
    return "\n".join(lines) + "\n"


def _table(field: Field[Any], kind: Any, name: str, *, many: bool) -> Iterator[str]:
    """Yield the section of a table."""
    yield f".SH {escaped(f'[[{name}]]' if many else f'[{name}]')}"
    yield prose(_doc(field)) + "."
    yield from keys(kind)


def keys(kind: Any) -> Iterator[str]:
    """Yield the keys of a table, but for those that have sections of their own."""
    hints = get_type_hints(kind)
    apart = {field.name for field, _, many in _tables(kind) if many or kind is ConfigFile}
    for field in fields(kind):
        if field.name in apart:
            continue
        needed = "; must be there" if field.default is MISSING else _default(field)
        yield ".TP"
        yield rf"\fB{escaped(field.name)}\fR = \fI{escaped(_type(hints[field.name]))}\fR"
        yield prose(f"{_doc(field)}{needed}.")


def _tables(kind: Any) -> Iterator[tuple[Field[Any], Any, bool]]:
    """Yield the fields that are tables, their dataclasses, and whether there may be several."""
    hints = get_type_hints(kind)
    for field in fields(kind):
        hint = hints[field.name]
        parts = [part for part in (hint, *get_args(hint)) if is_dataclass(part)]
        if parts:
            yield field, parts[0], get_origin(hint) is tuple


def _doc(field: Field[Any]) -> str:
    return str(field.metadata["doc"])


def _default(field: Field[Any]) -> str:
    if field.default is None or field.default in ("", ()):
        return ""
    value = str(field.default).lower() if isinstance(field.default, bool) else field.default
    return f" (default `{value}`)"


def _type(kind: Any) -> str:
    """Return what TOML calls a type."""
    parts = [part for part in get_args(kind) if part not in (NoneType, ...)]
    if get_origin(kind) is tuple:
        return f"array of {_type(parts[0])}s"
    if get_origin(kind) is Literal:
        return " | ".join(f'"{part}"' for part in parts)
    if parts:
        return _type(parts[0])
    return "table" if is_dataclass(kind) else _WORDS[kind]


def pages() -> dict[str, str]:
    """Return every page by its file."""
    verbs = {f"man8/scsi2nvme-{verb.name}.8": verb_page(verb) for verb in every_verb()}
    return {"man8/scsi2nvme.8": program_page(), **verbs, f"man5/{_TOML}.5": config_page()}


def main(directory: Path) -> None:
    """Write every page below `directory`."""
    for name, text in pages().items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
