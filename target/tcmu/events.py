"""The kernel's user backstore asks, and the front end answers: one event after the other."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from scsi2nvme.background import Background
from scsi2nvme.kernel_module import USER_BACKSTORE
from scsi2nvme.target.tcmu.front_end import TcmuFrontEnd
from scsi2nvme.target.tcmu.netlink import DeviceEvent, NetlinkError, TcmuNetlink, is_missing
from scsi2nvme.target.tcmu.uio import Kernel

log = logging.getLogger(__name__)


class TcmuUnavailable(Exception):
    """Why the kernel's user backstore cannot be served; one line."""


@contextmanager
def _explained() -> Iterator[None]:
    """Say what to do about what the kernel refuses."""
    try:
        yield
    except PermissionError as error:
        raise TcmuUnavailable(f"the kernel's user backstore: {error}; run as root") from error
    except FileNotFoundError as error:
        raise TcmuUnavailable(
            f"the kernel's user backstore is not loaded; run: {USER_BACKSTORE.load}"
        ) from error
    except BlockingIOError as error:
        raise TcmuUnavailable(
            "the kernel's user backstore is served by another scsi2nvme; stop that first"
        ) from error
    except (OSError, NetlinkError) as error:
        hint = f"; run: {USER_BACKSTORE.load}"
        missing = isinstance(error, OSError) and is_missing(error)
        raise TcmuUnavailable(
            f"the kernel's user backstore: {error}{hint if missing else ''}"
        ) from error


def claim(kernel: Kernel | None = None) -> Callable[[], None]:
    """Keep every other scsi2nvme from serving the kernel until what is returned is called.

    TcmuUnavailable if one does so already.
    """
    with _explained():
        return partial(os.close, (kernel or Kernel()).claim())


class TcmuEvents:
    """Listens to the kernel for a front end, from `start` to `stop`."""

    def __init__(self, front_end: TcmuFrontEnd, kernel: Kernel | None = None) -> None:
        self._front_end = front_end
        self._kernel = kernel if kernel is not None else Kernel()
        self._netlink: TcmuNetlink | None = None
        self._queue: asyncio.Queue[DeviceEvent | None] = asyncio.Queue()
        self._background = Background()

    async def start(self) -> None:
        """Serve the devices that are there and that come; TcmuUnavailable if that cannot be.

        Beside another daemon, what it has set up in the kernel stays so.
        """
        guest = self._front_end.guest()
        with _explained():
            if not guest:
                # Whoever waits for a daemon that is gone waits in vain, and cannot be killed.
                self._kernel.block_netlink(blocked=True)
                self._kernel.reset_netlink()
            self._netlink = TcmuNetlink()
            if not guest:
                self._netlink.set_features(answers=True)
        await self._front_end.recover()
        asyncio.get_running_loop().add_reader(self._netlink.fileno(), self._receive, self._netlink)
        self._background.spawn(self._work(self._netlink))
        if not guest:
            self._kernel.block_netlink(blocked=False)

    def _receive(self, netlink: TcmuNetlink) -> None:
        try:
            for event in netlink.events():
                self._queue.put_nowait(event)
        except NetlinkError as error:
            log.error("netlink: %s", error)
        except OSError as error:
            log.error("netlink: %s", error)
            if error.errno == errno.ENOBUFS:  # some events are lost: look what there is
                self._queue.put_nowait(None)

    async def _work(self, netlink: TcmuNetlink) -> None:
        while True:
            event = await self._queue.get()
            if event is None:
                await self._front_end.recover()
            else:
                await self._front_end.handle(event, netlink)

    async def stop(self) -> None:
        """Leave the devices in order; from then on the kernel waits for no answers of ours."""
        if self._netlink is None:
            return
        await self._front_end.stop()
        asyncio.get_running_loop().remove_reader(self._netlink.fileno())
        await self._background.cancel()
        with self._netlink as netlink:
            if not self._front_end.guest():
                netlink.set_features(answers=False)
