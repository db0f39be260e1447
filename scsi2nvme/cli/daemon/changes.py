"""What is configured while the daemon runs, and its changes.

There is one way to change anything: the configuration as it is to be is checked as a whole and
compared with what runs (`cli.plan`), and the steps between them are taken, or undone where one
fails. Whether a verb changes one thing, or `reload` all that a file says, makes no difference.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from scsi2nvme.api import changing, configuration, log_level, methods
from scsi2nvme.api.configuration import ConfigFile, ControllerTable, LunTable, TargetTable
from scsi2nvme.api.method import Nothing
from scsi2nvme.background import Background
from scsi2nvme.cli import config, edits, plan
from scsi2nvme.cli.config import Settings, TargetSettings, plain
from scsi2nvme.cli.daemon import messages
from scsi2nvme.cli.daemon.control import Answers
from scsi2nvme.cli.daemon.metrics import Metrics
from scsi2nvme.cli.daemon.served_controllers import Controllers
from scsi2nvme.cli.errors import OperationError, UsageError
from scsi2nvme.cli.plan import Step
from scsi2nvme.cli.spec import parse
from scsi2nvme.native.transport import MAXIMUM_REACTORS
from scsi2nvme.records import dataclass

log = logging.getLogger(__name__)
P = TypeVar("P")
T = TypeVar("T")

_Refused = (OperationError, UsageError)


@dataclass(frozen=True, slots=True)
class Source:
    """The configuration file of the daemon, and what reads it again, command line and all."""

    path: Path
    read: Callable[[], Settings]


@dataclass(frozen=True, slots=True)
class _Act:
    """What is done for steps, and what undoes it."""

    do: Callable[[], Awaitable[object]]
    undo: Callable[[], Awaitable[object]]


class Changes:
    """Makes what runs what it is to be, one change at a time. `config` is what runs."""

    def __init__(
        self,
        settings: Settings,
        controllers: Controllers,
        metrics: Metrics,
        source: Source | None,
    ) -> None:
        self.config = plain(settings)
        self.settings = self._started = settings
        self._controllers = controllers
        self._metrics = metrics
        self._source = source
        self._changing = asyncio.Lock()
        self._background = Background()

    def go_on(self, stack: AsyncExitStack) -> None:
        """Take changes until `stack` ends."""
        stack.push_async_callback(self._background.cancel)

    def answer(self, answers: Answers) -> None:
        """Have the methods answered that tell what is configured, and change it."""
        answers.add(methods.ADD, self._add)
        answers.add(methods.REMOVE, self._remove)
        answers.add(log_level.LOG_LEVEL, self._log_level)
        answers.add(changing.ADD_TARGET, self._lines(self._with_target))
        answers.add(changing.REMOVE_TARGET, self._lines(edits.without_target))
        answers.add(changing.MAP, self._lines(self._with_lun))
        answers.add(changing.UNMAP, self._lines(edits.without_lun))
        answers.add(changing.ADD_PORTAL, self._lines(edits.with_portal))
        answers.add(changing.REMOVE_PORTAL, self._lines(edits.without_portal))
        answers.add(changing.ALLOW, self._lines(self._allowed))
        answers.add(changing.DENY, self._lines(self._denied))
        answers.add(changing.SET_SECRET, self._lines(edits.with_secret))
        answers.add(configuration.GET, self._get)
        answers.add(configuration.EXPORT, self._export)
        answers.add(configuration.DIFF, self._diff)
        answers.add(configuration.RELOAD, self._reload)

    # One change

    async def change(self, new: Callable[[ConfigFile], ConfigFile]) -> list[Step]:
        """Make what runs what `new` makes of it, all or nothing; return the steps taken.

        UsageError if that makes no sense, OperationError if it cannot be now.
        """
        return await self._whole(self._change(new))

    async def _change(self, new: Callable[[ConfigFile], ConfigFile]) -> list[Step]:
        async with self._changing:
            settings = self._checked(self._without_gone(new(self.config)))
            return await self._become(settings)

    def _without_gone(self, new: ConfigFile, going: int | None = None) -> ConfigFile:
        """Return what is to be configured without what initiators may use no more."""
        before = self.config, self._luns(self.config)
        return edits.without_gone(before, (new, self._luns(new, going)))

    def _checked(self, new: ConfigFile) -> Settings:
        """Return a configuration's settings; UsageError if they make no sense."""
        return config.settings(
            new,
            default_state_dir=self.settings.state_dir,
            maximum_reactors=MAXIMUM_REACTORS,
            serving=True,
        )

    async def _become(self, settings: Settings) -> list[Step]:
        steps = self._steps(settings)
        taken: list[_Act] = []
        try:
            for act in self._acts(steps, settings):
                await act.do()
                taken.append(act)
        except Exception as error:  # all or nothing also of what nobody expected
            await self._undo(taken, error)
            raise
        self.config, self.settings = plain(settings), settings
        return steps

    def _steps(self, settings: Settings) -> list[Step]:
        """Return the steps to what is to be; OperationError if one cannot be taken."""
        steps = plan.diff(self.config, plain(settings))
        fixed = [str(step.key[1]) for step in steps if not step.possible]
        if fixed:
            raise OperationError(
                f"{', '.join(fixed)}: cannot be changed while it serves; nothing was changed: "
                "restart the daemon for that"
            )
        if settings.portals and not self._started.portals:
            raise OperationError(
                "portals: the daemon was started without any; restart it for the first"
            )
        for row in _going_rows(steps):
            self._controllers.check_going(self._controllers.number_of(row))
        return steps

    async def _undo(self, taken: Sequence[_Act], reason: Exception) -> None:
        for act in reversed(taken):
            try:
                await act.undo()
            except Exception as error:
                told = "%s; and what was changed before could not be undone: %s"
                unexpected = None if isinstance(error, _Refused) else error
                log.error(told, reason, error, exc_info=unexpected)

    def _acts(self, steps: Sequence[Step], settings: Settings) -> list[_Act]:
        """Return what is to be done, in its order.

        A controller goes last, after nobody uses it any more, but one in whose place another comes.
        """
        about = [step for step in steps if step.subject == "controller"]
        come, replaced, gone = _coming_and_going(about)
        others = [step for step in about if None not in (step.before, step.after)]
        acts = [*map(self._going, replaced), *map(self._coming, come)]
        acts += map(self._describing, others)
        if len(about) < len(steps):
            acts.append(
                _Act(partial(self._configure, settings), partial(self._configure, self.settings))
            )
        return [*acts, *map(self._going, gone)]

    def _coming(self, step: Step) -> _Act:
        return _Act(partial(self._come, step.after), partial(self._go, step.after))

    def _going(self, step: Step) -> _Act:
        return _Act(partial(self._go, step.before), partial(self._come, step.before))

    def _describing(self, step: Step) -> _Act:
        return _Act(
            partial(self._describe, step.before, step.after),
            partial(self._describe, step.after, step.before),
        )

    async def _come(self, row: ControllerTable) -> None:
        await self._controllers.come(self._target(row))

    async def _go(self, row: ControllerTable) -> None:
        await self._controllers.go(self._controllers.number_of(row))

    async def _describe(self, row: ControllerTable, new: ControllerTable) -> None:
        await self._controllers.describe(self._controllers.number_of(row), new.alias)

    async def _configure(self, settings: Settings) -> None:
        await self._controllers.front_ends_follow(settings)
        try:
            await self._metrics.configure(settings.metrics)
        except OperationError:
            await self._controllers.front_ends_follow(self.settings)
            raise
        messages.set_level(settings.log_level)

    def _target(self, row: ControllerTable) -> TargetSettings:
        return TargetSettings(
            parse(row.spec), row.iqn or "", self.settings.base, row.alias, row.target
        )

    async def _whole(self, work: Coroutine[Any, Any, T]) -> T:
        """Do all of what is asked, also where who asked has gone meanwhile."""
        ended: list[T] = []
        failed: list[Exception] = []

        async def to_its_end() -> None:
            try:
                ended.append(await work)
            except Exception as error:  # told to who has asked
                failed.append(error)

        task = self._background.spawn(to_its_end())
        await asyncio.wait([task])
        if task.cancelled():
            raise OperationError("the daemon is ending")
        if failed:
            raise failed[0]
        return ended[0]

    # Controllers by name

    async def _add(self, new: methods.NewController) -> methods.Added:
        """Serve one more controller."""
        return await self._whole(self._added(new))

    async def _added(self, new: methods.NewController) -> methods.Added:
        async with self._changing:
            row = ControllerTable(new.spec, new.iqn, new.alias, new.target)
            rows = list(self.config.controllers)
            failed = self._controllers.failed_as(new.spec)
            if failed is not None:  # then it is as the configuration has it
                rows.remove(failed)
                row = replace(row, iqn=row.iqn or failed.iqn)
            known = self._luns(replace(self.config, controllers=tuple(rows)))
            settings = self._checked(replace(self.config, controllers=(*rows, row)))
            if new.target and new.iqn is not None and new.iqn.lower() in known:
                raise UsageError(f"target name {new.iqn.lower()!r}: is another target's")
            one = await self._controllers.come(settings.targets[-1])
            self.config, self.settings = plain(settings), settings
        portal = bool(settings.portals) and row.target and not one.rival
        return methods.Added(one.names[0], one.iqn if portal else "", tuple(one.units))

    async def _remove(self, which: methods.WhichController) -> None:
        """Serve a controller no more."""
        await self._whole(self._removed(which.controller))

    async def _removed(self, name: str) -> None:
        async with self._changing:
            number = self._controllers.number(name)
            row = self._controllers.targets[number].row
            before = self.settings
            rows = list(self.config.controllers)
            del rows[len(rows) - 1 - rows[::-1].index(row)]
            new = replace(self.config, controllers=tuple(rows))
            if row.spec not in {each.spec for each in rows}:
                new = edits.without_controller(new, row.spec)
            settings = self._checked(self._without_gone(new, number))
            self._controllers.check_going(number)
            await self._configure(settings)
            try:
                await self._controllers.go(number)
            except Exception:
                await self._configure(before)
                raise
            self.config, self.settings = plain(settings), settings

    # A thing at a time

    def _lines(
        self, edit: Callable[[ConfigFile, P], ConfigFile]
    ) -> Callable[[P], Awaitable[list[str]]]:
        """Return what answers a method by an edit of the configuration."""

        async def answer(given: P) -> list[str]:
            steps = await self.change(lambda now: edit(now, given))
            for step in steps:
                log.warning("by command: %s", step.line)
            return [step.line for step in steps]

        return answer

    def _with_target(self, now: ConfigFile, new: TargetTable) -> ConfigFile:
        return edits.with_target(now, replace(new, luns=tuple(map(self._lun, new.luns))))

    def _with_lun(self, now: ConfigFile, new: changing.NewLun) -> ConfigFile:
        lun = self._lun(LunTable(new.lun, new.controller, new.nsid))
        return edits.with_lun(now, new.target, lun)

    def _lun(self, new: LunTable) -> LunTable:
        """Return a LUN as the configuration has it: numbers do not last, SPECs do."""
        number = self._controllers.number(new.controller)
        spec = self._controllers.targets[number].spec.text
        one = next((each for each in self._controllers.served if each.number == number), None)
        if one is not None and new.nsid not in one.units:
            known = ", ".join(map(str, sorted(one.units))) or "none"
            raise OperationError(
                f"controller {spec!r}: there is no namespace {new.nsid}; there are: {known}"
            )
        return replace(new, controller=spec)

    def _allowed(self, now: ConfigFile, new: changing.Allowance) -> ConfigFile:
        self._check_target(new.target)
        complete = len(self._controllers.served) == len(now.controllers)
        return edits.allowed(now, new, self._luns(now), complete=complete)

    def _denied(self, now: ConfigFile, which: changing.Denial) -> ConfigFile:
        self._check_target(which.target)
        return edits.denied(now, which, [*self._luns(now)])

    def _check_target(self, name: str | None) -> None:
        known = self._luns(self.config)
        if name is not None and name.lower() not in known:
            raise UsageError(f"there is no target {name!r}; there are: {', '.join(known)}")

    def _luns(self, config: ConfigFile, going: int | None = None) -> dict[str, set[int]]:
        """Return the LUNs that there are by target, without those of a controller that is going."""
        own = {
            one.iqn: {nsid - 1 for nsid in one.controller.namespaces}
            for one in self._controllers.served
            if one.settings.own and not one.rival and one.number != going
        }
        named: dict[str, set[int]] = {
            row.iqn: set() for row in config.controllers if row.iqn and row.target
        }
        return named | own | {row.iqn: {lun.lun for lun in row.luns} for row in config.targets}

    # The whole

    async def _get(self, _: Nothing) -> ConfigFile:
        return plan.without_secrets(self.config)

    async def _export(self, _: Nothing) -> configuration.Saving:
        path = "" if self._source is None else str(self._source.path)
        return configuration.Saving(path, self.config)

    async def _diff(self, _: Nothing) -> list[str]:
        return [step.line for step in plan.diff(self.config, plain(self._read_again()))]

    async def _reload(self, how: configuration.HowToReload) -> list[str]:
        return [step.line for step in await self.reload(dry_run=how.dry_run)]

    async def reload(self, *, dry_run: bool = False) -> list[Step]:
        """Make what runs what the configuration file says; return the steps.

        `dry_run`: check only. Errors are those of `change`.
        """
        return await self._whole(self._reloaded(dry_run=dry_run))

    async def reload_whenever(self, told: asyncio.Event) -> None:
        """Reload each time that `told` is set; what is wrong is logged."""
        while True:
            await told.wait()
            told.clear()
            try:
                await self.reload()
            except _Refused as error:
                log.error("configuration not reloaded: %s", error)
            except Exception:  # the next signal counts all the same
                log.exception("configuration not reloaded")

    async def _reloaded(self, *, dry_run: bool) -> list[Step]:
        async with self._changing:
            settings = self._read_again()
            if dry_run:
                return await self._rehearsed(settings)
            steps = await self._become(settings)
        for step in steps:
            log.warning("configuration: %s", step.line)
        return steps

    async def _rehearsed(self, settings: Settings) -> list[Step]:
        """Return the steps to what is to be; errors are those of taking them."""
        steps = self._steps(settings)
        come, replaced, _ = _coming_and_going(steps)
        rows: list[ControllerTable] = [step.before for step in replaced]
        await self._controllers.rehearsal.play(
            [self._target(step.after) for step in come],
            {self._controllers.number_of(row) for row in rows},
            settings,
        )
        self._metrics.check(settings.metrics)
        return steps

    def _read_again(self) -> Settings:
        if self._source is None:
            raise OperationError(
                "there is no configuration file to read: the daemon was started without --config"
            )
        if not self._source.path.is_file():  # a pipe may keep us waiting for good
            raise UsageError(f"configuration {self._source.path}: is no regular file any more")
        return self._source.read()

    async def _log_level(self, new: log_level.NewLevel) -> log_level.Level:
        if new.level is not None:
            level = new.level
            await self.change(lambda now: replace(now, log_level=level))
        return log_level.Level(messages.level())


def _going_rows(steps: Sequence[Step]) -> list[ControllerTable]:
    """Return the controllers that go, by their rows."""
    return [step.before for step in steps if step.subject == "controller" and step.after is None]


def _coming_and_going(steps: Sequence[Step]) -> tuple[list[Step], list[Step], list[Step]]:
    """Return controllers that come, that go as others come in their place, and others that go."""
    about = [step for step in steps if step.subject == "controller"]
    come = [step for step in about if step.before is None]
    claimed = {claim for step in come for claim in _claims(step.after)}
    replaced = [step for step in about if step.after is None and claimed & _claims(step.before)]
    gone = [step for step in about if step.after is None and step not in replaced]
    return come, replaced, gone


def _claims(row: ControllerTable) -> set[str]:
    """Return what only one controller at a time can have: where it is, and its target's name."""
    spec = parse(row.spec)
    return {claim for claim in (spec.place, row.iqn) if claim}
