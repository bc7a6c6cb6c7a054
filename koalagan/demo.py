# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Serves a web page that colors photographs.

    koalagan demo [--saved_model=DIR ...]

Drop a photograph on the page, compare before and after under a slider, and download the result in
full size. Needs the extra [demo], which installs Gradio. Only this machine can open the page unless
--host says otherwise, and it loads nothing from other machines. Uploads and results are deleted
after some hours, or when the page is stopped.
"""

import dataclasses
import os

from koalagan import cli
from koalagan.options import PRETRAINED, option


@dataclasses.dataclass(frozen=True)
class DemoSettings:
    """The page."""

    saved_model: tuple[str, ...] = option(
        (PRETRAINED,),
        "An exported model, or the folder of its run; repeat the flag to offer several. koala is "
        "the model that comes with koalagan.",
    )
    host: str = option(
        "127.0.0.1",
        "The address to listen on; with 0.0.0.0, everyone who can reach this machine can open the "
        "page.",
    )
    port: int = option(7860, "The port to listen on.", minimum=1, maximum=65535)
    max_upload_mb: int = option(50, "The size in MB up to which files are accepted.", minimum=1)


def main(settings: DemoSettings, arguments: list[str]) -> None:
    """Serves the page until it is interrupted."""
    from koalagan.inference import colorizer, saved_model
    from koalagan.photos import page

    page.require_gradio()
    paths = [os.path.expanduser(path) for path in settings.saved_model]
    named = saved_model.names([saved_model.find(path) for path in paths])
    models = {name: colorizer.load(path) for name, path in named.items()}
    page.serve(models, settings.host, settings.port, settings.max_upload_mb)


COMMAND = cli.Command(__doc__, DemoSettings, main)

if __name__ == "__main__":
    cli.run(COMMAND)
