# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""koalagan colours black-and-white photographs with TensorFlow and Keras."""

import os

# TensorFlow's C++ side reads this once, when it is first imported: hide its INFO lines unless the
# user has said otherwise.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")

__version__ = "0.1.0"
