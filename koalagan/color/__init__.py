# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Pixels without learning: Lab, resizing, and whether a picture has color."""
