# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Colors photographs by the million, in an Apache Beam pipeline.

    python -m koalagan.colorize_beam --input=GLOB --output=DIR [--saved_model=DIR] [Beam's options]

--runner and all other options of Beam and its runners are passed on; without them, Beam's
DirectRunner colors on this machine. Patterns and folders may be on any file system that Beam knows
(gs://, s3://, hdfs://, with Beam's extra packages). The result of x/a.jpg is DIR/x/a.jpg.png; it
has the same bytes as that of `koalagan colorize`. Photographs that have color are copied, unless
--recolor is given.

What exists in DIR is skipped, so that the same command continues an interrupted one. Files that
cannot be colored are listed in DIR/dead_letters*.jsonl with the reason, and the exit status is 1;
everything else is done. Needs pip install 'koalagan[beam]'.
"""

from koalagan import cli
from koalagan.errors import UserError
from koalagan.photos.settings import BeamSettings


def main(settings: BeamSettings, arguments: list[str]) -> int:
    """Runs the pipeline; returns the exit status."""
    try:
        from koalagan.photos import beam
    except ImportError as error:
        raise UserError(
            f"apache-beam is missing ({error}): pip install 'koalagan[beam]'."
        ) from error
    return beam.colorize(settings, arguments)


COMMAND = cli.Command(__doc__, BeamSettings, main, passes_on="Beam")

if __name__ == "__main__":
    cli.run(COMMAND)
