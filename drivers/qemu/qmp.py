"""QEMU's monitor: one request at a time. Spec: QEMU docs/interop/qmp-spec."""

from __future__ import annotations

import json
import socket

from scsi2nvme.drivers.transport import TransportError


class Monitor:
    """A connection to the monitor, which it takes over."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._stream = connection.makefile("rb")
        self._ready = False

    def execute(self, command: str, **arguments: object) -> object:
        """Run a command and return its value; TransportError says what went wrong."""
        if not self._ready:
            self._receive()  # the greeting
            self._ready = True
            self.execute("qmp_capabilities")
        request = {"execute": command, "arguments": arguments}
        try:
            self._socket.sendall(json.dumps(request).encode() + b"\n")
        except OSError as error:
            raise TransportError(f"QEMU monitor: {error}") from error
        while True:
            answer = self._receive()
            if "return" in answer:
                return answer["return"]
            if "error" in answer:
                raise TransportError(f"QEMU {command}: {answer['error']}")

    def human(self, line: str) -> str:
        """Run a command of the human monitor and return what it prints."""
        return str(self.execute("human-monitor-command", **{"command-line": line}))

    def _receive(self) -> dict[str, object]:
        line = self._stream.readline()
        if not line:
            raise TransportError("QEMU monitor: QEMU ended")
        answer = json.loads(line)
        assert isinstance(answer, dict)
        return answer

    def close(self) -> None:
        """Hang up."""
        self._stream.close()
        self._socket.close()
