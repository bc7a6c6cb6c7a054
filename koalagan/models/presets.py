# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""keras-hub's presets on Kaggle: fetching their files, and saying what is wrong with files given.

keras-hub is the extra `[hub]`: it is imported only where a network of it is built or read.
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from koalagan.errors import UserError, one_line

# Seconds that one connection or one read may take: without it a dead network hangs for ever.
_DOWNLOAD_TIMEOUT = 30.0

# Of pictures in [0, 1], as networks trained on ImageNet expect them normalised.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# What keras, keras-hub and h5py raise for files that are damaged or of something else.
LOADING_ERRORS = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RuntimeError,
    UserWarning,
)


def keras_hub(user: str, otherwise: str = "") -> ModuleType:
    """The package.

    Args:
        user: what needs it, for the message.
        otherwise: what else can be done about it.

    Raises:
        UserError: it is not installed.
    """
    try:
        import keras_hub
    except ImportError as error:
        raise UserError(
            f"{user} needs keras-hub ({one_line(error)}): pip install 'koalagan[hub]'{otherwise}"
        ) from error
    return keras_hub


@dataclass(frozen=True)
class Preset:
    """A preset as Kaggle has it, and the flag that can name another in its place.

    Attributes:
        handle: on Kaggle, with its version: what a name means must not change with keras-hub's.
        files: those of it that are used.
        writer: the class whose `save_to_preset` writes such files.
        flag: the flag's name, `--..._weights`.
        accepted: what the flag takes, for the messages.
    """

    handle: str
    files: tuple[str, ...]
    writer: str
    flag: str
    accepted: str

    def download(self) -> str:
        """Its folder in kagglehub's cache; downloaded where it is absent.

        Raises:
            UserError: it cannot be downloaded.
        """
        try:
            import kagglehub

            with _requests_that_end():
                paths = [kagglehub.model_download(self.handle, name) for name in self.files]
        except Exception as error:  # kagglehub, requests and the disk each raise their own
            page = "/".join(self.handle.split("/")[:2])
            raise UserError(
                f"the preset {self.handle} could not be downloaded: put its files "
                f"{', '.join(self.files)} from https://www.kaggle.com/models/{page} into a folder "
                f"and pass {self.flag}=PATH, that folder, or pass {self.flag}=random"
            ) from error
        return os.path.dirname(paths[0])

    def check_folder(self, folder: str) -> None:
        """Checks that a folder holds the files of such a preset.

        Raises:
            UserError: it lacks some.
        """
        missing = [name for name in self.files if not os.path.isfile(os.path.join(folder, name))]
        if missing:
            raise UserError(
                f"the preset {folder} lacks {', '.join(missing)}: save_to_preset of keras-hub's "
                f"{self.writer} writes them; {self.flag} takes {self.accepted}"
            )

    def check_file(self, path: str) -> None:
        """Checks that a weights file is there.

        Raises:
            UserError: it is not.
        """
        if not os.path.isfile(path):
            raise UserError(f"there is no weights file {path}: pass {self.flag}={self.accepted}")

    def not_accepted(self, weights: str) -> UserError:
        """The error that says what the flag takes."""
        return UserError(
            f"{self.flag}={weights} is not one of {self.accepted}, or there is no such folder"
        )


@contextlib.contextmanager
def _requests_that_end() -> Iterator[None]:
    """Gives requests, which kagglehub sends without a time limit, ours."""
    import requests

    send = requests.Session.send

    def bounded(session: requests.Session, request: Any, **options: Any) -> requests.Response:
        options["timeout"] = options.get("timeout") or _DOWNLOAD_TIMEOUT
        return send(session, request, **options)

    requests.Session.send = bounded
    try:
        yield
    finally:
        requests.Session.send = send
