# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""`python -m koalagan COMMAND ...`."""

from koalagan.cli import main

main()
