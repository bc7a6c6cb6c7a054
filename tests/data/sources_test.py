# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Sources: TFDS datasets and folders in a fixed order, and clear error messages."""

import hashlib
import io
import json
import os

import numpy as np
import pytest
import tensorflow_datasets as tfds
from helpers.pictures import encode, picture
from PIL import Image

from koalagan.data import decoding, sources
from koalagan.errors import UserError

COCO_DIR = os.environ.get("KOALAGAN_COCO_DIR")
needs_coco = pytest.mark.skipif(not COCO_DIR, reason="KOALAGAN_COCO_DIR is not set to COCO 2017")


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def refusal(*args, **kwargs):
    """The single sentence with which open_source refuses."""
    with pytest.raises(UserError) as info:
        sources.open_source(*args, **kwargs)
    message = str(info.value)
    assert "\n" not in message and message[-1] in ".?" and ". " not in message
    return message


# Folders.


@pytest.fixture
def folder(tmp_path):
    names = ["a.jpg", "b.JPEG", "deep/er/c.PNG", "deep/d.bmp", "e.webp", "f.tif", "g.Tiff"]
    names += [f"more/{index:02}.png" for index in range(13)]
    for seed, name in enumerate(names):
        kind = {"jpg": "JPEG", "tif": "TIFF"}.get(name.split(".")[1].lower(), name.split(".")[1])
        write(tmp_path / name, encode(picture(seed), kind))
    for name in ["notes.txt", "._a.jpg", ".thumbnails/a.jpg", "jpg"]:
        write(tmp_path / name, b"not a picture")
    return tmp_path, names


def test_folder_holds_every_picture_ordered_by_the_hash_of_its_path(folder):
    path, names = folder
    source = sources.open_source("folder", "train", str(path))
    records = list(source.records())
    ordered = sorted(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    assert [name for name, _ in records] == ordered
    assert source.count == len(names) == 20
    assert all(encoded == (path / name).read_bytes() for name, encoded in records)
    assert list(source.records()) == records


@pytest.mark.parametrize(
    "split, chosen",
    [
        ("train[:90%]", slice(0, 18)),
        ("train[90%:]", slice(18, 20)),
        ("train[:7]", slice(0, 7)),
        ("train[10:12]", slice(10, 12)),
        ("train[-3:]", slice(17, 20)),
    ],
)
def test_folder_slices(folder, split, chosen):
    everything = list(sources.open_source("folder", "train", str(folder[0])).records())
    source = sources.open_source("folder", split, str(folder[0]))
    assert list(source.records()) == everything[chosen]
    assert source.count == len(everything[chosen])


def test_folder_identity_follows_the_chosen_pictures(folder):
    path, _ = folder

    def identity(split="train[:10]"):
        return json.loads(json.dumps(sources.open_source("folder", split, str(path)).identity))

    before = identity()
    assert identity() == before != identity("train[10:]")
    records = list(sources.open_source("folder", "train", str(path)).records())
    write(path / records[-1][0], b"other bytes")
    assert identity() == before
    os.utime(path / records[0][0], ns=(1, 1))
    assert identity() == before
    write(path / records[0][0], b"other bytes")
    assert identity() != before


def test_folder_counts_an_unreadable_file_as_a_bad_picture(tmp_path):
    write(tmp_path / "a.png", encode(picture()))
    source = sources.open_source("folder", "train", str(tmp_path))
    (tmp_path / "a.png").unlink()
    (tmp_path / "a.png").symlink_to("nowhere.png")
    dangling = sources.open_source("folder", "train", str(tmp_path))
    assert dangling.identity != source.identity
    assert list(dangling.records()) == [("a.png", b"")]


@pytest.mark.parametrize("gone", ["picture", "folder"])
def test_a_folder_that_vanishes_is_not_a_folder_of_bad_pictures(tmp_path, gone):
    folder = tmp_path / "photographs"
    folder.mkdir()
    for name in "ab":
        (folder / f"{name}.jpg").write_bytes(b"x")
    records = sources.open_source("folder", "train", data_dir=str(folder)).records()
    first, _ = next(records)
    (other,) = {"a.jpg", "b.jpg"} - {first}
    if gone == "folder":
        folder.rename(tmp_path / "elsewhere")
    else:
        (folder / other).unlink()
    with pytest.raises(FileNotFoundError):
        next(records)


@pytest.mark.parametrize(
    "split, words",
    [
        ("test", ["'test'", "train (20 pictures)"]),
        ("train[:21]", ["'train[:21]'", "train (20 pictures)"]),
        ("train[5:5]", ["empty", "train (20 pictures)"]),
        ("train[7:3]", ["empty"]),
        ("train[:120%]", ["malformed"]),
        ("train[", ["malformed"]),
        ("train[a:b]", ["malformed"]),
        ("", ["malformed"]),
    ],
)
def test_folder_refuses_impossible_splits(folder, split, words):
    message = refusal("folder", split, str(folder[0]))
    assert all(word in message for word in words), message


def test_an_absent_or_empty_folder_is_refused(tmp_path):
    assert "--data_dir" in refusal("folder", "train")
    assert "nowhere does not exist" in refusal("folder", "train", str(tmp_path / "nowhere"))
    write(tmp_path / "notes.txt", b"")
    assert "holds no pictures" in refusal("folder", "train", str(tmp_path))


# TFDS datasets.


class KoalaganTestPictures(tfds.core.GeneratorBasedBuilder):
    """23 pictures in a feature of another name, without an id, beside a mask."""

    VERSION = tfds.core.Version("1.2.3")

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "photo": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
                    "mask": tfds.features.LabeledImage(labels=3, shape=(None, None, 1)),
                    "id": tfds.features.Tensor(shape=(2,), dtype=np.int64),
                }
            ),
        )

    def _split_generators(self, dl_manager):
        return {"train": self._examples(23), "test": self._examples(4)}

    def _examples(self, count):
        for key in range(count):
            mask = np.zeros((6, 9, 1), np.uint8)
            yield key, {"photo": picture(key), "mask": mask, "id": [key, key]}

    def _generate_examples(self):
        raise NotImplementedError


class KoalaganTestPair(KoalaganTestPictures):
    """Two pictures per record, neither called image; its data cannot be prepared."""

    def _info(self):
        image = tfds.features.Image(shape=(None, None, 3))
        features = tfds.features.FeaturesDict({"left": image, "right": image})
        return tfds.core.DatasetInfo(builder=self, features=features)


class KoalaganTestOffline(KoalaganTestPictures):
    """Its download fails."""

    def _split_generators(self, dl_manager):
        raise ConnectionError("no route\nto host.")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("tfds")
    builder = KoalaganTestPictures(data_dir=data_dir)
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(num_shards=4))
    assert builder.info.splits["train"].num_shards == 4
    return data_dir


def test_tfds_reads_every_record_once_in_an_order_that_slices_keep(prepared):
    name = "koalagan_test_pictures"
    source = sources.open_source(name, "train", str(prepared))
    records = list(source.records())
    assert source.name == "koalagan_test_pictures/1.2.3" and source.count == 23
    assert [name for name, _ in records] == [f"train-{index}" for index in range(23)]
    decoded = {decoding.decode(encoded, name).tobytes() for name, encoded in records}
    assert decoded == {picture(seed).tobytes() for seed in range(23)}
    head = list(sources.open_source(name, "train[:60%]", str(prepared)).records())
    tail = list(sources.open_source(name, "train[60%:]+test", str(prepared)).records())
    assert head == records[:14] and tail[:-4] == records[14:]
    assert [name for name, _ in tail[-4:]] == [f"test-{index}" for index in range(4)]


def test_tfds_identity_names_version_slice_and_files(prepared):
    source = sources.open_source("koalagan_test_pictures", "train[:60%]", str(prepared))
    assert json.loads(json.dumps(source.identity)) == source.identity
    assert source.identity["dataset"] == "koalagan_test_pictures/1.2.3"
    assert source.identity["split"] == [["train", 0, 14]]
    files = source.identity["files"]["train"]
    assert sum(files["shard_lengths"]) == 23 and files["num_bytes"] > 23 * 6 * 9


def test_tfds_damage_on_disk_is_reported_in_one_sentence(prepared, tmp_path):
    builder = KoalaganTestPictures(data_dir=tmp_path)
    builder.download_and_prepare()
    shard = next(builder.data_path.glob("*train*"))
    shard.write_bytes(shard.read_bytes()[:-40])
    source = sources.open_source("koalagan_test_pictures", "train", str(tmp_path))
    with pytest.raises(UserError, match="koalagan_test_pictures/1.2.3.*damaged") as info:
        list(source.records())
    assert "\n" not in str(info.value)


def test_tfds_finds_data_of_another_version_than_the_code(prepared, tmp_path, monkeypatch):
    KoalaganTestPictures(data_dir=tmp_path).download_and_prepare()
    monkeypatch.setattr(KoalaganTestPictures, "VERSION", tfds.core.Version("2.0.0"))
    source = sources.open_source("koalagan_test_pictures", "train", str(tmp_path))
    assert source.name == "koalagan_test_pictures/1.2.3" and source.count == 23


def test_tfds_refuses_absent_data_and_writes_nothing(tmp_path):
    data_dir = str(tmp_path / "data")
    message = refusal("koalagan_test_pictures", "train", data_dir)
    assert "--download" in message and data_dir in message
    os.mkdir(data_dir)
    message = refusal("koalagan_test_pictures", "train", data_dir)
    assert "--download" in message and data_dir in message
    assert os.listdir(data_dir) == []


def test_tfds_prepares_only_when_asked(tmp_path):
    source = sources.open_source("koalagan_test_pictures", "test", str(tmp_path), download=True)
    assert len(list(source.records())) == source.count == 4
    assert sources.open_source("koalagan_test_pictures", "test", str(tmp_path)).count == 4


def test_tfds_reports_why_preparing_failed(tmp_path):
    message = refusal("koalagan_test_offline", "train", str(tmp_path), download=True)
    assert "no route to host" in message and "koalagan_test_offline" in message


@pytest.mark.parametrize(
    "dataset, words",
    [
        ("cocco/2017", ["'cocco/2017'", "did you mean", "coco"]),
        ("foldr", ["did you mean", "folder"]),
        ("koala_scene", ["did you mean", "koala_scenes"]),
        ("coco/2071", ["2071", "configurations are 2017, 2014"]),
        ("coco/2017:7.7.7", ["7.7.7", "1.1.0"]),
        ("qqqqqqqq", ["no dataset 'qqqqqqqq'", "catalog"]),
        ("no such (name", ["'no such (name'", "NAME/CONFIG"]),
        ("", ["''"]),
        ("glue", ["no image feature", "sentence"]),
        ("koalagan_test_pair", ["left, right", "called image"]),
    ],
)
def test_tfds_refuses_datasets_it_cannot_use(tmp_path, dataset, words):
    message = refusal(dataset, "train", str(tmp_path), download=dataset == "koalagan_test_pair")
    assert all(word in message for word in words), message


def test_tfds_refuses_impossible_splits(prepared):
    for split in ("validation", "train[:24]"):
        message = refusal("koalagan_test_pictures", split, str(prepared))
        assert "train (23 pictures), test (4 pictures)" in message or (
            "test (4 pictures), train (23 pictures)" in message
        )


@needs_coco
@pytest.mark.parametrize("split, count", [("train", 663), ("validation", 100)])
def test_coco_is_read_completely(split, count):
    source = sources.open_source("coco/2017", split, COCO_DIR)
    records = list(source.records())
    assert source.count == len(records) == count == len({name for name, _ in records})
    assert all(name.isdigit() for name, _ in records)
    name, encoded = records[0]
    assert encoded[:2] == b"\xff\xd8"
    np.testing.assert_array_equal(decoding.decode(encoded, name), Image.open(io.BytesIO(encoded)))


@needs_coco
def test_coco_splits_that_do_not_exist():
    assert "train (663 pictures)" in refusal("coco/2017", "train[:8000]", COCO_DIR)
