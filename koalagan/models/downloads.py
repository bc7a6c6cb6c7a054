# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Time limits for the downloads of libraries that set none."""

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import requests

# Time limit in seconds of one connection or one read. Without it, a dead network blocks forever.
TIMEOUT = 30.0


@contextlib.contextmanager
def time_limit() -> Iterator[None]:
    """Sets a timeout for Keras's downloads (by urllib) and for kagglehub's (by requests)."""
    socket_timeout = socket.getdefaulttimeout()
    send = requests.Session.send

    def send_with_timeout(
        session: requests.Session, request: Any, **options: Any
    ) -> requests.Response:
        options["timeout"] = options.get("timeout") or TIMEOUT
        return send(session, request, **options)

    socket.setdefaulttimeout(TIMEOUT)
    requests.Session.send = send_with_timeout
    try:
        yield
    finally:
        requests.Session.send = send
        socket.setdefaulttimeout(socket_timeout)
