"""A session with the tree: configshell's shell over the kinds of nodes that there are.

It is given no directory of preferences: these, and history, would be files in the user's home,
and among what is typed may be secrets.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from inspect import Parameter as Argument
from inspect import Signature
from pathlib import Path
from types import MethodType
from typing import Any, TextIO

from configshell_fb import ConfigNode, ConfigShell, Console, ExecutionError
from pyparsing import ParseException

from scsi2nvme.cli import confirming
from scsi2nvme.cli.errors import OperationError, UsageError
from scsi2nvme.cli.printed import Obeyed, Printed
from scsi2nvme.cli.verbs.shell.kind import Command, Kind, Place, View
from scsi2nvme.cli.verbs.shell.tree import ROOT
from scsi2nvme.printable import printable

_TYPED = Argument.POSITIONAL_OR_KEYWORD


class Node(ConfigNode):  # type: ignore[misc]
    """A node of some kind. configshell finds its commands by the names of its methods."""

    def __init__(
        self, kind: Kind, name: str, parent: Node | None = None, shell: Session | None = None
    ) -> None:
        super().__init__(name, parent, shell)
        self.kind = kind
        self._place = Place(View(Path()))

    def show(self, place: Place) -> None:
        """Become what the daemon says now, with all below."""
        self._place = place
        for command in self.kind.commands:
            setattr(self, f"ui_command_{command.name}", MethodType(_method(command, place), self))
            complete = MethodType(_completion(command, place), self)
            setattr(self, f"ui_complete_{command.name}", complete)
        there: dict[str, Node] = {each.name: each for each in self.children}
        wanted = self.kind.children(place)
        for name, node in there.items():
            if name not in wanted:
                self.remove_child(node)
        for name, (kind, about) in wanted.items():
            node = there.get(name) or Node(kind, name, self)
            node.show(Place(place.view, about))

    def summary(self) -> tuple[str, bool | None]:
        """Return what the line of `ls` says, and whether that is good."""
        try:
            words, good = self.kind.summary(self._place)
        except (OperationError, UsageError) as error:
            words, good = str(error), False
        return printable(words), good

    def ui_command_cd(self, path: str | None = None) -> Any:
        """
        Go to a node; without a path, choose it on the screen.
        """
        if path is None and not confirming.somebody_is_there():
            raise ExecutionError("cd: say where to; only a terminal has a menu")
        return super().ui_command_cd(path)


def _method(command: Command, place: Place) -> Callable[..., None]:
    """Return a command as configshell wants one: its parameters are those of its signature."""
    parameters = command.parameters(place.about)
    required = [Argument(name, _TYPED) for name, each in parameters.items() if each.required]
    optional = [
        Argument(name, _TYPED, default=None)
        for name, each in parameters.items()
        if not each.required
    ]
    signature = Signature([Argument("self", _TYPED), *required, *optional])

    def run(node: Node, *words: str, **named: str) -> None:
        typed = signature.bind(node, *words, **named).arguments
        values = {name: parameters[name].value(typed[name]) for name in parameters if name in typed}
        given = dict(command.given(place.about)) | values
        if command.question and not given.get("dry_run"):
            node.shell.confirm(
                f"{command.name}: {command.question.format(**given, node=node.name)}"
            )
        params = command.method.params(**given)
        answer = command.perform(place.view.state_dir, command.method, params)
        for line in command.lines(answer):
            print(line, flush=True)  # also where one comes now and then

    run.__signature__ = signature  # type: ignore[attr-defined]
    doc = command.method.doc
    lines = [f"{doc[0].upper()}{doc[1:]}."]
    for name, each in parameters.items():
        lines.append(f"\n{name}: {each.field.metadata.get('doc', '')}")
    run.__doc__ = "\n".join(lines) + "\n"  # `help` writes it as it is, and the prompt behind
    return run


def _completion(command: Command, place: Place) -> Callable[..., list[str]]:
    def complete(node: Node, parameters: Any, text: str, current_param: str) -> list[str]:
        found = [
            each
            for each in command.completions(place, current_param)
            if each.startswith(text) and each.isprintable()  # a terminal obeys the others
        ]
        # A blank ends what is complete; a SPEC's beginning is not.
        return [f"{found[0]} "] if len(found) == 1 and found[0][-1:] != ":" else found

    return complete


class Screen(Console):  # type: ignore[misc]
    """A console that writes all to its one stream.

    configshell's own writes some to what standard output was when it was imported, and what a
    terminal obeys is not let through there: that would not be asked where its cursor is.
    """

    def raw_write(self, text: str, output: Any = None) -> None:
        """Write text as it is."""
        super().raw_write(text, self._stdout if output is None else output)


class Session(ConfigShell):  # type: ignore[misc]
    """A shell over the daemon of a state directory. Each line sees the daemon as it is then."""

    _current_node: Node

    def __init__(self, state_dir: Path, *, yes: bool = False) -> None:
        super().__init__()
        self.con = Screen(sys.stdin, _colourful(sys.stdout), _colourful(sys.stderr))
        self._state_dir = state_dir
        self._yes = yes
        self._prompting = False
        self.prefs["color_mode"] = confirming.somebody_is_there()
        # As configshell's, which looks for its caller in all sources of all frames each time, but
        # for that: half of what a line costs, for what nobody is shown by default.
        self.log.debug = partial(self.log._log, "debug")
        self._root = Node(ROOT, "/", shell=self)
        self.look()

    def at(self, path: str) -> Node:
        """Return the node of a path, from where one is; ValueError if there is none."""
        node: Node = self._current_node.get_node(path)
        return node

    def look(self) -> None:
        """Have the tree be what the daemon says now; who is where nothing is any more goes up."""
        where = self._current_node.path.strip("/").split("/")
        self._root.show(Place(View(self._state_dir)))
        node = self._root
        for name in where:
            there = {each.name: each for each in node.children}
            if name not in there:
                break
            node = there[name]
        self._current_node = node

    def run_cmdline(self, cmdline: str) -> None:
        """Run a line; OperationError or UsageError if it fails, which a prompt only tells."""
        try:
            self._do(cmdline)
        except (OperationError, UsageError) as error:
            if not self._prompting:
                raise
            print(error, file=sys.stderr)

    def _do(self, line: str) -> None:
        try:
            self._parser.parse_string(line, parse_all=True)  # configshell leaves out what is wrong
            self.look()
            super().run_cmdline(line)
            self.look()  # lest the prompt names what is gone
        except ParseException as error:
            raise UsageError(f"{line!r} makes no sense from {line[error.loc :]!r} on") from None
        except ExecutionError as error:
            raise OperationError(self._with_what_there_is(str(error), line)) from None

    def _with_what_there_is(self, error: str, line: str) -> str:
        """Return why a line failed, with what could have been typed instead."""
        first, _, _ = line.strip().partition(" ")
        if error.startswith("Command not found"):
            node = self._nearest(first) if first.startswith(("/", ".")) else self._current_node
            names = ", ".join(command.name for command in node.kind.commands)
            return f"{error}; {node.path} has {names or 'none'} beside ls, cd, help and exit"
        if error.startswith("No such path"):
            node = self._nearest(error.removeprefix("No such path").strip())
            names = ", ".join(sorted(each.name for each in node.children))
            return f"{error}; {node.path} has {names or 'nothing'}"
        return error

    def _nearest(self, path: str) -> Node:
        """Return the node of a path, or the last one on the way there."""
        node = self._root if path.startswith("/") else self._current_node
        for name in path.strip("/").split("/"):
            there = {".": node, "..": node.parent, **{each.name: each for each in node.children}}
            if there.get(name) is None:
                break
            node = there[name]
        return node

    def _complete(self, text: str, state: int) -> str | None:
        """Complete what is typed, by the daemon as it is now; in vain if it cannot be asked."""
        try:
            if state == 0:
                self.look()
            found: str | None = super()._complete(text, state)
        except (OperationError, UsageError, ParseException, ValueError):
            return None
        return found

    def confirm(self, what: str) -> None:
        """Return if that may be done; OperationError if not."""
        if self._yes:
            return
        if not confirming.somebody_is_there():
            raise OperationError(f"{what}; give --yes if that is meant")
        confirming.ask(what)

    def prompt(self) -> None:
        """Take commands from a terminal until it is told to exit."""
        self._prompting = True
        self.run_interactive()

    def script(self) -> None:
        """Take commands from standard input until one fails; OperationError names its line."""
        for number, line in enumerate(sys.stdin, 1):
            if (words := line.strip()) and not words.startswith("#"):
                try:
                    self.run_cmdline(words)
                except (OperationError, UsageError) as error:
                    raise type(error)(f"line {number}: {error}") from None
            if self._exit:
                break


def _colourful(stream: TextIO) -> Any:
    """Return a stream that takes configshell's colours; names in the tree are printable."""
    return Obeyed(stream.plain) if isinstance(stream, Printed) else stream


def run(state_dir: Path, line: str, *, yes: bool) -> None:
    """Do a line, or what standard input says."""
    session = Session(state_dir, yes=yes)
    if line:
        session.run_cmdline(line)
    elif sys.stdin.isatty():
        session.prompt()
    else:
        session.script()
