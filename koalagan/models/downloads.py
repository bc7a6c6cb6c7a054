# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Downloads by libraries: time limits where they set none, and files that Keras publishes."""

import contextlib
import os
import socket
from collections.abc import Iterator
from typing import Any

import keras
import requests

from koalagan.errors import UserError

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


def keras_path(name: str) -> str:
    """The path of a file of weights in Keras's cache, which may not exist."""
    home = os.environ.get("KERAS_HOME") or os.path.join("~", ".keras")
    return os.path.join(os.path.expanduser(home), "models", name)


def fetch_keras_file(name: str, url: str, md5: str, advice: str) -> str:
    """Downloads a file of weights that Keras publishes, unless it is in Keras's cache.

    Args:
        name: of the file in the cache.
        url: where Keras publishes it.
        md5: of its content.
        advice: what to do without it, for the error.

    Returns:
        Its path.

    Raises:
        UserError: it cannot be downloaded.
    """
    path = keras_path(name)
    if os.path.isfile(path):
        return path
    folder = os.path.dirname(path)
    try:
        os.makedirs(folder, exist_ok=True)
        # Under another name until complete, so that the final name never holds half a file.
        with time_limit():
            partial = keras.utils.get_file(
                f"{name}.partial",
                url,
                file_hash=md5,
                cache_dir=os.path.dirname(folder),
                cache_subdir=os.path.basename(folder),
            )
        os.replace(partial, path)
    except Exception as error:  # get_file raises a bare Exception when the network fails
        raise UserError(
            f"{name} could not be downloaded: put the file from {url} at {path}{advice}."
        ) from error
    return path
