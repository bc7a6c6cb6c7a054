# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Everything before a batch exists: sources of pictures, the prepared store, the pipeline."""
