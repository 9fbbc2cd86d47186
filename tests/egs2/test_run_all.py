"""run_all.sh: five systems, one preparation, fine-tuning from what was trained."""

import pytest

from tests.egs2.stand_ins import TEMPLATE, make_recipe, run, value

RECIPES = [TEMPLATE.parent / f"{name}/smoe1" for name in ("mini_koen", "aihub_koen")]


@pytest.fixture
def recipe(tmp_path):
    configs = {"decode.yaml": "beam_size: 5\nctc_weight: 0.3  # CTC\n"}
    folders = "decode_default/test decode_default/test_nbwb"
    return make_recipe(tmp_path, "smoe1", configs, folders)


def run_all(folder, *options, check=True):
    return run(folder, "./run_all.sh", *options, check=check)


def test_every_system_is_trained_with_every_seed(recipe):
    _, calls = run_all(recipe, "--seeds", "1 2", "--nj", "3")
    prepare, prepare_nbwb, *rest = calls
    assert value(prepare, "stop_stage") == value(prepare_nbwb, "stop_stage") == "10"
    assert value(prepare_nbwb, "on_nbwb") == "true"
    assert all(
        value(call, "with_nbwb") == "false" for call in calls if "run.sh" in call
    )
    trainings = [call for call in rest if call.startswith("run.sh")]
    systems = ["base", "decffnx2", "decsmoe", "base_nbwb", "encdecsmoe"]
    expected = [f"{system}_seed{seed}" for seed in (1, 2) for system in systems]
    tags = [value(call, "asr_tag") for call in trainings]
    assert sorted(tags) == sorted(expected)
    for call, tag in zip(trainings, tags):
        assert value(call, "nj") == "3" and value(call, "stage") == "11"
        assert value(call, "seed") == tag[-1]
        assert ("--on_nbwb true" in call) == (tag[:-6] in ("base_nbwb", "encdecsmoe"))


def test_fine_tuning_starts_from_the_same_seeds_trained_model(recipe):
    _, calls = run_all(recipe, "--seeds", "2", "--stage", "11")
    upcycle = next(c for c in calls if "upcycle exp/decsmoe_seed2" in c)
    assert value(upcycle, "config") == "conf/tuning/train_encdecsmoe.yaml"
    tuning = next(c for c in calls if "--asr_tag encdecsmoe_seed2" in c)
    assert value(tuning, "pretrained_model") == value(upcycle, "out")
    assert calls.index(upcycle) < calls.index(tuning)


def test_both_tables_hold_all_seeds_and_go_into_the_results(recipe):
    _, calls = run_all(recipe, "--seeds", "1 2")
    first, second, results, experts = calls[-4:]
    assert "compare exp/base_seed1 exp/base_seed2 exp/decffnx2_seed1" in first
    assert value(first, "test-set") == "test"
    assert "compare exp/base_nbwb_seed1 exp/base_nbwb_seed2 exp/encdecsmoe" in second
    assert value(second, "test-set") == "test_nbwb"
    tables = "exp/table1_test.md exp/table2_test_nbwb.md"
    assert f"--comparison {tables} --out RESULTS.md" in results
    assert value(results, "command") == "./run_all.sh"
    assert "experts exp/encdecsmoe_seed1 --data dump/raw/test_nbwb" in experts
    assert value(experts, "ctc-weight") == "0.3"


def test_what_is_done_is_not_done_again(recipe):
    run_all(recipe)
    (recipe / "calls").unlink()
    (recipe / "exp/decffnx2_seed1/RESULTS.md").unlink()
    _, calls = run_all(recipe, "--stage", "11")
    trained = [value(c, "asr_tag") for c in calls if c.startswith("run.sh")]
    assert trained == ["decffnx2_seed1"]


def test_another_decoding_of_what_is_done_has_no_table_and_says_so(recipe):
    run_all(recipe)
    (recipe / "calls").unlink()
    done, calls = run_all(recipe, "--inference_args", "--beam_size 1", check=False)
    assert done.returncode == 1
    assert "a system whose RESULTS.md exists is not decoded again" in done.stderr
    assert not any("report.tables.results" in call for call in calls)


def results_of(calls):
    return next(value(c, "out") for c in calls if "report.tables.results" in c)


def test_the_tables_of_another_command_stay(recipe):
    (recipe / "RESULTS.md").write_text("```sh\n./run_all.sh --seeds 1\\ 2\n```\n")
    done, calls = run_all(recipe, "--seeds", "1")
    assert results_of(calls) == "exp/RESULTS.md"
    assert "RESULTS.md holds the tables of another command and stays" in done.stderr


@pytest.mark.parametrize(
    "options", [["--seeds", "1 2"], ["--test_sets", "x", "--results", "RESULTS.md"]]
)
def test_the_same_command_or_the_user_replaces_the_tables(recipe, options):
    (recipe / "RESULTS.md").write_text("```sh\n./run_all.sh --seeds 1\\ 2\n```\n")
    _, calls = run_all(recipe, *options)
    assert results_of(calls) == "RESULTS.md"


def test_a_system_older_than_its_configuration_is_named(recipe):
    run_all(recipe)
    (recipe / "conf/tuning").mkdir()
    (recipe / "conf/tuning/train_base.yaml").touch()
    done, _ = run_all(recipe, "--stage", "11")
    assert "base_seed1 is not made again, although" in done.stderr
    assert "decsmoe" not in done.stderr


def test_an_option_that_every_system_has_of_its_own_is_refused(recipe):
    done, calls = run_all(recipe, "--asr_tag", "x", check=False)
    assert done.returncode == 1 and calls == []
    assert "--asr_tag belongs to run.sh" in done.stderr


@pytest.mark.parametrize("folder", RECIPES, ids=lambda p: p.parent.name)
def test_each_recipe_has_the_configurations_of_all_five(folder):
    for name in ("base", "decffnx2", "decsmoe", "base_nbwb", "encdecsmoe"):
        assert (folder / f"conf/tuning/train_{name}.yaml").is_file()
    assert (folder / "run_all.sh").resolve() == TEMPLATE / "smoe1/run_all.sh"


def test_whisper_models_are_decoded_as_they_come_beside_all_systems(recipe):
    _, calls = run_all(recipe, "--whisper", "models/whisper-base small.pt")
    imports = [c for c in calls if " import whisper " in c]
    assert [value(c, "out") for c in imports] == [
        "exp/whisper_base",
        "exp/whisper_small",
    ]
    decoded = [c for c in calls if "--asr_tag whisper_" in c]
    for call, name in zip(decoded, ("base", "small")):
        exp = f"exp/whisper_{name}"
        assert value(call, "stage") == "12" and value(call, "stop_stage") == "13"
        assert value(call, "inference_asr_model") == "model.pth"
        assert value(call, "inference_tag") == "default"
        assert call.split().count("--inference_config") == 2  # the last one counts
        assert f"--inference_config {exp}/decode.yaml --inference_tag" in call
        assert (recipe / exp / "decode.yaml").read_text() == "beam_size: 5\n"
    tables = [c for c in calls if " compare " in c]
    assert len(tables) == 2
    for call in tables:
        assert " exp/whisper_base exp/whisper_small --test-set" in call
        assert "--letters" in call
    _, again = run_all(recipe, "--stage", "11", "--whisper", "models/whisper-base")
    assert not [c for c in again[len(calls) :] if "run.sh" in c]


def test_whisper_models_of_one_name_are_refused(recipe):
    done, calls = run_all(recipe, "--whisper", "a/whisper-base base.pt", check=False)
    assert done.returncode == 1 and calls == []
    assert "--whisper: two models are called whisper_base" in done.stderr


def test_all_systems_may_begin_with_a_whisper(recipe):
    _, calls = run_all(recipe, "--start", "whisper-base")
    assert calls[0].endswith("import whisper whisper-base --out exp/start --pad 0")
    scripts = [c for c in calls if c.startswith("run.sh")]
    for call in scripts:
        assert value(call, "asr_config").startswith("conf/whisper/train_")
        assert value(call, "tokens_from") == "exp/start"
        assert value(call, "feats_normalize") == "none"
    sources = {"base": "start", "decffnx2": "start", "decsmoe": "start"}
    sources |= {"base_nbwb": "base_seed1", "encdecsmoe": "decsmoe_seed1"}
    for system, source in sources.items():
        made = next(c for c in calls if f"conf/whisper/train_{system}.yaml" in c[-40:])
        assert f"upcycle exp/{source} --out exp/{system}_seed1/init.pth" in made
        trained = next(c for c in scripts if f"--asr_tag {system}_seed1" in c)
        assert value(trained, "pretrained_model") == f"exp/{system}_seed1/init.pth"
        assert ("--on_nbwb true" in trained) == (source != "start")


def test_help_tells_what_it_does_and_where_the_other_options_are(recipe):
    done, calls = run_all(recipe, "--help")
    assert calls == [] and "The five systems of the paper" in done.stdout
    assert done.stdout.endswith("Those of run.sh: ./run.sh --help\n")
