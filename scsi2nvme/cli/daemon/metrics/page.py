"""The status page, and what it shows as JSON: for looking only, with nothing of others' sites."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable
from http import HTTPStatus
from importlib.resources import files
from ipaddress import ip_address
from typing import Any

from scsi2nvme.cli.daemon.metrics.server import Application, StartResponse

log = logging.getLogger(__name__)

_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; frame-ancestors 'none'"
)
_HEADERS = [
    ("Content-Security-Policy", _POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("Cache-Control", "no-store"),
]


def site(metrics: Application, status: Callable[[], dict[str, Any]]) -> Application:
    """Return what serves the page at /, its data at /status.json, and metrics at /metrics."""
    page = files(__package__).joinpath("page.html").read_bytes()

    def serve(environ: dict[str, Any], start: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/metrics":
            return metrics(environ, start)
        if not _is_address(environ.get("HTTP_HOST", "localhost")):
            # A name may be another site's, which has a browser ask us in its stead.
            return _answer(start, HTTPStatus.FORBIDDEN, "text/plain", b"Ask by address.\n")
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return _answer(start, HTTPStatus.METHOD_NOT_ALLOWED, "text/plain", b"Only look.\n")
        match environ["PATH_INFO"]:
            case "/":
                return _answer(start, HTTPStatus.OK, "text/html; charset=utf-8", page)
            case "/status.json":
                told = json.dumps(status()).encode()
                return _answer(start, HTTPStatus.OK, "application/json", told)
        return _answer(start, HTTPStatus.NOT_FOUND, "text/plain", b"/, /status.json, /metrics\n")

    def told(environ: dict[str, Any], start: StartResponse) -> Iterable[bytes]:
        try:
            return serve(environ, start)
        except TimeoutError:
            body = b"The daemon is busy, or ends.\n"
            return _answer(start, HTTPStatus.SERVICE_UNAVAILABLE, "text/plain", body)
        except Exception as error:  # it costs this answer only
            log.error("metrics: %s cannot be told: %r", environ["PATH_INFO"], error)
            body = b"The daemon's log says why.\n"
            return _answer(start, HTTPStatus.INTERNAL_SERVER_ERROR, "text/plain", body)

    return told


def _answer(start: StartResponse, status: HTTPStatus, kind: str, body: bytes) -> list[bytes]:
    start(f"{status.value} {status.phrase}", [("Content-Type", kind), *_HEADERS])
    return [body]


def _is_address(host: str) -> bool:
    """Whether who asked named an address, or this very host."""
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    if name == "localhost":
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
