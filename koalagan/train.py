# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Trains a colorization model, exports it and measures it.

    python -m koalagan.train --flagfile=experiments/NAME.flags [--workdir=runs/NAME]

Prepares the pictures (once), pretrains the generator, trains it against the discriminator, exports
a SavedModel and evaluates it. The same command continues a run that was stopped.
"""

from koalagan import cli
from koalagan.training.settings import RunSettings


def main(settings: RunSettings, arguments: list[str]) -> int:
    """Runs the command; returns the exit status."""
    from absl import flags

    from koalagan import compilation

    compilation.keep_compiled(settings.optimization.jit_compile)

    from koalagan import run

    given = [name for name in flags.FLAGS if flags.FLAGS[name].present]
    return run.train(settings, given)


COMMAND = cli.Command(__doc__, RunSettings, main)

if __name__ == "__main__":
    cli.run(COMMAND)
