# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
import concurrent.futures

import pytest

from koalagan.errors import UserError
from koalagan.training import run_flags, run_folder


def settings(*given):
    return run_flags.parse(given)


def test_flags_txt_repeats_the_run(tmp_path):
    given = settings(
        f"--workdir={tmp_path}/run",
        "--epochs=3",
        "--mixed_precision=float32",
        "--seed=7",
        "--generator=unet",
        "--noskips",
        "--dropout=0.25",
        "--dropout_at_inference",
        "--noconditional_discriminator",
    )
    run_flags.resolve(given)
    run_folder.write_flags(given)
    again = settings(f"--flagfile={tmp_path}/run/flags.txt", f"--workdir={tmp_path}/run")
    assert again.flag_values_dict() == given.flag_values_dict()
    assert "workdir" not in (tmp_path / "run" / "flags.txt").read_text()
    run_folder.check(again)


def test_a_run_is_continued_with_its_flags_only(tmp_path):
    given = settings(f"--workdir={tmp_path}", "--mixed_precision=float32")
    run_folder.check(given)  # nothing there yet
    run_folder.write_flags(given)
    elsewhere = settings(
        f"--workdir={tmp_path}",
        "--mixed_precision=float32",
        "--store_dir=/elsewhere",
        "--data_dir=/moved",
    )
    run_folder.check(elsewhere)
    other = settings(f"--workdir={tmp_path}", "--mixed_precision=float32", "--seed=1")
    with pytest.raises(UserError, match=r"--seed=0 \(now 1\)"):
        run_folder.check(other)


def test_a_folder_that_is_no_run(tmp_path):
    with pytest.raises(UserError, match="holds no flags.txt"):
        run_folder.read_flags(str(tmp_path))
    (tmp_path / "flags.txt").write_text("--nonsense=1\n")
    with pytest.raises(UserError, match="nonsense"):
        run_folder.read_flags(str(tmp_path))
    (tmp_path / "flags.txt").write_bytes(b"\xff\xfe--seed=1")
    with pytest.raises(UserError, match="cannot be read as flags"):
        run_folder.read_flags(str(tmp_path))


def test_a_run_keeps_to_its_data(tmp_path):
    run = str(tmp_path)
    assert run_folder.read_data(run) is None
    run_folder.compare_data(run, {"train_split": "a", "embedding_weights": "random-v1"})
    run_folder.compare_data(run, {"train_split": "a", "embedding_weights": "random-v1"})
    with pytest.raises(UserError, match=r"has changed since it began \(train_split\)"):
        run_folder.compare_data(run, {"train_split": "b", "embedding_weights": "random-v1"})


def test_a_workdir_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        run_folder.make(str(tmp_path / "file" / "run"))
    run_folder.make(str(tmp_path / "new" / "run"))
    assert list((tmp_path / "new" / "run").iterdir()) == []


def test_two_may_start_in_one_folder_at_once(tmp_path):
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        list(pool.map(run_folder.make, [str(tmp_path / "run")] * 200))
    assert list((tmp_path / "run").iterdir()) == []


def test_an_empty_folder_goes_when_nothing_has_begun_in_it(tmp_path):
    run_folder.make(str(tmp_path / "run"))
    with run_folder.alone(str(tmp_path / "run")):
        pass
    assert not (tmp_path / "run").exists()


def test_one_process_at_a_time(tmp_path):
    (tmp_path / "flags.txt").touch()
    with run_folder.alone(str(tmp_path)):
        with pytest.raises(UserError, match="another process is training"):
            with run_folder.alone(str(tmp_path)):
                pass
    with run_folder.alone(str(tmp_path)):  # free again
        pass


def test_what_killed_processes_left_is_deleted(tmp_path):
    (tmp_path / "export").mkdir()
    (tmp_path / "flags.txt").write_text("--seed=1")
    for left in ("export.writing-7", "export.replaced-7"):
        (tmp_path / left / "variables").mkdir(parents=True)
    (tmp_path / ".metrics.writing-9.json").write_text("{")
    run_folder.tidy(str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["export", "flags.txt"]
