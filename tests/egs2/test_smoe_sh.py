"""smoe.sh and run_job: options, errors that name the cure, jobs and their logs."""

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

TEMPLATE = Path(__file__).parents[2] / "egs2" / "TEMPLATE" / "smoe1"
RECIPE = TEMPLATE.parents[1] / "mini_koen" / "smoe1"
PAIRS = ((3, 5), (5, 7), (7, 9))  # calls of stage 3 that make conditions
TASKS = '[[ "$*" != *task_table* ]] || { echo text text_st; exit; }\n'
NBWB = ("", "_nbwb")  # endings of the sets with --nbwb_share


@pytest.fixture
def recipe(tmp_path):
    """A recipe folder with the template's scripts and a stand-in for Python."""
    folder = tmp_path / "egs2" / "corpus" / "smoe1"
    folder.mkdir(parents=True)
    for name in ("smoe.sh", "run_job", "path.sh"):
        (folder / name).symlink_to(TEMPLATE / name)
    shutil.copy(TEMPLATE / "cmd.sh", folder)
    executable(folder / "fake_python", TASKS + 'echo "$@" >>calls\n')
    return folder


def executable(path, body):
    path.write_text("#!/usr/bin/env bash\n" + body, encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def smoe(folder, *options):
    command = ["./smoe.sh", "--python", "./fake_python", *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def ok(folder, stage, *options):
    """Run one stage, which has to succeed."""
    result = smoe(folder, "--stage", str(stage), "--stop_stage", str(stage), *options)
    assert result.returncode == 0, result.stderr


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("a x\nb y\n", encoding="utf-8")


def calls(folder):
    return (folder / "calls").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize(
    ("stage", "maker"),
    [(3, 1), (4, 3), (5, 4), (10, 4), (11, 10), (12, 11), (13, 12), (14, 11)],
)
def test_stage_without_its_input_names_the_stage_that_makes_it(recipe, stage, maker):
    result = smoe(recipe, "--stage", str(stage), "--stop_stage", str(stage))
    assert result.returncode == 1
    assert f"stage {maker} makes it" in result.stderr


def test_stages_outside_the_range_do_not_run(recipe):
    touch(recipe, *(f"data/{name}/wav.scp" for name in ("train", "dev", "test")))
    ok(recipe, 3)
    assert [line.split()[:2] for line in calls(recipe)] == [
        ["-m", "espnet_smoe.data.prepare"]
    ] * 3


def test_options_reach_the_programs(recipe):
    touch(recipe, *(f"data/{name}/wav.scp" for name in ("t", "dev", "x", "y")))
    sets = ["--train_set", "t", "--test_sets", "x y", "--dumpdir", "prepared"]
    perturb = ["--speed_perturb_factors", "0.9 1.0", "--skip_bad", "true"]
    ok(recipe, 2, *sets, *perturb)
    assert calls(recipe)[0].endswith("--out data/t_sp --factors 0.9 1.0")
    touch(recipe, "data/t_sp/wav.scp")
    (recipe / "calls").unlink()
    ok(recipe, 3, *sets, *perturb)
    assert len(calls(recipe)) == 4
    assert "--in data/t_sp --out prepared/raw/org/t_sp" in calls(recipe)[0]
    assert all("--skip-bad" in line for line in calls(recipe))


def test_bad_data_in_one_set_still_checks_the_others(recipe):
    touch(recipe, *(f"data/{name}/wav.scp" for name in ("train", "dev", "test")))
    executable(recipe / "fake_python", 'echo "$@" >>calls; [[ "$*" != *train* ]]\n')
    result = smoe(recipe, "--stage", "3", "--stop_stage", "3")
    assert result.returncode == 1
    assert "bad data in train" in result.stderr
    assert len(calls(recipe)) == 3


def test_a_full_disk_is_said_and_not_the_data_blamed(recipe):
    touch(recipe, *(f"data/{name}/wav.scp" for name in ("train", "dev", "test")))
    executable(recipe / "fake_python", "echo 'System error.' >&2; exit 1\n")
    executable(recipe / "head", "echo 'head: x: No space left on device' >&2; exit 1\n")
    command = ["./smoe.sh", "--python", "./fake_python", "--stage", "3"]
    env = {**os.environ, "PATH": f"{recipe}:{os.environ['PATH']}"}
    done = subprocess.run(command, cwd=recipe, env=env, capture_output=True, text=True)
    assert done.returncode == 1
    assert "cannot write to dump: No space left on device" in done.stderr
    assert "bad data" not in done.stderr


def test_a_place_that_cannot_be_written_is_said_at_the_start(recipe):
    touch(recipe, *(f"data/{name}/wav.scp" for name in ("train", "dev", "test")))
    result = smoe(recipe, "--stage", "3", "--dumpdir", "/proc/dump")
    assert result.returncode == 1
    assert "cannot write to /proc/dump" in result.stderr
    assert not (recipe / "calls").exists()


def test_a_recipe_may_lie_in_a_folder_of_any_name(recipe):
    root = recipe.parents[2]
    odd = root.parent / "two  spaces & it's #1"
    root.rename(odd)
    folder = odd / recipe.relative_to(root)
    touch(folder, *(f"data/{name}/wav.scp" for name in ("train", "dev", "test")))
    ok(folder, 3)
    assert len(calls(folder)) == 3


def test_test_sets_are_not_filtered_by_length(recipe):
    names = ("train", "dev", "test")
    touch(recipe, *(f"dump/raw/org/{name}/wav.scp" for name in names))
    ok(recipe, 4)
    train, _, test = calls(recipe)
    assert "--max-seconds 30" in train and "--max-seconds 0" not in train
    assert test.endswith("--max-seconds 0")


def test_conditions_follow_the_checked_audio(recipe):
    touch(recipe, *(f"data/{name}/wav.scp" for name in ("train", "dev", "test")))
    ok(recipe, 3, "--nbwb_share", "0.2")
    checks, train, dev, test = (calls(recipe)[i:j] for i, j in ((0, 3), *PAIRS))
    assert all("prepare --in data/" in call for call in checks)
    raw = "dump/raw"
    assert f"channel --in {raw}/org/train --out {raw}/channel/train" in train[0]
    assert f"prepare --in {raw}/channel/train --out {raw}/org/train_nbwb" in train[1]
    assert train[0].endswith("--share 0.2") and dev[0].endswith("--share 1")
    assert test[0].endswith("--every")


def test_mixed_sets_are_whole_with_the_conditions_of_the_others(recipe):
    plain = {"wav.scp": "a a.wav\nb b.wav\n", "utt2bandwidth": "a wb\nb wb\n"}
    heard = {"wav.scp": "b coded.wav\n", "utt2bandwidth": "b nb\n"}
    for name in ("train", "dev", "test"):
        touch(recipe, f"data/{name}/wav.scp")
        for ending, tables in (("", plain), ("_nbwb", heard)):
            for table, rows in (tables | {"text": "b x\n"}).items():
                path = recipe / f"dump/raw/org/{name}{ending}/{table}"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(rows)
    ok(recipe, 3, "--nbwb_share", "0.2", "--with_nbwb", "true")
    mixed = recipe / "dump/raw/org/train_mixed"
    assert (mixed / "wav.scp").read_text() == "a a.wav\nb coded.wav\n"
    assert (mixed / "utt2bandwidth").read_text() == "a wb\nb nb\n"
    assert not (recipe / "dump/raw/org/test_mixed").exists()
    (recipe / "calls").unlink()
    ok(recipe, 4, "--nbwb_share", "0.2", "--with_nbwb", "true")
    kept = [line.split("--out dump/raw/")[1].split()[0] for line in calls(recipe)]
    assert {"train_mixed", "dev_mixed", "test_nbwb"} < set(kept)
    result = smoe(recipe, "--with_nbwb", "true")
    assert "--with_nbwb true needs --nbwb_share" in result.stderr


def test_sets_with_conditions_are_filtered_but_make_no_tokens(recipe):
    names = ("train", "dev", "test")
    for folder in ("dump/raw/org", "dump/raw"):
        for table in ("wav.scp", "text"):
            touch(recipe, *(f"{folder}/{n}{s}/{table}" for n in names for s in NBWB))
    ok(recipe, 4, "--nbwb_share", "0.2")
    kept = [line.split("--out ")[1].split()[0] for line in calls(recipe)]
    expected = ["train", "dev", "train_nbwb", "dev_nbwb", "test", "test_nbwb"]
    assert kept == [f"dump/raw/{name}" for name in expected]
    (recipe / "calls").unlink()
    ok(recipe, 5, "--nbwb_share", "0.2", "--on_nbwb", "true")
    assert "--text dump/raw/train/text dump/raw/train/text_st" in calls(recipe)[0]


def test_training_on_the_conditions_takes_their_sets_and_statistics(with_tokens):
    stats = "exp/stats_train_nbwb_bbpe300"
    touch(
        with_tokens,
        *(f"dump/raw/{name}_nbwb/wav.scp" for name in ("train", "dev")),
        *(
            f"{stats}/{name}"
            for name in ("train/feats_stats.npz", "valid/speech_shape")
        ),
    )
    options = ["--nbpe", "300", "--nbwb_share", "0.2", "--on_nbwb", "true"]
    ok(with_tokens, 11, *options)
    train = calls(with_tokens)[0]
    assert "dump/raw/train_nbwb/wav.scp,speech,sound" in train
    assert "dump/raw/dev_nbwb/text,text,text" in train
    assert f"stats_file={stats}/train/feats_stats.npz" in train


def test_training_on_conditions_that_nobody_makes_is_refused(recipe):
    result = smoe(recipe, "--on_nbwb", "true")
    assert "--on_nbwb true needs --nbwb_share" in result.stderr


@pytest.mark.parametrize("share", ["0", "0.0", ".0", ""])
def test_a_share_of_nothing_makes_no_conditions(recipe, share):
    touch(recipe, *(f"data/{name}/wav.scp" for name in ("train", "dev", "test")))
    ok(recipe, 3, "--nbwb_share", share)
    assert len(calls(recipe)) == 3


@pytest.mark.parametrize("share", ["2", "-0.1", "1.5", "half", "15%"])
def test_a_share_that_is_none_is_refused(recipe, share):
    result = smoe(recipe, "--nbwb_share", share)
    assert f"--nbwb_share '{share}' is not a share between 0 and 1" in result.stderr


@pytest.fixture
def with_tokens(recipe):
    """The recipe after stage 5."""
    tokens = "data/token_list/bbpe300/"
    touch(recipe, tokens + "tokens.txt", tokens + "bpe.json", "conf/train.yaml")
    touch(recipe, "dump/raw/train/wav.scp", "dump/raw/dev/wav.scp")
    return recipe


@pytest.fixture
def with_statistics(with_tokens):
    """The recipe after stage 10."""
    stats = "exp/stats_train_bbpe300/"
    touch(with_tokens, stats + "train/feats_stats.npz", stats + "valid/speech_shape")
    return with_tokens


def test_statistics_are_split_over_jobs_but_never_empty_ones(with_tokens):
    ok(with_tokens, 10, "--nbpe", "300", "--nj", "4")
    logdir = with_tokens / "exp/stats_train_bbpe300/logdir"
    assert (logdir / "train.2.scp").read_text() == "b y\n"
    assert not (logdir / "train.3.scp").exists()
    assert sum("--collect_stats true" in line for line in calls(with_tokens)) == 2


def test_a_job_of_statistics_reads_shards_side_by_side(with_tokens):
    lines = [f"u{at} shards/{at // 4}.tar:512\n" for at in range(10)]
    (with_tokens / "dump/raw/train/wav.scp").write_text("".join(lines))
    (with_tokens / "dump/raw/dev/wav.scp").write_text("".join(lines))
    ok(with_tokens, 10, "--nbpe", "300", "--nj", "3", "--audio_format", "shards")
    logdir = with_tokens / "exp/stats_train_bbpe300/logdir"
    of_job = [(logdir / f"train.{job}.scp").read_text() for job in (1, 2, 3)]
    assert of_job == ["".join(lines[a:b]) for a, b in ((0, 4), (4, 7), (7, 10))]
    assert (logdir / "valid.1.scp").read_text() == "".join(lines[::3])


def test_training_gets_every_file(with_statistics):
    ok(with_statistics, 11, "--nbpe", "300")
    train = calls(with_statistics)[0]
    assert train.startswith("-m espnet_smoe -m espnet2.bin.asr_train --resume true")
    for triplet in (
        "wav.scp,speech,sound",
        "text,text,text",
        "text_st,text_st,text",
        "utt2bandwidth,bandwidth,text",
    ):
        for part, name in (("train", "train"), ("valid", "dev")):
            option = f"--{part}_data_path_and_name_and_type dump/raw/{name}/{triplet}"
            assert option in train
    assert "--output_dir exp/train_bbpe300" in train


def test_failing_training_shows_its_log(with_statistics):
    executable(with_statistics / "fake_python", TASKS + "echo out of memory; exit 3\n")
    result = smoe(with_statistics, "--stage", "11", "--nbpe", "300")
    assert result.returncode != 0
    assert "exp/train_bbpe300/train.log" in result.stderr
    assert "out of memory" in result.stderr


def test_several_nodes_need_slurm(with_statistics):
    options = ["--stage", "11", "--nbpe", "300", "--num_nodes", "2"]
    assert "needs the slurm backend" in smoe(with_statistics, *options).stderr


def test_results_hold_a_command_that_can_be_typed_again(recipe):
    touch(recipe, "exp/train_bbpe40000/decode_default/x/decode.json")
    ok(recipe, 13, "--test_sets", "x", "--asr_args", "--max_epoch 3")
    assert r"--asr_args --max_epoch\ 3" in calls(recipe)[-1]


def test_data_stage_gets_the_interpreter_and_its_options(recipe):
    (recipe / "local").mkdir()
    executable(recipe / "local/data.sh", 'echo "$PYTHON" "$@" >calls\n')
    ok(recipe, 1, "--local_data_opts", "--hours 1")
    assert calls(recipe) == ["./fake_python --hours 1"]


@pytest.mark.parametrize("name", ["smoe.sh", "run_job", "path.sh"])
def test_recipe_shares_the_template(name):
    assert (RECIPE / name).resolve() == TEMPLATE / name


@pytest.mark.parametrize(
    "ngpu, where", [("0", "--nj 2"), ("1", "--device cuda")], ids=["cpu", "gpu"]
)
def test_decoding_uses_the_gpu_where_there_is_one(with_tokens, ngpu, where):
    touch(with_tokens, "dump/raw/test/wav.scp", "conf/decode.yaml")
    for name in ("config.yaml", "valid.acc.ave.pth"):
        touch(with_tokens, f"exp/train_bbpe300/{name}")
    ok(with_tokens, 12, "--nbpe", "300", "--ngpu", ngpu)
    assert calls(with_tokens)[0].endswith(f"decode_{{decoding}}/{{set}} {where}")


def test_the_whole_recipe_ends_with_one_table_of_everything(recipe):
    decoded = "exp/train_bbpe40000/decode_default"
    touch(recipe, f"{decoded}/test/decode.json", "conf/train.yaml")
    touch(recipe, "exp/train_bbpe40000/config.yaml", "conf/tuning/train_base.yaml")
    touch(recipe, "exp/train_bbpe40000/valid.acc.ave.pth")
    (recipe / "conf/train.yaml").write_text("other\n")
    done = smoe(recipe, "--stage", "13", "--nj", "3")
    assert done.returncode == 0, done.stderr
    modules = [line.split()[1] for line in calls(recipe)]
    assert modules[-2:] == [
        "espnet_smoe",  # pack
        "espnet_smoe.report.tables.overview",
    ]
    last = calls(recipe)[-1]
    assert "--decode default --data dump/raw --sets test " in last
    # the very options of this run, so that the other system is comparable
    assert "--nj 3 --stage 11 --asr_config conf/tuning/train_base.yaml" in last
    (recipe / "calls").unlink()
    assert smoe(recipe, "--stage", "13", "--stop_stage", "13").returncode == 0
    assert "overview" not in (recipe / "calls").read_text()
