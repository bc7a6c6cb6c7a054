# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The dataset "koala_scenes". Importing this package registers it with TFDS."""

from koalagan.data.koala_scenes.koala_scenes_dataset_builder import KoalaScenes

__all__ = ["KoalaScenes"]
