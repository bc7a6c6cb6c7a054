# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
import concurrent.futures

import pytest

from koalagan import options
from koalagan.errors import UserError
from koalagan.training import run_folder
from koalagan.training.resolving import resolve
from koalagan.training.settings import parse


def settings(workdir, *arguments):
    return resolve(parse([f"--workdir={workdir}", "--mixed_precision=float32", *arguments]))


def test_flags_txt_repeats_the_run(tmp_path):
    workdir = str(tmp_path / "run")
    given = settings(
        workdir,
        "--epochs=3",
        "--seed=7",
        "--generator=unet",
        "--noskips",
        "--dropout=0.25",
        "--dropout_at_inference",
        "--noconditional_discriminator",
        "--download",
        "--store_dir=/store",
    )
    run_folder.write_settings(given)
    # What belongs to the machine is not kept.
    expected = options.replace(given, download=False, store_dir=None)
    assert run_folder.read_settings(workdir) == expected
    assert parse([f"--flagfile={workdir}/flags.txt", f"--workdir={workdir}"]) == expected
    assert "workdir" not in (tmp_path / "run" / "flags.txt").read_text()
    # As on a command line, where all of its flags are given.
    again = parse([f"--flagfile={workdir}/flags.txt", f"--workdir={workdir}"])
    assert resolve(again, list(options.values(again))).networks == resolve(given).networks
    run_folder.check(given)


def test_settings_that_are_shown_and_compared(tmp_path):
    shown = run_folder.kept_values(settings(tmp_path, "--data_dir=/pictures"))
    assert shown["dataset"] == "coco/2017" and shown["seed"] == 0
    assert not {"workdir", "store_dir", "download", "data_dir"} & shown.keys()


def test_a_run_is_continued_with_its_flags_only(tmp_path):
    run_folder.check(settings(tmp_path))  # nothing there yet
    run_folder.write_settings(settings(tmp_path))
    run_folder.check(
        settings(
            tmp_path,
            "--store_dir=/elsewhere",
            "--data_dir=/moved",
            "--checkpoint_every_steps=3",
            "--checkpoint_every_minutes=3",
            "--keep_checkpoints=3",
            "--check_every=3",
        )
    )
    with pytest.raises(UserError, match=r"--epochs=15 \(now 2\), --seed=0 \(now 1\)") as info:
        run_folder.check(settings(tmp_path, "--seed=1", "--epochs=2"))
    assert "another --workdir" in str(info.value)


@pytest.mark.parametrize(
    "content, sentence",
    [
        (None, "is not the folder of a run: it has no flags.txt"),
        (b"--nonsense=1\n", "nonsense"),
        (b"\xff\xfe--seed=1", "cannot be read as flags"),
    ],
)
def test_a_folder_that_is_not_a_run(tmp_path, content, sentence):
    if content:
        (tmp_path / "flags.txt").write_bytes(content)
    with pytest.raises(UserError, match=sentence):
        run_folder.read_settings(str(tmp_path))


def test_a_run_keeps_to_its_data(tmp_path):
    workdir = str(tmp_path)
    assert run_folder.read_data(workdir) is None
    data = {"train_split": "a", "embedding_weights": "random-v1"}
    run_folder.compare_data(workdir, data)
    run_folder.compare_data(workdir, data)
    assert run_folder.read_data(workdir) == data
    with pytest.raises(UserError, match=r"has changed since it began \(train_split\)"):
        run_folder.compare_data(workdir, {**data, "train_split": "b"})
    (tmp_path / "data.json").write_text("{")
    with pytest.raises(UserError, match="data.json cannot be read"):
        run_folder.read_data(workdir)


def test_the_metrics_of_a_finished_run(tmp_path):
    assert run_folder.read_metrics(str(tmp_path)) is None
    (tmp_path / "metrics.json").write_text('{"rows": []}')
    assert run_folder.read_metrics(str(tmp_path)) == {"rows": []}


def test_a_workdir_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        run_folder.make(str(tmp_path / "file" / "run"))
    run_folder.make(str(tmp_path / "new" / "run"))
    assert list((tmp_path / "new" / "run").iterdir()) == []


def test_two_processes_may_start_in_one_folder_at_once(tmp_path):
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        list(pool.map(run_folder.make, [str(tmp_path / "run")] * 200))
    assert list((tmp_path / "run").iterdir()) == []


def test_an_empty_folder_is_deleted_when_no_run_has_begun_in_it(tmp_path):
    run_folder.make(str(tmp_path / "run"))
    with run_folder.locked(str(tmp_path / "run")):
        pass
    assert not (tmp_path / "run").exists()


def test_one_process_at_a_time(tmp_path):
    (tmp_path / "flags.txt").touch()
    with run_folder.locked(str(tmp_path)):
        with pytest.raises(UserError, match="another process is training"):
            with run_folder.locked(str(tmp_path)):
                pass
    with run_folder.locked(str(tmp_path)):  # free again
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["flags.txt"]
