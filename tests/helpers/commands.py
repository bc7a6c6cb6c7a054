# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Commands in the test's own process, which has imported TensorFlow already; and clusters."""

import json
import socket
from typing import Any

from absl import flags

from koalagan import cli, options


def parse(command: cli.Command, *arguments: str) -> Any:
    """The command's options from flags."""
    values = flags.FlagValues()
    options.define_flags(command.options, values)
    values(["koalagan", *arguments])
    options.require(command.options, values)
    return options.from_flags(command.options, values)


def run(command: cli.Command, *arguments: str) -> int | None:
    """Runs the command by flags alone; its errors are raised."""
    return command.main(parse(command, *arguments), [])


def cluster(workers: int) -> list[str]:
    """TF_CONFIG of each of a number of workers on this machine."""
    sockets = [socket.socket() for _ in range(workers)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    addresses = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    return [
        json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": number}})
        for number in range(workers)
    ]
