"""Recipe asterisk: where its packages come from, its systems, what run_all.sh calls."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from espnet_smoe.config.yaml_file import read_yaml
from espnet_smoe.data.data_dir import read_table
from espnet_smoe.data.task_table import load_task_table, tokens_of
from tests.data.corpora import debs

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "egs2/asterisk/smoe1"
SYSTEMS = ("base", "decffnx2", "decsmoe", "encdecsmoe", "declanguage")
WORDS = "zero one two three four five six seven eight nine".split()
LANGUAGES = "en es fr it ru".split()
APT_GET = """#!/bin/sh
echo "$@" >>{folder}/calls
for package; do
    [ "$package" = download ] || cp {mirror}/"${{package%%=*}}"_* . || exit 100
done
"""


@pytest.fixture(scope="module")
def mirror(tmp_path_factory):
    """Tiny packages of every language."""
    folder = tmp_path_factory.mktemp("mirror")
    for language in LANGUAGES:
        texts = {f"vm-{i}": f"{language} {word}" for i, word in enumerate(WORDS)}
        debs.write_prompts(folder, language, texts)
    return folder


@pytest.fixture
def recipe(tmp_path, mirror):
    """A copy of the recipe that wants the tiny packages."""
    folder = tmp_path / "egs2/asterisk/smoe1"
    shutil.copytree(RECIPE / "local", folder / "local")
    shutil.copy(RECIPE / "path.sh", folder)
    debs.write_sums(mirror, folder / "local/sha256sums")
    return folder


def stage1(recipe, *options, path=None):
    env = os.environ | {"PYTHON": sys.executable, "PYTHONPATH": str(ROOT)}
    env |= {"PATH": path} if path else {}
    command = ["local/data.sh", *options]
    return subprocess.run(command, cwd=recipe, env=env, capture_output=True, text=True)


def with_apt_get(tmp_path, mirror):
    """PATH with an apt-get that copies from the mirror."""
    (tmp_path / "bin").mkdir()
    apt_get = tmp_path / "bin/apt-get"
    apt_get.write_text(APT_GET.format(folder=tmp_path, mirror=mirror))
    apt_get.chmod(0o755)
    return f"{tmp_path / 'bin'}:{os.environ['PATH']}"


def test_stage_1_fetches_what_is_missing(recipe, tmp_path, mirror):
    (recipe / "downloads").mkdir()
    there = debs.package(mirror, "ru", "gsm")
    shutil.copy(there, recipe / "downloads")
    path = with_apt_get(tmp_path, mirror)
    done = stage1(recipe, "--codecs", "gsm", "--nj", "1", path=path)
    assert done.returncode == 0, done.stderr
    (call,) = (tmp_path / "calls").read_text().splitlines()
    asked = [f"{p.name.split('_')[0]}=1.6.1-1" for p in sorted(mirror.glob("*.deb"))]
    asked.remove("asterisk-core-sounds-ru-gsm=1.6.1-1")
    assert call.split() == ["download", *asked]
    spoken = read_table(recipe / "data/train/utt2lang", [])
    assert set(spoken.values()) == set(LANGUAGES)
    assert "vm-1 " not in (recipe / "data/problems.tsv").read_text()


def test_a_folder_of_packages_needs_no_apt_get(recipe, mirror):
    options = ["--debs", str(mirror), "--languages", "es", "fr", "--codecs", "gsm"]
    done = stage1(recipe, *options, "--nj", "1")
    assert done.returncode == 0, done.stderr
    assert not (recipe / "downloads").exists()
    english = read_table(recipe / "data/train/text_st", [])
    assert all(text.startswith("en ") for text in english.values())


def test_what_cannot_be_fetched_is_told_with_the_cure(recipe, tmp_path, mirror):
    path = with_apt_get(tmp_path, tmp_path)  # has none of them
    done = stage1(recipe, path=path)
    assert done.returncode == 1
    assert "apt-get update, or take them from snapshot.debian.org" in done.stderr
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("bash", "env", "mkdir"):
        (bare / name).symlink_to(shutil.which(name))
    done = stage1(recipe, path=str(bare))
    assert done.returncode == 1 and "no apt-get here" in done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--debs", "none"], "--debs none is no folder"),
        (["--debs"], "--debs needs a folder"),
        (["--debs", ".", "--languages", "es"], "there is no asterisk-core-sounds-es_"),
        (["--debs", ".", "--languages", "xx"], "invalid choice: 'xx'"),
        (["--debs", ".", "--digits", "-1"], "--digits -1: give 0 or how many"),
    ],
)
def test_a_wrong_option_is_told(recipe, options, message):
    done = stage1(recipe, *options)
    assert done.returncode and message in done.stderr
    assert "Traceback" not in done.stderr


def test_help_names_the_options_of_both_programs(recipe):
    done = stage1(recipe, "--help")
    assert done.returncode == 0
    for option in ("--debs DIR", "--digits", "--languages", "--codecs"):
        assert option in done.stdout


def test_every_package_has_a_sum():
    listed = read_table(RECIPE / "local/sha256sums", [])
    assert sorted(listed.values()) == sorted(
        debs.package(Path(), language, codec).name
        for language in LANGUAGES
        for codec in ("", "gsm", "g722")
    )
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in listed)


def config(system, folder="tuning"):
    return read_yaml(RECIPE / f"conf/{folder}/train_{system}.yaml")


def test_each_system_differs_from_base_in_its_experts():
    base = config("base")
    by_task = {"gate": "label", "labels": ["<translate>", "<transcribe>"]}
    spoken = {"gate": "label", "labels": [f"<{language}>" for language in LANGUAGES]}
    by_bandwidth = {"gate": "label", "labels": ["<wb>", "<nb>"]}
    for system, encoder, decoder in (
        ("decffnx2", {}, {"linear_units": 2 * base["decoder_conf"]["linear_units"]}),
        ("decsmoe", {}, {"moe": by_task}),
        ("encdecsmoe", {"moe": by_bandwidth}, {"moe": by_task}),
        ("declanguage", {}, {"moe": spoken}),
    ):
        assert config(system) == base | {
            "encoder_conf": base["encoder_conf"] | encoder,
            "decoder_conf": base["decoder_conf"] | decoder,
        }


def test_tokens_have_every_prompt_and_label():
    script = (RECIPE / "run.sh").read_text()
    special = re.search(r"--bpe_nlsyms '([^']*)'", script)[1].split()
    assert set(special) == {f"<{language}>" for language in LANGUAGES} | {
        *("<transcribe>", "<translate>", "<wb>", "<nb>")
    }
    table = load_task_table(RECIPE / "conf/train.yaml")
    assert set(tokens_of(table)) <= set(special)
    assert {row.spoken for row in table.values()} == {"es"}


def noted_run_all(tmp_path, *options, decoding="default"):
    """What run_all.sh calls, with a run.sh and a python3 that only note."""
    folder = tmp_path / "egs2/asterisk/smoe1"
    folder.mkdir(parents=True)
    scored = folder / f"exp/base_seed1/decode_{decoding}/test"
    scored.mkdir(parents=True)
    (scored / "scores.json").touch()
    (tmp_path / "egs2/TEMPLATE").symlink_to(ROOT / "egs2/TEMPLATE")
    for name in ("run_all.sh", "path.sh", "conf"):
        (folder / name).symlink_to(RECIPE / name)
    for name in ("run.sh", "python3"):
        (folder / name).write_text(f'#!/bin/sh\necho {name} "$@" >>"{folder}/calls"\n')
        (folder / name).chmod(0o755)
    env = os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"}
    command = ["./run_all.sh", *options]
    subprocess.run(command, cwd=folder, env=env, check=True, capture_output=True)
    return [shlex.split(x) for x in (folder / "calls").read_text().splitlines()]


def value(call, option):
    return call[call.index(f"--{option}") + 1]


def test_run_all_trains_five_systems_on_the_same_data(tmp_path):
    calls = noted_run_all(tmp_path, "--seeds", "1 2")
    tags = [value(call, "asr_tag") for call in calls if "--asr_tag" in call]
    assert sorted(tags) == sorted(f"{s}_seed{n}" for s in SYSTEMS for n in (1, 2))
    assert sum("--stop_stage" in c and "10" in c for c in calls) == 1
    assert not any("upcycle" in call or "--on_nbwb" in call for call in calls)


def test_run_all_begins_with_a_whisper(tmp_path):
    calls = noted_run_all(tmp_path, "--start", "whisper-base", decoding="whisper")
    imported, prepared = calls[:2]
    assert imported[3:] == shlex.split(
        "import whisper whisper-base --out exp/start --language es --pad 0"
    )
    assert value(prepared, "tokens_from") == "exp/start"
    for system in SYSTEMS:
        tag = f"{system}_seed1"
        init = f"exp/{tag}/init.pth"
        (upcycled,) = (c for c in calls if "upcycle" in c and init in c)
        assert value(upcycled, "config") == f"conf/whisper/train_{system}.yaml"
        (trained,) = (c for c in calls if tag in c and "--stop_stage" in c)
        assert value(trained, "pretrained_model") == init
        assert value(trained, "inference_config") == "conf/decode_whisper.yaml"


def test_a_table_is_of_the_decoding_that_was_asked_for(tmp_path):
    options = "--whisper", "whisper-base", "--inference_args", "--beam_size 1"
    calls = noted_run_all(tmp_path, *options, decoding="default_beam_size1")
    (compared,) = (call for call in calls if "compare" in call)
    assert value(compared, "decode") == "default_beam_size1"
    assert value(compared, "test-set") == "test"
    (came,) = (c for c in calls if "--inference_asr_model" in c)
    assert value(came, "inference_tag") == "default_beam_size1"


@pytest.mark.parametrize("system", SYSTEMS)
def test_whispers_systems_are_those_from_nothing(system):
    small, of_whisper = config(system), config(system, "whisper")
    for part in ("encoder_conf", "decoder_conf"):
        labels = small[part].get("moe", {}).get("labels", [])
        own = of_whisper[part].get("moe", {}).get("labels", [])
        if part == "decoder_conf":  # Whisper's tokens
            labels = [label.replace("<", "<|").replace(">", "|>") for label in labels]
        assert own == labels
    table = load_task_table(RECIPE / f"conf/whisper/train_{system}.yaml")
    assert {row.spoken for row in table.values()} == {"es"}
