# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""keras-hub's presets: downloading them from Kaggle and checking preset folders.

keras-hub is the optional extra `[hub]`, so it is imported only where a network needs it.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from koalagan.errors import UserError, one_line
from koalagan.models import downloads
from koalagan.models.weights import WeightsFlag

# Mean and standard deviation of RGB images in [0, 1]; networks trained on ImageNet expect images
# normalized by them.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def keras_hub(user: str, alternative: str = "") -> ModuleType:
    """Imports keras-hub.

    Args:
        user: what needs it, for the message.
        alternative: what to do without it, for the message.

    Raises:
        UserError: keras-hub is not installed.
    """
    try:
        import keras_hub
    except ImportError as error:
        raise UserError(
            f"{user} needs keras-hub ({one_line(error)}): pip install 'koalagan[hub]'{alternative}."
        ) from error
    return keras_hub


@dataclass(frozen=True)
class Preset:
    """A preset on Kaggle, and the flag that selects it or another preset in its place.

    Attributes:
        name: the value of the flag that selects this preset.
        handle: its handle on Kaggle. The version is part of it, so that the weights behind `name`
            do not change with keras-hub.
        files: those of its files that are used.
        writer: the class whose `save_to_preset` writes these files.
        flag: the flag that selects the weights.
    """

    name: str
    handle: str
    files: tuple[str, ...]
    writer: str
    flag: WeightsFlag

    def folder(self, value: str) -> str | None:
        """The preset's folder that a value of the flag selects; None if it selects no preset.

        Raises:
            UserError: the preset cannot be downloaded, or the folder lacks some of its files.
        """
        folder = self.download() if value == self.name else value
        if not os.path.isdir(folder):
            return None
        self.check_folder(folder)
        return folder

    def download(self) -> str:
        """Downloads the preset unless kagglehub's cache has it.

        Returns:
            Its folder in the cache.

        Raises:
            UserError: it cannot be downloaded.
        """
        try:
            import kagglehub

            with downloads.time_limit():
                paths = [kagglehub.model_download(self.handle, name) for name in self.files]
        except Exception as error:  # kagglehub, requests and the file system each raise their own
            page = "/".join(self.handle.split("/")[:2])
            raise UserError(
                f"the preset {self.handle} could not be downloaded: put its files "
                f"{', '.join(self.files)} from https://www.kaggle.com/models/{page} into a folder "
                f"and pass {self.flag.name}=PATH with that folder, or pass {self.flag.name}=random."
            ) from error
        return os.path.dirname(paths[0])

    def check_folder(self, folder: str) -> None:
        """Checks that a folder has the files of such a preset.

        Raises:
            UserError: some are missing.
        """
        missing = [name for name in self.files if not os.path.isfile(os.path.join(folder, name))]
        if missing:
            raise UserError(
                f"the preset {folder} lacks {', '.join(missing)}, which save_to_preset of "
                f"keras-hub's {self.writer} writes: {self.flag.advice}."
            )

    def damaged(self, folder: str, error: Exception) -> UserError:
        """The error for a folder whose files cannot be used."""
        return UserError(
            f"{folder} is damaged or is not a preset like {self.handle} that save_to_preset of "
            f"keras-hub's {self.writer} wrote ({one_line(error)}): {self.flag.advice}, or delete "
            "the folder if kagglehub downloaded it, to have it downloaded again."
        )


def check_config(config: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Checks the architecture that a preset's configuration describes.

    Raises:
        ValueError: an entry of `expected` has another value in `config`.
    """
    for key, value in expected.items():
        if config[key] != value:
            raise ValueError(f"its {key} is {config[key]}, not {value}")
