"""What a device of the kernel's user backstore is told: its namespace, and the size of its ring.

Those who only create devices read no more than this of the front end.
"""

from __future__ import annotations

import errno
import os

from scsi2nvme.records import dataclass

HANDLER = "nvme"
CONFIG_BYTES = 255  # the kernel's limit
AREA_MB = 64  # of a ring that we create: 8 of the largest commands

USAGE = (
    "CONTROLLER/NSID: which controller of the daemon (its number, or its PCI address with _ "
    "for :) and which namespace, such as 0/1 or 0000_01_00.0/1"
)

NO_ANSWER = "nl_reply_supported=-1"


class ConfigError(Exception):
    """Why a configuration string or a device cannot be served; one line."""

    def __init__(self, reason: str, number: int = errno.EINVAL) -> None:
        super().__init__(reason)
        self.errno = number


@dataclass(frozen=True, slots=True)
class DeviceConfig:
    """A parsed configuration string."""

    controller: str
    nsid: int


def is_ours(config: str) -> bool:
    """Whether a device's configuration begins with our handler's name."""
    return config.partition("/")[0] == HANDLER


def parse_config(text: str) -> DeviceConfig:
    """Parse `nvme/CONTROLLER/NSID`; ConfigError says what is wrong with it."""
    if len(os.fsencode(text)) > CONFIG_BYTES:
        raise ConfigError(f"is longer than {CONFIG_BYTES} bytes")
    for character, word in ((":", "a colon"), (",", "a comma")):
        if character in text:
            raise ConfigError(f"{word} is not possible here; write a PCI address with _")
    handler, _, rest = text.partition("/")
    controller, slash, nsid = rest.partition("/")
    if handler != HANDLER:
        raise ConfigError(f"is not for the handler {HANDLER}")
    if not slash or not controller:
        raise ConfigError(f"is not {USAGE}")
    if not (nsid.isascii() and nsid.isdigit() and 0 < int(nsid) < 0xFFFFFFFF):
        raise ConfigError(f"namespace {nsid!r} is no number from 1 on")
    return DeviceConfig(controller, int(nsid))
