"""QEMU's monitor, with its events. Spec: QEMU docs/interop/qmp-spec."""

from __future__ import annotations

import json
import socket
from typing import Any


class MonitorError(Exception):
    """QEMU refused a command, or is gone."""


class Monitor:
    """A connection to the monitor, which it takes over. No answer within `timeout_s`: OSError."""

    def __init__(self, connection: socket.socket, timeout_s: float = 60) -> None:
        connection.settimeout(timeout_s)
        self._socket = connection
        self._stream = connection.makefile("rb")
        self._events: list[dict[str, Any]] = []
        self._ready = False

    def execute(self, command: str, **arguments: object) -> Any:
        """Run a command and return its value; MonitorError says what was wrong with it."""
        self._greet()
        request = {"execute": command, "arguments": arguments}
        self._socket.sendall(json.dumps(request).encode() + b"\n")
        while True:
            answer = self._receive()
            if "return" in answer:
                return answer["return"]
            if "error" in answer:
                raise MonitorError(f"{command}: {answer['error']['desc']}")
            self._events.append(answer)

    def human(self, line: str) -> str:
        """Run a command of the human monitor and return what it prints."""
        return str(self.execute("human-monitor-command", **{"command-line": line}))

    def wait(self, event: str, **data: object) -> None:
        """Wait for an event with this data, which may have come already; it counts once."""
        self._greet()
        while True:
            for answer in self._events:
                found = answer.get("data", {})
                if answer["event"] == event and data.items() <= found.items():
                    self._events.remove(answer)
                    return
            self._events.append(self._receive())

    def _greet(self) -> None:
        """Have it send events from the first use on."""
        if not self._ready:
            self._ready = "QMP" in self._receive()
            self.execute("qmp_capabilities")

    def forget(self, event: str) -> None:
        """Forget the events of this kind that have come."""
        self._events = [each for each in self._events if each["event"] != event]

    def _receive(self) -> dict[str, Any]:
        line = self._stream.readline()
        if not line:
            raise MonitorError("QEMU ended")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """Hang up."""
        self._stream.close()
        self._socket.close()
