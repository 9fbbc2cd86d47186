"""u2pp.sh and its run_all.sh: options reach the programs, systems run side by side."""

import pytest

from tests.egs2.stand_ins import TEMPLATE, make_recipe, run, value

RECIPES = [TEMPLATE.parent / f"{name}/u2pp1" for name in ("mini_cmn", "aishell")]
SYSTEMS = ["dense", *(f"moe{e}k{k}" for k in (1, 2) for e in (2, 4, 8))]
STATISTICS = ("train/feats_stats.npz", "valid/speech_shape")
WAYS = ("greedy", "prefix_beam", "attention", "rescoring")


@pytest.fixture
def recipe(tmp_path):
    names = ("train", "decode", "decode_greedy")
    folders = "decode_rescoring_full/test decode_rescoring_chunk16/test"
    configs = {f"{name}.yaml": "" for name in names}
    more = "touch exp/$tag/modes_test.md"
    return make_recipe(tmp_path, "u2pp1", configs, folders, more)


@pytest.fixture
def driver(recipe):
    """The same with the true u2pp.sh."""
    (recipe / "u2pp.sh").symlink_to(TEMPLATE / "u2pp1/u2pp.sh")
    return recipe


def stage(folder, number, *options, check=True):
    only = ("--stage", str(number), "--stop_stage", str(number))
    return run(folder, "./u2pp.sh", *only, *options, check=check)


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("a x\nb y\n", encoding="utf-8")


def test_every_system_is_made_once_a_seed(recipe):
    options = ("--seeds", "1 2", "--jobs", "3", "--nj", "3", "--mandarin", "true")
    options += ("--pretrained_model", "old/SYSTEM/x.pth:encoder:encoder")
    _, calls = run(recipe, "./run_all.sh", *options)
    prepare, *trainings = [c for c in calls if c.startswith("run.sh")]
    assert value(prepare, "stop_stage") == "10"
    expected = [f"{system}_seed{seed}" for seed in (1, 2) for system in SYSTEMS]
    assert sorted(value(c, "asr_tag") for c in trainings) == sorted(expected)
    for call in trainings:
        tag = value(call, "asr_tag")
        assert value(call, "asr_config") == f"conf/tuning/train_{tag[:-6]}.yaml"
        assert value(call, "seed") == tag[-1] and value(call, "nj") == "3"
        assert value(call, "mandarin") == "true"
        assert value(call, "pretrained_model") == f"old/{tag}/x.pth:encoder:encoder"
        assert all(f"conf/decode_{way}.yaml" in call for way in WAYS)
        assert "--chunk_sizes 0 16 8 4" in call


def test_the_tables_compare_with_the_dense_system_and_show_every_mode(recipe):
    _, calls = run(recipe, "./run_all.sh")
    full, chunk16, modes, results, curves = calls[-5:]
    tags = " ".join(f"exp/{name}_seed1" for name in SYSTEMS)
    for call, chunk in ((full, "full"), (chunk16, "chunk16")):
        assert f"compare {tags} --test-set test --decode rescoring_{chunk}" in call
    table = f"decoding_table {tags} --test-set test --out exp/modes_test.md"
    assert f"report.tables.{table}" in modes
    tables = "exp/full_test.md exp/chunk16_test.md exp/modes_test.md"
    assert f"--comparison {tables} --out RESULTS.md" in results
    assert "curves exp/dense_seed1" in curves and value(curves, "key") == "acc"


def test_some_of_the_systems_give_tables_of_these(recipe):
    options = ("--systems", "moe8k2 dense", "--stage", "11")
    _, calls = run(recipe, "./run_all.sh", *options)
    trained = [value(c, "asr_tag") for c in calls if c.startswith("run.sh")]
    assert sorted(trained) == ["dense_seed1", "moe8k2_seed1"]
    assert any("compare exp/dense_seed1 exp/moe8k2_seed1 --test" in c for c in calls)


def test_a_system_that_fails_is_named_and_no_table_is_made(recipe):
    done, calls = run(recipe, "./run_all.sh", check=False, fail="moe4k2_seed1")
    assert done.returncode != 0
    assert "moe4k2_seed1 failed; see exp/moe4k2_seed1/run.log" in done.stderr
    assert not any("compare" in call for call in calls)


def test_help_tells_the_options_of_run_all_and_where_the_others_are(recipe):
    done, calls = run(recipe, "./run_all.sh", "--help")
    assert calls == []
    for told in ("trained side by side", "--jobs '1'", "--chunk_sizes '0 16 8 4'"):
        assert told in done.stdout
    assert done.stdout.endswith("Those of run.sh: ./run.sh --help\n")


def test_an_option_that_every_system_has_of_its_own_is_refused(recipe):
    done, calls = run(recipe, "./run_all.sh", "--asr_tag", "x", check=False)
    assert done.returncode == 1 and calls == []
    assert "--asr_tag belongs to run.sh" in done.stderr


@pytest.mark.parametrize(
    ("number", "maker"), [(3, 1), (4, 3), (5, 4), (10, 4), (11, 10), (12, 11), (13, 12)]
)
def test_a_stage_without_its_input_names_the_stage_that_makes_it(driver, number, maker):
    done, _ = stage(driver, number, check=False)
    assert done.returncode == 1
    assert f"stage {maker} makes it" in done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--token_type", "word"], "--token_type 'word' is not char, bpe or syll"),
        (["--token_type", "bpe"], "--token_type bpe needs --nbpe"),
        (["--chunk_sizes", "0 x"], "--chunk_sizes 'x' is not a whole number"),
        (["--mandarin", "yes"], "--mandarin 'yes' is not true or false"),
    ],
)
def test_a_wrong_option_is_named_and_nothing_runs(driver, options, said):
    done, calls = run(driver, "./u2pp.sh", *options, check=False)
    assert done.returncode == 1 and calls == []
    assert said in done.stderr


def test_mandarin_learns_from_plain_characters(driver):
    touch(driver, *(f"dump/raw/{name}/text" for name in ("train", "dev")))
    _, (plain, tokens) = stage(driver, 5, "--mandarin", "true")
    assert plain.endswith("data.text.plain_text dump/raw/train dump/raw/dev")
    assert "--text dump/raw/train/text_plain --type char --size 0" in tokens
    assert tokens.endswith("--special --out data/token_list/char")


def test_other_languages_may_learn_pieces_of_words(driver):
    touch(driver, *(f"dump/raw/{name}/text" for name in ("train", "dev")))
    _, (tokens,) = stage(driver, 5, "--token_type", "bpe", "--nbpe", "500")
    assert "--text dump/raw/train/text --type bpe --size 500" in tokens
    assert tokens.endswith("--out data/token_list/bpe500")


def test_syllables_are_units_of_their_own(driver):
    touch(driver, *(f"dump/raw/{name}/text" for name in ("train", "dev", "test")))
    options = ("--token_type", "syllable", "--asr_tag", "x")
    _, (units,) = stage(driver, 5, *options)
    train = "data.text.syllables --train dump/raw/train --lang data/token_list/syllable"
    assert units.endswith(f"{train} --sets dump/raw/dev dump/raw/test")
    touch(driver, "data/token_list/syllable/tokens.txt")
    touch(driver, *(f"exp/stats_train_syllable/{name}" for name in STATISTICS))
    _, calls = stage(driver, 11, *options)
    (train,) = [call for call in calls if "asr_train" in call]
    assert value(train, "token_type") == "word" and "bpemodel" not in train
    assert "dump/raw/train/text_syllable,text,text" in train
    touch(driver, "exp/x/config.yaml", "exp/x/valid.acc.ave.pth")
    touch(driver, "dump/raw/test/wav.scp")
    _, calls = stage(driver, 12, *options)
    assert value(calls[-1], "task") == "units"


def test_training_reads_what_stage_5_wrote(driver):
    tokens = [f"data/token_list/bpe500/{name}" for name in ("tokens.txt", "bpe.model")]
    stats = [f"exp/stats_train_bpe500/{name}" for name in STATISTICS]
    touch(driver, *tokens, *stats)
    _, calls = stage(driver, 11, "--token_type", "bpe", "--nbpe", "500")
    (train,) = [call for call in calls if "asr_train" in call]
    assert value(train, "token_list") == tokens[0]
    assert value(train, "bpemodel") == tokens[1]
    assert "dump/raw/train/text,text,text" in train
    assert value(train, "output_dir") == "exp/train_bpe500"


def test_one_process_decodes_everything_and_one_scores_it(driver):
    touch(driver, "exp/x/config.yaml", "exp/x/valid.acc.ave.pth")
    touch(driver, "dump/raw/test/wav.scp")
    configs = "conf/decode.yaml conf/decode_greedy.yaml"
    options = ("--inference_config", configs, "--chunk_sizes", "0 8")
    options += ("--asr_tag", "x", "--mandarin", "true")
    _, (decode,) = stage(driver, 12, *options)
    assert f"--config {configs} --data dump/raw/test" in decode
    assert "--out exp/x/decode_{decoding}/{set} --chunk-size 0 8" in decode
    assert decode.endswith("--task words --nj 2")
    folders = [
        f"{way}_{c}" for way in ("default", "greedy") for c in ("full", "chunk8")
    ]
    folders = [f"exp/x/decode_{folder}/test" for folder in folders]
    touch(driver, *(f"{folder}/decode.json" for folder in folders))
    _, (_, score, modes, results) = stage(driver, 13, *options)
    assert score.endswith(f"score --data dump/raw/test --hyp {' '.join(folders)}")
    table = "decoding_table exp/x --test-set test --out exp/x/modes_test.md"
    assert f"report.tables.{table}" in modes
    assert "--comparison exp/x/modes_test.md --out exp/x/RESULTS.md" in results


@pytest.mark.parametrize("folder", RECIPES, ids=lambda p: p.parent.name)
def test_each_recipe_has_the_configurations_of_every_system(folder):
    for name in SYSTEMS:
        assert (folder / f"conf/tuning/train_{name}.yaml").is_file()
    for way in WAYS:
        assert (folder / f"conf/decode_{way}.yaml").is_file()
    for script in ("run_all.sh", "u2pp.sh"):
        assert (folder / script).resolve() == TEMPLATE / "u2pp1" / script
    data = (folder / "local").resolve()
    assert data == folder.parent / "ctc1/local" and (data / "data.sh").is_file()
