# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Batches: their contract, order and flips, and that a run can start at any step."""

import itertools

import numpy as np
import pytest
import skimage.color
import tensorflow as tf
from helpers import stores

from koalagan.data import batches, pipeline
from koalagan.data.store import Store

COUNT = 10
SIZE = (6, 8)
MIRRORED = 1000.0  # What the stand-in embedding adds for a mirror image.


def pictures(count=COUNT):
    return np.random.default_rng(0).integers(0, 256, (count, *SIZE, 3), np.uint8)


def embeddings(count=COUNT):
    """Row i holds i in every class, and i + MIRRORED for the mirror image."""
    rows = np.arange(count, dtype=np.float32)
    both = np.stack([rows, rows + MIRRORED], axis=1)
    return np.repeat(both[..., None], 1001, axis=-1)


def mapped(path, array):
    np.save(path, array)
    return np.load(path, mmap_mode="r")


@pytest.fixture
def store(tmp_path):
    return Store(
        tmp_path,
        {"pictures": COUNT},
        mapped(tmp_path / "pictures.npy", pictures()),
        mapped(tmp_path / "embedding.npy", embeddings()),
    )


@pytest.fixture
def segmented(store):
    """The store with scores of 2x4: row i holds i everywhere, and -i for the mirror image."""
    scores = np.arange(1, COUNT + 1)[:, None] * [1, -1]
    rows = np.tile(scores[..., None, None, None], (2, 4, 21)).astype(np.float16)
    segmentation = mapped(store.path / "segmentation.npy", rows)
    return Store(store.path, store.manifest, store.pictures, store.embedding, segmentation)


@pytest.fixture
def plain(store):
    return Store(store.path, store.manifest, store.pictures)


def training(store, steps, *, batch_size=4, seed=7, **options):
    given = pipeline.training_batches(store, batch_size=batch_size, seed=seed, **options)
    return list(itertools.islice(for_networks(given), steps))


def evaluation(store, batch_size):
    return list(for_networks(pipeline.evaluation_batches(store, batch_size=batch_size)))


def for_networks(given):
    """Batches of the pipeline as the networks take them, in NumPy."""
    return given.map(batches.for_networks).as_numpy_iterator()


def rows_and_flips(batch):
    """Which rows a batch shows, and which of them are flipped, according to its embeddings."""
    numbers = batch["embedding"][:, 0]
    return (numbers % MIRRORED).astype(int), numbers >= MIRRORED


def lab_of(rgb):
    return skimage.color.rgb2lab(rgb)


def shown(batch):
    """The batch in Lab units."""
    return np.concatenate([(batch["L"] + 1) * 50, batch["ab"] * 110], axis=-1)


def assert_same(some, others):
    assert len(some) == len(others)
    for batch, other in zip(some, others, strict=True):
        assert batch.keys() == other.keys()
        for name in batch:
            np.testing.assert_array_equal(batch[name], other[name])


# The contract.


@pytest.mark.parametrize("make", [pipeline.evaluation_batches, pipeline.training_batches])
def test_a_batch_follows_the_contract(store, make):
    seed = {"seed": 0} if make is pipeline.training_batches else {}
    given = make(store, batch_size=4, **seed)
    assert given.element_spec == {
        "rgb": tf.TensorSpec((None, *SIZE, 3), tf.uint8),
        "mirrored": tf.TensorSpec((None,), tf.bool),
        "embedding": tf.TensorSpec((None, 1001), tf.float32),
    }
    shapes = {"L": (*SIZE, 1), "ab": (*SIZE, 2), "embedding": (1001,)}
    batch = next(for_networks(given))
    assert batch.keys() == shapes.keys()
    for name, shape in shapes.items():
        assert batch[name].shape == (4, *shape) and batch[name].dtype == np.float32
    assert -1 <= batch["L"].min() < -0.5 and 0.5 < batch["L"].max() <= 1
    assert -1 <= batch["ab"].min() < -0.3 and 0.3 < batch["ab"].max() <= 1


def test_the_pipeline_delivers_what_lies_in_the_store(segmented):
    """Pictures are not mirrored and nothing is converted before the step."""
    (batch,) = pipeline.training_batches(segmented, batch_size=COUNT, seed=7).take(1)
    rows = pipeline.epoch_order(7, 0, COUNT)
    mirrored = pipeline.flips(7, 0, rows)
    assert 0 < mirrored.sum() < COUNT
    np.testing.assert_array_equal(batch["rgb"], pictures()[rows])
    np.testing.assert_array_equal(batch["mirrored"], mirrored)
    assert batch["segmentation"].dtype == tf.float16
    (batch,) = pipeline.evaluation_batches(segmented, batch_size=COUNT)
    np.testing.assert_array_equal(batch["rgb"], pictures())
    assert not np.any(batch["mirrored"])


def test_what_the_networks_take_is_left_alone():
    given = {"L": tf.zeros([1, 2, 2, 1]), "ab": tf.ones([1, 2, 2, 2])}
    assert batches.for_networks(given) == given


def test_a_store_without_embedding_gives_batches_without(store, plain):
    assert set(training(plain, 1)[0]) == {"L", "ab"}
    assert set(evaluation(plain, 4)[0]) == {"L", "ab"}
    for batch, other in zip(training(plain, 5), training(store, 5), strict=True):
        np.testing.assert_array_equal(batch["L"], other["L"])
        np.testing.assert_array_equal(batch["ab"], other["ab"])


def test_a_batch_larger_than_the_store_is_an_error(store):
    with pytest.raises(ValueError, match="A batch of 11 is larger than the 10 pictures"):
        pipeline.training_batches(store, batch_size=11, seed=0)
    assert len(training(store, 1, batch_size=10)[0]["L"]) == 10


def test_steps_per_epoch_drops_the_partial_batch():
    assert [pipeline.steps_per_epoch(10, size) for size in (1, 3, 4, 5, 10, 11)] == [
        10, 3, 2, 2, 1, 0,
    ]  # fmt: skip


# Order.


def test_the_order_is_a_permutation_that_depends_only_on_seed_and_epoch():
    orders = {}
    for seed, epoch in itertools.product(range(3), range(3)):
        orders[seed, epoch] = pipeline.epoch_order(seed, epoch, 50)
        np.testing.assert_array_equal(np.sort(orders[seed, epoch]), np.arange(50))
    assert len({tuple(order) for order in orders.values()}) == 9
    np.random.seed(5)
    tf.random.set_seed(5)
    np.testing.assert_array_equal(pipeline.epoch_order(2, 1, 50), orders[2, 1])


def test_an_epoch_follows_its_order_and_drops_only_the_partial_batch(store):
    found = training(store, 6)
    dropped = []
    for epoch in range(3):
        rows = np.concatenate(
            [rows_and_flips(batch)[0] for batch in found[2 * epoch : 2 * epoch + 2]]
        )
        np.testing.assert_array_equal(rows, pipeline.epoch_order(7, epoch, COUNT)[:8])
        assert len(set(rows)) == 8
        dropped.append(frozenset(range(COUNT)) - set(rows))
    assert len(set(dropped)) > 1  # Each epoch leaves out other rows.


def test_an_epoch_of_whole_batches_shows_every_picture(store):
    for epoch in range(3):
        found = training(store, 2, batch_size=5, first_step=2 * epoch)
        rows = np.concatenate([rows_and_flips(batch)[0] for batch in found])
        assert sorted(rows) == list(range(COUNT))


def test_batches_depend_on_the_seed_and_are_reproducible(store):
    first = training(store, 3, seed=1)
    assert_same(first, training(store, 3, seed=1))
    assert not np.array_equal(first[0]["L"], training(store, 3, seed=2)[0]["L"])


@pytest.mark.parametrize("first_step", [1, 2, 3, 4, 7])
def test_a_run_that_starts_at_a_step_sees_what_an_uninterrupted_run_sees(store, first_step):
    # An epoch has two steps, so these start inside and at the end of epochs, and cross several.
    uninterrupted = training(store, 10)
    assert_same(training(store, 10 - first_step, first_step=first_step), uninterrupted[first_step:])


# Flips.


def test_flips_depend_only_on_seed_epoch_and_row():
    rows = np.arange(400)
    flips = pipeline.flips(3, 5, rows)
    assert flips.dtype == bool and flips.shape == rows.shape
    assert 0.4 < flips.mean() < 0.6
    shuffled = np.random.default_rng(0).permutation(rows)[:77]
    np.testing.assert_array_equal(pipeline.flips(3, 5, shuffled), flips[shuffled])
    for other in (pipeline.flips(3, 6, rows), pipeline.flips(4, 5, rows)):
        assert 0.4 < (flips == other).mean() < 0.6


def test_a_flipped_picture_has_the_embedding_of_its_mirror_image(store):
    found = training(store, 8)
    lab = lab_of(pictures())
    seen = []
    for step, batch in enumerate(found):
        rows, flipped = rows_and_flips(batch)
        np.testing.assert_array_equal(flipped, pipeline.flips(7, step // 2, rows))
        seen.extend(flipped)
        expected = np.where(flipped[:, None, None, None], lab[rows, :, ::-1], lab[rows])
        np.testing.assert_allclose(shown(batch), expected, atol=1e-3)
    assert 0 < sum(seen) < len(seen)


# Evaluation.


@pytest.mark.parametrize("batch_size", [1, 4, 5, 10, 16])
def test_evaluation_shows_every_picture_once_in_order_and_not_flipped(store, batch_size):
    found = evaluation(store, batch_size)
    sizes = [len(batch["L"]) for batch in found]
    assert sizes == [min(batch_size, COUNT - start) for start in range(0, COUNT, batch_size)]
    rows, flipped = zip(*map(rows_and_flips, found), strict=True)
    np.testing.assert_array_equal(np.concatenate(rows), np.arange(COUNT))
    assert not np.concatenate(flipped).any()
    everything = np.concatenate([shown(batch) for batch in found])
    np.testing.assert_allclose(everything, lab_of(pictures()), atol=1e-3)


def test_evaluation_batches_can_be_iterated_again(store):
    given = pipeline.evaluation_batches(store, batch_size=4)
    assert_same(list(given.as_numpy_iterator()), list(given.as_numpy_iterator()))
    assert int(given.cardinality()) == 3  # Keras reads the number of steps from it.


# The store.


def test_batches_do_not_change_the_store(store):
    assert isinstance(store.pictures, np.memmap)
    training(store, 6)
    np.testing.assert_array_equal(store.pictures, pictures())

    # Nor do they change an array in memory, which no file mode protects.
    in_memory = Store(store.path, store.manifest, pictures(), embeddings())
    assert_same(training(in_memory, 6), training(store, 6))
    np.testing.assert_array_equal(in_memory.pictures, pictures())


def test_the_embedding_of_a_batch_is_that_of_its_own_lightness(tmp_path, monkeypatch):
    # In training, a generator gets what the exported chain computes: network(L).
    stores.tiny_embedding(monkeypatch)
    prepared = stores.prepare(tmp_path, embedding_weights="a")
    found = training(prepared, 6) + evaluation(prepared, 8)
    assert sum(len(batch["L"]) for batch in found) == 6 * 4 + stores.COUNT
    for batch in found:
        expected = batch["L"].reshape(len(batch["L"]), -1) @ stores.matrix("a")
        np.testing.assert_allclose(batch["embedding"], expected, atol=1e-4)


def test_scores_belong_to_the_picture_or_its_mirror_image(segmented):
    total = 0
    for batch in training(segmented, 5):
        rows, flipped = rows_and_flips(batch)
        scores = batch["segmentation"]
        assert scores.shape == (4, 2, 4, 21) and scores.dtype == np.float32
        expected = np.where(flipped, -1, 1) * (rows + 1)
        assert (scores == expected[:, None, None, None]).all()
        total += flipped.sum()
    assert 0 < total < 20
    (batch,) = evaluation(segmented, COUNT)
    np.testing.assert_array_equal(batch["segmentation"], segmented.segmentation[:, 0])


def test_no_flip_shares_the_random_numbers_of_the_order():
    """To NumPy, the seeds (7, 3) and (7, 3, 0) are the same."""
    epochs = range(200)
    drawn = np.array([np.random.default_rng([7, epoch]).random() < 0.5 for epoch in epochs])
    flipped = np.array([pipeline.flips(7, epoch, np.arange(4)) for epoch in epochs])
    for row in range(4):
        assert 60 < (flipped[:, row] == drawn).sum() < 140
        assert 60 < flipped[:, row].sum() < 140
