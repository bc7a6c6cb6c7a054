# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Parts of a store that several workers prepare, joined to what one prepares alone."""

import json

import numpy as np
import pytest
from helpers.stores import SIZE, prepare, tiny_source, with_bad

from koalagan.data import store, store_parts
from koalagan.errors import UserError


def in_parts(folder, source, parts, **options):
    """The store of a source that was prepared in parts, the last one first."""
    sources = [store_parts.part(source, number, parts) for number in range(parts)]
    prepared = [prepare(folder, one, **options) for one in reversed(sources)][::-1]
    places = {"store_dir": str(folder), "image_size": SIZE, "resize": "stretch"}
    store_parts.join(prepared, source, **places)
    # It is found, and nothing is decoded again.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "_prepare_pictures", None)
        return prepare(folder, source, **options)


@pytest.mark.parametrize("parts", [2, 3, 20])
def test_parts_join_to_the_same_store(tmp_path, networks, parts):
    alone = prepare(tmp_path / "alone", embedding_weights="a")
    joined = in_parts(tmp_path / "parts", tiny_source(), parts, embedding_weights="a")
    assert joined.manifest == alone.manifest and joined.ids() == alone.ids()
    np.testing.assert_array_equal(joined.pictures, alone.pictures)
    np.testing.assert_array_equal(joined.embedding, alone.embedding)
    # The parts are gone.
    assert [path for path in (tmp_path / "parts").iterdir() if path.is_dir()] == [joined.path]


def test_pictures_that_are_left_out(tmp_path):
    source = with_bad(3, 11, 19)
    alone = prepare(tmp_path / "alone", source, on_bad_picture="skip")
    joined = in_parts(tmp_path / "parts", source, 3, on_bad_picture="skip")
    assert joined.manifest == alone.manifest and joined.manifest["skipped"] == ["p3", "p11", "p19"]
    assert joined.ids() == alone.ids()
    np.testing.assert_array_equal(joined.pictures, alone.pictures)


def test_a_join_that_was_interrupted_is_done_again(tmp_path, monkeypatch):
    source = tiny_source()
    parts = [prepare(tmp_path, store_parts.part(source, number, 2)) for number in range(2)]
    places = {"store_dir": str(tmp_path), "image_size": SIZE, "resize": "stretch"}

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(store, "write_manifest", interrupted)
        with pytest.raises(KeyboardInterrupt):
            store_parts.join(parts, source, **places)
    assert all(part.path.is_dir() for part in parts)
    store_parts.join(parts, source, **places)
    np.testing.assert_array_equal(prepare(tmp_path).pictures, prepare(tmp_path / "2").pictures)
    assert not list(tmp_path.glob("*.joining"))


def test_a_disk_that_is_too_small(tmp_path, monkeypatch):
    source = tiny_source()
    parts = [prepare(tmp_path, store_parts.part(source, number, 2)) for number in range(2)]
    full = type("Usage", (), {"free": 100})
    monkeypatch.setattr(store.store_files.shutil, "disk_usage", lambda _: full)
    with pytest.raises(UserError, match="joining 2 parts of tiny train needs .* free"):
        store_parts.join(parts, source, store_dir=str(tmp_path), image_size=SIZE, resize="stretch")
    assert all(part.path.is_dir() for part in parts)


def test_parts_have_all_pictures_once():
    source = tiny_source()
    for count in (1, 3, 7):
        parts = [store_parts.part(source, number, count) for number in range(count)]
        records = [record for one in parts for record in one.records()]
        assert records == list(source.records())
        assert [one.count for one in parts] == [len(list(one.records())) for one in parts]
        assert len({json.dumps(one.identity) for one in parts}) == count
