"""Every command, given files that are not what it needs: a line, no traceback."""

import importlib
import io
import sys
import wave
from pathlib import Path

import pytest
import soundfile

from espnet_smoe.cli import COMMANDS
from espnet_smoe.command import run_command
from espnet_smoe.pack.folder import write_folder
from tests.tiny import noise, save_experiment, tiny_config

# What a command needs; each {file} is put wrong in turn, in each way of BAD.
NEEDS = {
    "transcribe": "{wav} --model {exp} --out {out}",
    "transcribe a zip": "{wav} --model {zip} --out {out}",
    "transcribe by files": "{wav} --train-config {config} --model-file {weights}",
    "serve": "--model {exp} --port 0",
    "stream": "--model {exp} {wav}",
    "prepare": "--in {data} --out {out}",
    "score": "--data {data} --hyp {decode} --out {out}",
    "compare": "{exp} --data {data} --out {out}",
    "curves": "{exp} --png {out}",
    "check-config": "{config} --token-list {tokens}",
    "fit-batch": "{config} --token-list {tokens} --stats {stats} --memory 4G",
    "upcycle": "{exp} --config {config} --out {out}",
    "slice": "--model {exp} --label <translate> <wb> --format smoe --out {out}",
    "slice a zip": "--model {zip} --label <translate> <wb> --out {out}",
    "import espnet": "espnet {exp} --out {out}",
    "import espnet a zip": "espnet {zip} --out {out}",
    "import whisper": "whisper {exp} --out {out}",
    "experts": "{exp} --data {data} --out {out}",
    "export": "--model {exp} --out {out}",
    "pack": "{exp} --out {out}",
    "pack a zip": "{zip} --out {out}.zip",
    "pack a decoding": "{exp} --out {out}.zip --decoding {decode_yaml}",
    "transcribe a folder of the hub": "{wav} --model {hub} --out {out}",
    "export to sherpa-onnx": "--model {exp} --out {out} --format sherpa-onnx",
    "benchmark": "codec --quick --json {out}/x",
    "benchmark long_form": "long_form --model {exp} --data {data}",
    "recipes": "copy mini_koen {file}/x",
    "data.text.tokens": "--text {text} --size 60 --out {out}",
    "data.speech.channel": "--in {data} --out {out}",
    "data.filter": "--in {data} --out {out} --bpemodel {bpe}",
    "data.text.plain_text": "{data}",
    "data.text.syllables": "--train {data} --lang {out} --sets {data} --words {text}",
    "data.speech.speed_perturb": "--in {data} --out {out}",
    "data.corpora": "--aihub {data} --config {config} --out {out}",
    "data.corpora.aishell": "--aishell {data} --out {out}",
    "inference.decode": "--train-config {config} --model-file {weights} "
    "--data {data} --out {out} --config {decode_yaml}",
    "training.statistics": "{exp} --out {out}",
    "inference.wfst.graph": "--tokens {tokens} --lexicon {text} --arpa {arpa} "
    "--out {out}",
    "lm.train": "--text {text} --order 2 --vocab {tokens} --out {out}",
    "lm.perplexity": "--arpa {arpa} --text {text}",
    "report.tables.results": "--exp {exp} --out {out} --command run",
    "report.tables.decoding_table": "{exp} --out {out}",
}
# Wrong values of options: the rest of the command is right.
VALUES = {
    "transcribe": (
        *("--beam-size 0", "--beam-size -3", "--beam-size x", "--batch-size 0"),
        *("--ctc-weight 2", "--ctc-weight nan", "--tasks asrr", "--tasks ,"),
        *("--bandwidth xb", "--device cuda:7", "--device tpu", "--device ''"),
        *("--search greedy", "--format docx", "--chunk-size 4", "--vad loud"),
    ),
    "serve": ("--port 99999999", "--beam-size 0", "--max-sessions 0", "--host x.y.z"),
    "stream": ("--beam-size 0", "--chunk-size x", "--device tpu", "--pcm-rate 0"),
    "prepare": (
        *("--nj 0", "--bandwidth xb", "--min-seconds x", "--max-tokens -1"),
        *("--part 3/2", "--part 0/1", "--part x"),
    ),
    "check-config": ("--vocab-size 0", "--vocab-size -1", "--vocab-size x"),
    "fit-batch": ("--memory 0", "--memory much", "--device tpu", "--vocab-size 0"),
    "upcycle": ("--noise -1", "--noise x", "--noise nan", "--seed x"),
    "slice": ("--format onnx", "--label <ko>", "--label", "--checkpoint gone.pth"),
    "pack": ("--name a/b/c", "--license CC", "--language Korean", "--checkpoint x.pth"),
    "export": (
        *("--chunk-size 0", "--left-chunks x", "--format onyx"),
        *("--bandwidth xb", "--format sherpa-onnx", "--format wenet"),
    ),
    "experts": ("--limit 0", "--beam-size 0", "--device tpu", "--ctc-weight 7"),
    "benchmark": ("--rounds 0", "--threads x"),
    "compare": ("--decode nothing", "--test-set nothing"),
    "curves": ("--key nothing",),
    "data.text.tokens": ("--size 3", "--size x", "--type bbp"),
    "data.speech.channel": ("--share 2", "--conditions amr", "--modes some", "--nj 0"),
    "data.filter": ("--min-seconds -1", "--max-seconds 0", "--max-tokens 0"),
    "data.speech.speed_perturb": ("--factors 0", "--factors 9", "--factors x"),
    "inference.decode": (
        "--nj 0",
        "--device tpu",
        "--graph x",
        "--chunk-size 4",
        "--beam 3",
    ),
    "lm.train": ("--order 0", "--order x", "--prune -1"),
}


def text_files(folder: Path) -> dict[str, Path]:
    """Small right files by name."""
    contents = {
        "text": "utt1 오늘 날씨가 정말 좋네요\n",
        "tokens": "<blank>\n<unk>\na\nb\n<sos/eos>\n",
        "decode_yaml": "beam_size: 2\n",
        "arpa": "\\data\\\nngram 1=3\n\n\\1-grams:\n-1 <s>\n-1 </s>\n-1 a\n\n\\end\\\n",
        "file": "a file\n",
    }
    for name, content in contents.items():
        (folder / name).write_text(content, encoding="utf-8")
    return {name: folder / name for name in contents}


@pytest.fixture(scope="module")
def right(tmp_path_factory) -> dict[str, Path]:
    """The files that commands need, small and right."""
    folder = tmp_path_factory.mktemp("right")
    files = text_files(folder)
    config, weights = save_experiment(folder / "exp", tiny_config(folder))
    soundfile.write(folder / "talk.wav", noise(0.5), 16000)
    for name in ("data", "decode"):
        (folder / name).mkdir()
    (folder / "data/wav.scp").write_text(f"utt1 {folder}/talk.wav\n")
    (folder / "data/text").write_bytes(files["text"].read_bytes())
    (folder / "data/utt2spk").write_text("utt1 speaker\n")
    (folder / "data/utt2bandwidth").write_text("utt1 wb\n")
    (folder / "decode/hyp.asr").write_bytes(files["text"].read_bytes())
    more = {"exp": config.parent, "config": config, "weights": weights}
    more |= {"wav": folder / "talk.wav", "bpe": folder / "bpe.json", "zip": weights}
    more |= {n: folder / n for n in ("data", "decode")} | {"out": folder / "out"}
    more["stats"] = folder / "stats"
    (folder / "stats/train").mkdir(parents=True)
    (folder / "stats/train/speech_shape").write_text("utt1 8000\n")
    write_folder(config, weights, folder / "hub", "hub", "unknown")
    more["hub"] = folder / "hub"
    return files | more


@pytest.fixture(scope="module")
def bad(tmp_path_factory) -> dict[str, Path]:
    """Paths that are nothing that a command needs."""
    folder = tmp_path_factory.mktemp("bad")
    contents = {
        "empty": b"",
        "binary": bytes(range(256)) * 4,
        "latin1": "utt1 caf\xe9\nutt2 na\xefve\n".encode("latin-1"),
        "list.yaml": b"- a\n- b\n",
        "broken.yaml": b"a: [b\nc: d: e\n",
        "twice.yaml": b"beam_size: 1\nbeam_size: 2\n",
        "words": b"these are\njust words\n",
        "half.zip": b"PK\x03\x04 and no more",
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    (folder / "folder").mkdir()
    tables = ("wav.scp", "text", "hyp.asr", "config.yaml", "model.pth")
    for table in (*tables, "model.safetensors"):
        for kind in ("empty", "binary", "latin1"):
            (folder / f"of_{kind}").mkdir(exist_ok=True)
            (folder / f"of_{kind}" / table).write_bytes(contents[kind])
    with wave.open(str(folder / "no_samples.wav"), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
    found = {path.name: path for path in folder.iterdir()}
    return found | {"gone": folder / "gone", "below a file": folder / "words/x"}


OUT = ("below a file", "folder")  # where nothing can be written as a file


def result(command: str, words: list[str], capsys) -> tuple[int, str]:
    """Status and standard error of a command of `NEEDS`."""
    name = command.split()[0]
    module = COMMANDS[name][0] if name in COMMANDS else f"espnet_smoe.{name}"
    if name in ("data.corpora", "inference.decode"):
        module += ".__main__"
    main = importlib.import_module(module).main
    try:
        status = run_command(main, words, name)
    except SystemExit as stop:
        status = stop.code
    return status, capsys.readouterr().err


def fault(status: int, said: str) -> str:
    """What is wrong with how a command has ended; empty if nothing is."""
    if "Traceback" in said or "please report" in said:
        return "a traceback"
    if status not in (0, 1, 2):
        return f"status {status}"
    if status and not said.strip():
        return "no word of why"
    last = said.strip().splitlines()[-1:] or [""]
    return "a line without end" if len(last[0]) > 2000 else ""


@pytest.mark.parametrize("command", NEEDS)
def test_files_that_are_not_what_is_needed_are_said_in_a_line(
    command, right, bad, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["espnet-smoe"])
    words = NEEDS[command].split()
    faults = []
    for i, word in enumerate(words):
        if not word.startswith("{"):
            continue
        for name, path in bad.items():
            if word.startswith("{out}") and name not in OUT:
                continue
            given = [w.format(**right | {"out": tmp_path / "out"}) for w in words]
            given[i] = str(path) + word.partition("}")[2]
            status, said = result(command, given, capsys)
            if wrong := fault(status, said):
                faults.append(f"{word} = {name}: {wrong}: {said[-300:]}")
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("command", VALUES)
def test_values_that_make_no_sense_are_said_in_a_line(
    command, right, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    faults = []
    for option in VALUES[command]:
        words = f"{NEEDS[command]} {option}".replace("''", " ").split(" ")
        given = [w.format(**right | {"out": tmp_path / "out"}) for w in words]
        status, said = result(command, given, capsys)
        wrong = fault(status, said) or ("" if status else "taken as right")
        if wrong:
            faults.append(f"{option}: {wrong}: {said[-300:]}")
    assert not faults, "\n".join(faults)


def test_a_text_that_the_output_cannot_hold_fails_alone(right, capsys, monkeypatch):
    from espnet_smoe.inference import transcribe

    texts = iter(["\uac00", "plain"])
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setitem(transcribe.FORMATS, "text", lambda found: next(texts))
    monkeypatch.setattr(sys, "stdout", out)
    wav, exp = str(right["wav"]), str(right["exp"])
    status = run_command(transcribe.main, [wav, wav, "--model", exp], "transcribe")
    said = capsys.readouterr().err
    assert status == 1 and "1 of 2 files failed" in said
    assert f"{wav}: the output's encoding ascii has no character" in said
    assert out.buffer.getvalue() == b"plain\n"
