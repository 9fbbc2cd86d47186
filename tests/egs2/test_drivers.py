"""What smoe.sh, ctc.sh and u2pp.sh share: options, stages to leave out, names."""

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

import pytest

EGS2 = Path(__file__).parents[2] / "egs2"
TEMPLATE = EGS2 / "TEMPLATE"
DRIVERS = ("smoe1/smoe.sh", "ctc1/ctc.sh", "u2pp1/u2pp.sh")
OPTION = re.compile(r"^([a-z_0-9]+)=", flags=re.MULTILINE)
# of ESPnet 202611's asr.sh, those that a user of these recipes may type
OF_ESPNET = """stage stop_stage skip_stages skip_data_prep skip_train skip_eval
skip_packing eval_valid_set ngpu num_nodes nj inference_nj gpu_inference dumpdir expdir
python local_data_opts speed_perturb_factors min_wav_duration max_wav_duration asr_tag
asr_exp asr_stats_dir asr_config asr_args pretrained_model ignore_init_mismatch
inference_tag inference_config inference_args inference_asr_model train_set valid_set
test_sets lang asr_speech_fold_length asr_text_fold_length""".split()
NOTE = """#!/bin/sh
case "$*" in *task_table*)
    [ "$3" = "asr st ja" ] && echo text text_st text_ja || echo text text_st
    exit ;;
esac
echo "$@" >>calls
case "$*" in
*training.statistics*)
    for out; do :; done
    mkdir -p "$out/train" "$out/valid"
    touch "$out/train/feats_stats.npz" "$out/valid/speech_shape" ;;
esac
"""


@pytest.fixture(params=DRIVERS, ids=lambda name: Path(name).stem)
def recipe(request, tmp_path):
    """A recipe with one of the drivers, and a Python that only notes its arguments."""
    return make(tmp_path, request.param)


@pytest.fixture
def smoe(tmp_path):
    return make(tmp_path, DRIVERS[0])


def make(tmp_path, driver):
    folder = tmp_path / "egs2" / "corpus" / "task1"
    folder.mkdir(parents=True)
    for name in (driver, "smoe1/run_job", "smoe1/path.sh", "smoe1/cmd.sh"):
        (folder / Path(name).name).symlink_to(TEMPLATE / name)
    (folder / "driver").symlink_to(Path(driver).name)
    (folder / "note").write_text(NOTE)
    (folder / "note").chmod(0o755)
    for name in ("train", "decode", "decode_greedy"):
        touch(folder, f"conf/{name}.yaml")
    return folder


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("a x\n")


def run(folder, *options, status=0):
    done = subprocess.run(
        [f"./{(folder / 'driver').readlink()}", "--python", "./note", *options],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == status, done.stderr
    return done


def calls(folder):
    path = folder / "calls"
    lines = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return lines


def stage(folder, number, *options):
    run(folder, "--stage", str(number), "--stop_stage", str(number), *options)
    return calls(folder)


def everything(folder):
    """What the stages from 3 on read, so that each of them can be run."""
    names = ("train", "dev", "test")
    for name in names:
        touch(folder, f"data/{name}/wav.scp", f"dump/raw/org/{name}/wav.scp")
        for table in ("wav.scp", "text", "text_st", "text_syllable"):
            touch(folder, f"dump/raw/{name}/{table}")
        touch(folder, f"data/lang/lm_{name}.txt")
    lang = ("tokens.txt", "words.txt", "lexicon.txt", "lm_train.txt", "lm.arpa")
    touch(folder, *(f"data/lang/{name}" for name in lang))
    tokens = {"smoe.sh": "bbpe40000", "ctc.sh": "", "u2pp.sh": "char"}
    tokens = tokens[str((folder / "driver").readlink())]
    touch(folder, f"data/token_list/{tokens}/tokens.txt")
    touch(folder, f"data/token_list/{tokens}/bpe.json")
    ending = f"_{tokens}" if tokens else ""
    stats = f"exp/stats_train{ending}"
    touch(folder, f"{stats}/train/feats_stats.npz", f"{stats}/valid/speech_shape")
    exp = f"exp/train{ending}"
    for name in ("config.yaml", "valid.acc.ave.pth", "valid.loss_ctc.ave.pth"):
        touch(folder, f"{exp}/{name}")
    for way in ("default", "greedy", "default_full", "default_chunk16"):
        touch(folder, f"{exp}/decode_{way}/test/decode.json")
    return exp


def modules(lines):
    return {line.split()[1].removeprefix("espnet_smoe.") for line in lines}


# -- options ------------------------------------------------------------------------


def declared(folder):
    found = []
    for path in (TEMPLATE / "options.sh", (folder / "driver").resolve()):
        block = path.read_text().split("# options begin")[1].split("# options end")[0]
        found += OPTION.findall(block)
    return set(found)


def test_help_lists_every_option_with_one_line_and_its_default(recipe):
    lines = run(recipe, "--help").stdout.splitlines()
    shown = [line.split()[0] for line in lines if line.startswith("  --")]
    assert sorted(shown) == sorted(f"--{name}" for name in declared(recipe))
    for line in lines:
        if line.startswith("  --"):
            assert re.search(r" \S+.*( \[.+\]|\(default: .+\).*)$", line), line


def test_options_are_named_as_in_espnet(recipe):
    assert set(OF_ESPNET) <= declared(recipe)


def test_an_option_of_asr_sh_with_one_value_here_is_taken_with_that_value(recipe):
    run(recipe, "--feats_type", "raw", "--use_lm", "false", "--stage", "99")
    done = run(recipe, "--feats_type", "fbank_pitch", status=1)
    assert "--feats_type is always raw here, not 'fbank_pitch'" in done.stderr


def test_an_unknown_option_is_named_with_the_nearest_known_one(recipe):
    done = run(recipe, "--inference_asr_modle", "x", status=1)
    assert "unknown option --inference_asr_modle" in done.stderr
    assert "(did you mean --inference_asr_model?)" in done.stderr
    assert "did you mean" not in run(recipe, "--xyzzy", "x", status=1).stderr


def test_a_former_name_is_taken_and_the_new_one_named(recipe):
    touch(recipe, *(f"dump/raw/org/{name}/wav.scp" for name in ("train", "dev")))
    options = ("--stage", "4", "--stop_stage", "4", "--test_sets", "dev")
    done = run(recipe, *options, "--min_seconds", "0.5")
    assert "--min_seconds is called --min_wav_duration now" in done.stderr
    assert "--min-seconds 0.5" in calls(recipe)[0]


def test_hyphens_are_underscores_as_in_kaldi(recipe):
    assert run(recipe, "--stop-stage", "0").returncode == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--nj"], "option --nj needs a value"),
        (["--nj", "--stage", "3"], "option --nj needs a value"),
        (["--nj=3"], "options are --NAME VALUE, not '--nj=3'"),
        (["train"], "unexpected argument 'train'"),
        (["--stage", "x"], "--stage 'x' is not a whole number"),
        (["--inference_nj", "x"], "--inference_nj 'x' is not a whole number"),
        (["--skip_eval", "yes"], "--skip_eval 'yes' is not true or false"),
        (["--gpu_inference", "1"], "--gpu_inference '1' is not true or false"),
        (["--min_wav_duration", "x"], "--min_wav_duration 'x' is no number"),
        (["--audio_format", "ark"], "--audio_format 'ark' is not wav or shards"),
        (["--shard_size", "0"], "--shard_size is 1 at least"),
        (["--train_nj", "0"], "--train_nj is 1 at least"),
        (["--train_nj", "2", "--ngpu", "1"], "for one machine without GPUs"),
        (["--train_nj", "2", "--num_nodes", "2"], "for one machine without GPUs"),
        (["--python", "torchrun python3"], "--ngpu and --train_nj start more"),
        (["--skip_stages", "a"], "--skip_stages 'a' are no whole numbers"),
    ],
)
def test_a_wrong_value_is_named_and_nothing_runs(recipe, words, said):
    assert said in run(recipe, *words, status=1).stderr
    assert not calls(recipe)


def test_shards_are_of_training_alone(recipe):
    everything(recipe)
    shards = ("--audio_format", "shards", "--shard_size", "50")
    made = [line for line in stage(recipe, 3, *shards) if "data.prepare" in line]
    assert ["--shards 50" in line for line in made] == [True, False, False]
    *_, trained = (line for line in stage(recipe, 11, *shards) if "asr_train" in line)
    assert "raw/train/wav.scp,speech,shard" in trained
    assert "raw/dev/wav.scp,speech,sound" in trained
    assert "--iterator_type task --valid_iterator_type sequence" in trained
    assert "task" not in "".join(stage(recipe, 11))


# -- stages that are left out -------------------------------------------------------


def test_only_the_stages_asked_for_run(recipe):
    everything(recipe)
    run(recipe, "--stage", "3", "--stop_stage", "5")
    ran = modules(calls(recipe))
    assert {"data.prepare", "data.filter"} < ran
    assert ran <= {"data.prepare", "data.filter", "data.text.tokens", SYLLABLES}


SYLLABLES = "data.text.syllables"


def test_skip_train_leaves_what_only_training_needs(recipe):
    everything(recipe)
    run(recipe, "--stage", "2", "--skip_train", "true", "--test_sets", "test")
    lines = calls(recipe)
    for line in lines:
        assert not re.search(r"(data|raw|org)/(train|dev)\b", line), line
    ran = modules(lines)
    assert {"data.prepare", "data.filter"} < ran
    of_training = {"data.text.tokens", "lm.train", "inference.wfst.graph", "espnet2"}
    assert not any(name.startswith(tuple(of_training)) for name in ran)
    assert any("inference.decode" in name for name in ran)


def test_skip_train_gives_new_test_sets_the_units_of_the_model(tmp_path):
    folder = make(tmp_path, "ctc1/ctc.sh")
    everything(folder)
    (line,) = stage(folder, 5, "--skip_train", "true")
    assert line == f"-m espnet_smoe.{SYLLABLES} --lang data/lang --sets dump/raw/test"


@pytest.mark.parametrize(
    ("option", "gone"),
    [
        (["--skip_data_prep", "true"], {"data.prepare", "data.filter"}),
        (["--skip_eval", "true"], {"inference.decode", "score", "report"}),
        (["--skip_packing", "true"], {"pack"}),
        (["--skip_stages", "3 12 14"], {"data.prepare", "inference.decode"}),
    ],
)
def test_stages_can_be_left_out(recipe, option, gone):
    everything(recipe)
    run(recipe, "--stage", "3", *option)
    lines = calls(recipe)
    ran = {name for line in lines for name in line.replace("espnet_smoe.", "").split()}
    assert not any(name.startswith(tuple(gone)) for name in ran)
    assert any("asr_train" in line for line in lines)


def test_the_validation_set_can_be_decoded_too(recipe):
    everything(recipe)
    (line,) = stage(recipe, 12, "--eval_valid_set", "true")  # one model for both
    assert "--data dump/raw/test dump/raw/dev --out " in line


# -- names and what reaches the programs --------------------------------------------


def test_experiment_and_statistics_can_have_folders_of_their_own(recipe):
    everything(recipe)
    touch(recipe, "s/train/feats_stats.npz", "s/valid/speech_shape")
    options = ("--asr_exp", "e/mine", "--asr_stats_dir", "s", "--seed", "7")
    lines = stage(recipe, 11, *options, "--ignore_init_mismatch", "true")
    train = lines[-1]
    assert "--output_dir e/mine --seed 7" in train and "stats_file=s/train" in train
    assert "--ignore_init_mismatch true" in train
    assert "--fold_length 80000 --fold_length 150" in train


def test_the_language_is_part_of_names_as_in_espnet(smoe):
    for name in ("dump/raw/train/text", "dump/raw/dev/text"):
        touch(smoe, name)
    (tokens, *_) = stage(smoe, 5, "--lang", "ko", "--nbpe", "300")
    assert tokens.endswith("--out data/ko_token_list/bbpe300")
    touch(smoe, "exp/train_ko_bbpe300/config.yaml")
    touch(smoe, "exp/train_ko_bbpe300/valid.acc.ave.pth")
    assert stage(smoe, 14, "--lang", "ko", "--nbpe", "300")


def test_tokens_are_learned_as_the_options_say(smoe):
    touch(smoe, "dump/raw/train/text", "dump/raw/dev/text", "labels")
    (smoe / "labels").write_text("<a>\n<b>\n")
    options = ("--bpemode", "unigram", "--bpe_input_sentence_size", "50")
    (tokens, *_) = stage(smoe, 5, *options, "--bpe_nlsyms", "<a>,<b>")
    assert "--type unigram --size 40000 --tasks conf/train.yaml " in tokens
    assert "--special <a> <b> --sentences 50" in tokens
    assert tokens.endswith("data/token_list/unigram40000")
    (tokens, *_) = stage(smoe, 5, "--bpe_nlsyms", "labels")
    assert "--special <a> <b> " in tokens
    done = run(smoe, "--bpemode", "word", status=1)
    assert "--bpemode 'word' is not bbpe, bpe or unigram" in done.stderr


def test_the_former_name_of_a_tokenizer_is_taken(smoe):
    touch(smoe, "dump/raw/train/text", "dump/raw/dev/text")
    (tokens, *_) = stage(smoe, 5, "--bpe_type", "sentencepiece")
    assert "--type bpe " in tokens


def test_a_third_task_is_learned_and_its_texts_are_counted(smoe):
    everything(smoe)
    texts = ("--tasks", "asr st ja")
    (tokens, *_) = stage(smoe, 5, *texts)
    assert "dump/raw/train/text_st dump/raw/train/text_ja --type" in tokens
    assert "--tasks asr st ja --special" in tokens
    assert all("--tasks asr st ja" in line for line in stage(smoe, 3, *texts))
    train = stage(smoe, 11, *texts)[-1]
    assert "dump/raw/train/text_ja,text_ja,text" in train
    assert "--model_conf tasks=[asr,st,ja]" in train


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ([], "--nj 2"),
        (["--inference_nj", "5"], "--nj 5"),
        (["--ngpu", "4"], "--device cuda"),
        (["--ngpu", "4", "--gpu_inference", "false"], "--nj 2"),
        (["--gpu_inference", "true"], "--device cuda"),
    ],
)
def test_decoding_has_processes_and_gpus_of_its_own(recipe, options, where):
    everything(recipe)
    assert all(line.endswith(where) for line in stage(recipe, 12, *options))


def test_each_decoding_configuration_has_a_folder(smoe):
    exp = everything(smoe)
    configs = ("--inference_config", "conf/decode.yaml conf/decode_greedy.yaml")
    (decode,) = stage(smoe, 12, *configs)
    assert (
        f"{configs[1]} --data dump/raw/test --out {exp}/decode_{{decoding}}/{{set}} "
        in decode
    )
    touch(smoe, f"{exp}/decode_greedy/test/decode.json")
    score, results = stage(smoe, 13, *configs)
    assert score.endswith(f"--hyp {exp}/decode_default/test {exp}/decode_greedy/test")
    done = run(smoe, *configs, "--inference_tag", "x", status=1)
    assert "--inference_tag names one decoding" in done.stderr
    (one,) = stage(smoe, 12, "--inference_args", "--beam_size 3")
    assert one.endswith("--beam_size 3")
    assert f"--out {exp}/decode_{{decoding}}_beam_size3/{{set}} " in one
    (one,) = stage(smoe, 12, "--inference_tag", "x")
    assert f"--out {exp}/decode_x/{{set}} " in one


def test_without_names_every_test_set_of_stage_1_is_decoded(recipe):
    exp = everything(recipe)
    for name in ("test_male", "eval_clean"):
        touch(recipe, f"data/{name}/wav.scp", f"dump/raw/{name}/wav.scp")
        touch(recipe, f"dump/raw/{name}/text_syllable")
    shutil.rmtree(recipe / "data/test")
    (recipe / "data/testimony").mkdir()  # no data directory
    (line,) = stage(recipe, 12, "--test_sets", "")
    found = set(re.findall(r" dump/raw/(\S+)", line))
    assert found == {"test_male", "eval_clean"} and exp
    shutil.rmtree(recipe / "data")
    done = run(recipe, "--test_sets", "", "--stage", "12", status=1)
    assert "run stage 1, or name --test_sets" in done.stderr


def test_a_schedule_is_asked_for_options_that_come_before_the_users(recipe):
    exp = everything(recipe)
    (recipe / "plan.py").write_text("import sys\nprint('--warmup', *sys.argv[1:3])\n")
    (recipe / "note").write_text(NOTE + '[ "$1" != plan.py ] || echo "--warmup $2"\n')
    lines = stage(recipe, 11, "--schedule", "plan.py", "--asr_args", "--max_epoch 3")
    plan = next(line for line in lines if line.startswith("plan.py"))
    assert plan.startswith("plan.py conf/train.yaml dump/raw/train --stats exp/st")
    assert plan.endswith(f"--exp {exp} -- --max_epoch 3")
    train = lines[-1]
    assert train.endswith(f"--output_dir {exp} --warmup conf/train.yaml --max_epoch 3")


def test_modules_and_names_that_the_scripts_speak_of_exist():
    for script in TEMPLATE.rglob("*.sh"):
        text = script.read_text(encoding="utf-8")
        for module in re.findall(r"-m (espnet_smoe[\w.]*)", text):
            assert importlib.util.find_spec(module), f"{script}: {module}"
        for line in re.findall(r"^from espnet_smoe.*$", text, re.MULTILINE):
            exec(line, {})


# -- recipes ------------------------------------------------------------------------
