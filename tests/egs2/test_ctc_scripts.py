"""ctc.sh and its run_all.sh: options reach the programs, systems run side by side."""

import os
import shutil

import pytest

from tests.egs2.stand_ins import TEMPLATE, make_recipe, run, value

RECIPES = [TEMPLATE.parent / f"{name}/ctc1" for name in ("mini_cmn", "aishell")]
SYSTEMS = ["b1", "b2", "moe_l1", "emb", "2e", "4e", "8e"]


@pytest.fixture
def recipe(tmp_path):
    configs = {"decode.yaml": "search: greedy\n"}
    decoded = "decode_default/test decode_greedy/test"
    return make_recipe(tmp_path, "ctc1", configs, decoded)


@pytest.mark.parametrize("jobs", ["1", "3"])
def test_every_system_is_made_once_a_seed(recipe, jobs):
    options = ("--seeds", "1 2", "--jobs", jobs, "--nj", "3")
    _, calls = run(recipe, "./run_all.sh", *options)
    prepare, *trainings = [c for c in calls if c.startswith("run.sh")]
    assert value(prepare, "stop_stage") == "10"
    expected = [f"{system}_seed{seed}" for seed in (1, 2) for system in SYSTEMS]
    assert sorted(value(c, "asr_tag") for c in trainings) == sorted(expected)
    for call in trainings:
        tag = value(call, "asr_tag")
        assert value(call, "asr_config") == f"conf/tuning/train_{tag[:-6]}.yaml"
        assert value(call, "seed") == tag[-1] and value(call, "nj") == "3"


def test_tables_are_of_whole_trainings_where_run_sh_has_a_short_look(recipe):
    _, calls = run(recipe, "./run_all.sh", "--systems", "b1")
    assert all(" --asr_args  --" in c for c in calls if c.startswith("run.sh"))
    shutil.rmtree(recipe / "exp")
    _, calls = run(recipe, "./run_all.sh", "--systems", "b1", "--asr_args", "--seed 7")
    *_, training = (c for c in calls if c.startswith("run.sh"))
    assert training.rpartition(" --asr_args ")[2].startswith("--seed 7 ")
    (recipe / "run.sh").write_bytes((RECIPES[0] / "run.sh").read_bytes())
    shutil.copy(recipe / "python3", recipe / "ctc.sh")
    for options, last in (((), "--max_epoch 8"), (("--asr_args", "-"), "-")):
        _, calls = run(recipe, "./run.sh", *options)
        assert calls[-1].rpartition(" --asr_args ")[2] == last


def test_the_tables_stand_in_the_order_of_the_paper(recipe):
    _, calls = run(recipe, "./run_all.sh")
    one, two, three, greedy, results, curves, experts = calls[-7:]
    assert "compare exp/b1_seed1 exp/b2_seed1 exp/moe_l1_seed1 --test-set test" in one
    assert "compare exp/moe_l1_seed1 exp/emb_seed1 exp/4e_seed1 " in two
    assert "compare exp/b1_seed1 exp/2e_seed1 exp/4e_seed1 exp/8e_seed1 " in three
    every = "b1 2e 4e 8e b2 moe_l1 emb".split()
    assert f"compare {' '.join(f'exp/{s}_seed1' for s in every)} " in greedy
    assert [value(c, "decode") for c in (three, greedy)] == ["default", "greedy"]
    names = ("table1", "table2", "table3", "greedy")
    tables = " ".join(f"exp/{name}_test.md" for name in names)
    assert f"--comparison {tables} --out RESULTS.md" in results
    assert "curves exp/b1_seed1 exp/2e_seed1 exp/4e_seed1 exp/8e_seed1" in curves
    assert "experts exp/4e_seed1 --data dump/raw/test" in experts


def test_a_part_of_the_systems_leaves_the_tables_of_all_alone(recipe):
    (recipe / "RESULTS.md").write_text("```sh\n./run_all.sh --jobs 2\n```\n")
    done, calls = run(recipe, "./run_all.sh", "--systems", "b1 b2")
    results = next(call for call in calls if "report.tables.results" in call)
    assert value(results, "out") == "exp/RESULTS.md"
    assert "--results RESULTS.md replaces it" in done.stderr


@pytest.mark.parametrize(
    ("systems", "made"),
    [
        ("8e", ["table3", "greedy", "curves"]),
        ("b1 2e b2", ["table1", "table3", "greedy", "curves"]),
        ("emb", ["table2", "greedy"]),
    ],
)
def test_some_of_the_systems_give_tables_of_these(recipe, systems, made):
    _, calls = run(recipe, "./run_all.sh", "--systems", systems, "--stage", "11")
    reports = [c for c in calls if c.startswith("python3")]
    assert len(reports) == len(made) + 1  # and RESULTS.md
    for name in made:
        assert any(f"exp/{name}" in c and "png" in c for c in reports), name


def test_jobs_share_the_cores_unless_told_otherwise(recipe):
    _, calls = run(recipe, "./run_all.sh", "--jobs", str(os.cpu_count() + 1))
    assert {value(c, "nj") for c in calls if c.startswith("run.sh")} == {"1"}


def test_a_system_that_fails_is_named_and_no_table_is_made(recipe):
    done, calls = run(
        recipe, "./run_all.sh", "--jobs", "2", check=False, fail="emb_seed1"
    )
    assert done.returncode != 0
    assert "emb_seed1 failed; see exp/emb_seed1/run.log" in done.stderr
    assert not any("compare" in call for call in calls)


def test_what_is_done_is_not_done_again(recipe):
    run(recipe, "./run_all.sh")
    (recipe / "calls").unlink()
    (recipe / "exp/2e_seed1/RESULTS.md").unlink()
    _, calls = run(recipe, "./run_all.sh", "--stage", "11")
    trained = [value(c, "asr_tag") for c in calls if c.startswith("run.sh")]
    assert trained == ["2e_seed1"]


@pytest.mark.parametrize(
    ("stage", "maker"), [(3, 1), (4, 3), (5, 4), (6, 5), (8, 5), (10, 4), (12, 11)]
)
def test_a_stage_without_its_input_names_the_stage_that_makes_it(recipe, stage, maker):
    (recipe / "ctc.sh").symlink_to(TEMPLATE / "ctc1/ctc.sh")
    options = ("--stage", str(stage), "--stop_stage", str(stage))
    done, _ = run(recipe, "./ctc.sh", *options, check=False)
    assert done.returncode == 1
    assert f"stage {maker} makes it" in done.stderr


def test_a_ready_language_model_takes_the_place_of_training_one(recipe):
    (recipe / "ctc.sh").symlink_to(TEMPLATE / "ctc1/ctc.sh")
    lang = recipe / "data/lang"
    lang.mkdir(parents=True)
    for name in ("tokens.txt", "lexicon.txt"):
        (lang / name).touch()
    (recipe / "my.arpa").touch()
    for stage in ("6", "8"):
        options = ("--stage", stage, "--stop_stage", stage, "--arpa", "my.arpa")
        run(recipe, "./ctc.sh", *options)
    _, (graph,) = run(recipe, "true")
    assert (
        "espnet_smoe.inference.wfst.graph" in graph
        and value(graph, "arpa") == "my.arpa"
    )


@pytest.mark.parametrize("folder", RECIPES, ids=lambda p: p.parent.name)
def test_each_recipe_has_the_configurations_of_all_seven(folder):
    for name in SYSTEMS:
        assert (folder / f"conf/tuning/train_{name}.yaml").is_file()
    for script in ("run_all.sh", "ctc.sh"):
        assert (folder / script).resolve() == TEMPLATE / "ctc1" / script
