# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Keras layers that Keras does not have, or that compute the same faster."""
