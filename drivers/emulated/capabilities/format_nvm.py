"""Format NVM, which takes its time. Spec: NVMe Base 2.0c 5.14."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import Future, ThreadPoolExecutor

from scsi2nvme.drivers.emulated.capabilities.self_test import SelfTest
from scsi2nvme.drivers.emulated.capabilities.subsystem import CONTROLLER
from scsi2nvme.drivers.emulated.capability import (
    AdminCommand,
    Capability,
    Controller,
    Done,
    Fields,
    Part,
)
from scsi2nvme.drivers.emulated.image import NamespaceState
from scsi2nvme.drivers.emulated.lba_formats import NO_METADATA
from scsi2nvme.drivers.emulated.model import LBCC, NCC, CommandFailed, invalid_field
from scsi2nvme.drivers.scheme import Option, parse_switch
from scsi2nvme.fields import Values
from scsi2nvme.nvme.command import AdminOpcode
from scsi2nvme.nvme.persistent_events import FORMAT_COMPLETION, FORMAT_START, EventKind
from scsi2nvme.nvme.status import StatusCode

_log = logging.getLogger(__name__)

_STEPS = 20
_SECONDS = "format_s"  # how long it takes at least
_OACS_FORMAT_NVM = 1 << 1
_SAME_NAMESPACE = 1 << 16  # CSE: nothing else may run on the namespace
_PROGRESS_IS_TOLD = 1 << 7  # FPI
_FNA_ERASES_KEYS = 1 << 2
_MSET, _PI_AT, _DPS = 1 << 4, 5, 0xF  # of CDW10: metadata behind blocks; PI and PIL, as DPS

CRYPTO_FORMAT = Option(
    "crypto_format",
    "on|off",
    "whether a format may erase by the encryption key (emulated only; default off)",
    parse_switch,
    79,
    "crypto_format",
    subject="a choice of how formats erase",
)


class Formatter(Part):
    """Erases in a thread of its own."""

    def __init__(self, controller: Controller) -> None:
        self._model = controller.model
        self._seconds: float = controller.settings[_SECONDS]
        self._erases_keys: bool = controller.settings[CRYPTO_FORMAT.keyword]
        self._thread = ThreadPoolExecutor(1, "s2n-format")
        self._timer: asyncio.TimerHandle | None = None
        self._becoming = NO_METADATA
        self._closed = False

    def start(self, command: Values, done: Done) -> None:
        """Begin; `done` is called with the command's status when all is formatted."""
        model, cdw10 = self._model, command.cdw10
        namespaces = model.selected(command.nsid)
        lbaf = cdw10 & 0xF | cdw10 >> 8 & 0x30
        chosen = model.formats.chosen(
            lbaf, extended=bool(cdw10 & _MSET), protection=cdw10 >> _PI_AT & _DPS
        )
        if chosen is None:
            raise CommandFailed(StatusCode.INVALID_FORMAT, 40)
        if cdw10 >> 9 & 7 > 1 + self._erases_keys:
            raise invalid_field(41, 1)
        if any(namespace.write_protect for namespace in namespaces):
            raise CommandFailed(StatusCode.NAMESPACE_WRITE_PROTECTED)
        if any(namespace.formatting is not None for namespace in model.state.namespaces):
            raise CommandFailed(StatusCode.FORMAT_IN_PROGRESS, dnr=False)
        for namespace in namespaces:
            namespace.formatting = lbaf
            model.remaining[namespace.nsid] = 100
            model.attach(namespace)
        model.save()
        for namespace in namespaces:
            started = FORMAT_START.build(nsid=namespace.nsid, format_nvm_cdw10=cdw10)
            model.record(EventKind.FORMAT_START, started)
        loop = asyncio.get_running_loop()
        erased = self._thread.submit(self._erase, [namespace.nsid for namespace in namespaces])
        self._becoming = chosen[1]
        self._advance(loop, namespaces, erased, 0, done)

    def _erase(self, nsids: list[int]) -> None:
        for nsid in nsids:
            self._model.emulator.erase(nsid)

    def _advance(
        self,
        loop: asyncio.AbstractEventLoop,
        namespaces: list[NamespaceState],
        erased: Future[None],
        step: int,
        done: Done,
    ) -> None:
        """Make progress visible; end once time and erasure are over."""
        if step < _STEPS:
            for namespace in namespaces:
                self._model.remaining[namespace.nsid] = 100 - 100 * step // _STEPS
            self._timer = loop.call_later(
                self._seconds / _STEPS, self._advance, loop, namespaces, erased, step + 1, done
            )
        else:
            erased.add_done_callback(
                lambda _: loop.call_soon_threadsafe(self._end, namespaces, erased, done)
            )

    def _end(self, namespaces: list[NamespaceState], erased: Future[None], done: Done) -> None:
        if self._closed:
            return
        error = erased.exception()
        if error is not None:
            _log.error("Format NVM: %s", error)
        for namespace in namespaces:
            metadata = self._becoming if error is None else self._model.metadata_of(namespace)
            if error is not None:  # it stays as it was
                namespace.formatting = self._model.formats.index(namespace.block_bytes, metadata)
            self._model.end_format(namespace, metadata)
            self._model.namespace_changed(namespace)
        saved = self._model.try_save()
        status = saved if error is None else StatusCode.INTERNAL_ERROR
        for namespace in namespaces:
            ended = FORMAT_COMPLETION.build(nsid=namespace.nsid, status_field=status)
            self._model.record(EventKind.FORMAT_COMPLETION, ended)
        done(status)

    def close(self) -> None:
        """See Part: what was not finished is, when the image is next opened."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._thread.shutdown(wait=True)


def _format_nvm(controller: Controller, command: Values) -> None:
    controller.part(Formatter).start(command, controller.later(command))
    if (test := controller.part_if_any(SelfTest)) is not None:
        test.formatted()


def _namespace(controller: Controller, namespace: NamespaceState) -> Fields:
    """Return what remains to be formatted, in percent."""
    return {"fpi": _PROGRESS_IS_TOLD | controller.model.remaining.get(namespace.nsid, 0)}


def _controller(controller: Controller) -> Fields:
    erases_keys = _FNA_ERASES_KEYS if controller.settings[CRYPTO_FORMAT.keyword] else 0
    return {"oacs": _OACS_FORMAT_NVM, "fna": erases_keys}


CAPABILITY = Capability(
    "Format NVM",
    commands=(AdminCommand(AdminOpcode.FORMAT_NVM, _format_nvm, LBCC | NCC | _SAME_NAMESPACE),),
    controller=_controller,
    any_namespace=_namespace,
    options=(CRYPTO_FORMAT,),
    settings={_SECONDS: 0.0, CRYPTO_FORMAT.keyword: False},
    start=Formatter,
    offered=lambda settings: not settings[CONTROLLER.keyword],  # of one alone
    lackable="format",
)
