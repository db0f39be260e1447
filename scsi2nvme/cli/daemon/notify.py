"""Telling the service manager. Spec: sd_notify(3)."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable

STATUS_S = 30.0  # between words on what it does, at most

log = logging.getLogger(__name__)


def managed() -> bool:
    """Whether a service manager has started us, and wants to be told."""
    return bool(os.environ.get("NOTIFY_SOCKET"))


def notify(state: str, wait_s: float = 0) -> bool:
    """Send `state` (such as `READY=1`) to the service manager, if there is one; whether it was.

    Its socket is every service's: where it is full this waits for `wait_s` at most, and all else
    with it.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.settimeout(wait_s)
        try:
            sender.sendto(state.encode(), "\0" + address[1:] if address[0] == "@" else address)
        except OSError as error:
            why = error.strerror or error
            log.warning("the service manager at NOTIFY_SOCKET, %s: %s", address, why)
            return False
    return True


async def keep_telling(status: Callable[[], str]) -> None:
    """Tell the service manager, again and again, that this loop goes on, and what it does.

    As often as its watchdog wants, or now and then. Spec: sd_watchdog_enabled(3).
    """
    if not managed():
        return
    usec = os.environ.get("WATCHDOG_USEC", "")
    ours = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    watched = ours and usec.isascii() and usec.isdigit() and int(usec) > 0
    every_s = int(usec) / 1e6 / 3 if watched else STATUS_S
    while True:
        words = ["WATCHDOG=1"] * watched + _words(status)
        if not notify("\n".join(words)) and not watched:
            return
        await asyncio.sleep(min(every_s, STATUS_S))


def _words(status: Callable[[], str]) -> list[str]:
    """Return what is told of a state; nothing where that goes wrong, which ends nothing else."""
    try:
        return [f"STATUS={status()}"]
    except Exception:
        log.exception("the service manager is not told what is served")
        return []
