"""Small trees in the real layouts of the corpora, from any speech.

Each builder takes lists of ``Speech`` for training and validation and writes one corpus
below a folder. The waves are 16 kHz mono; ``Sound`` says how they lie on disk.
"""

import csv
import json
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import soxr

RATE = 16000


class Speech(NamedTuple):
    """One utterance: 16 kHz mono wave, Korean with a corpus's marks, English."""

    wave: np.ndarray
    korean: str
    english: str = ""


class Sound(NamedTuple):
    """How audio is stored."""

    suffix: str = ".wav"
    rate: int = RATE
    channels: int = 1


def write_audio(path: Path, wave: np.ndarray, sound: Sound = Sound()) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if sound.rate != RATE:
        wave = soxr.resample(wave, RATE, sound.rate)
    if sound.suffix == ".pcm":
        path.write_bytes((np.clip(wave, -1, 0.9999) * 32768).astype("<i2").tobytes())
        return
    wave = np.repeat(np.asarray(wave)[:, None], sound.channels, axis=1)
    soundfile.write(path, wave, sound.rate, subtype="PCM_16")


def write_json(path: Path, content: object, encoding: str = "utf-8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, ensure_ascii=False, indent=1)
    path.write_bytes(text.encode(encoding))


def zip_up(folder: Path, archive: Path, packing: int = zipfile.ZIP_DEFLATED) -> None:
    """Move the files of a folder into an archive."""
    made = folder.with_name("made.zip")
    with zipfile.ZipFile(made, "w", packing) as zipped:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                zipped.write(path, path.relative_to(folder))
                path.unlink()
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir()
    folder.rmdir()
    archive.parent.mkdir(parents=True, exist_ok=True)
    made.rename(archive)


def _parts(root: Path, train: list[Speech], validation: list[Speech]):
    """Split, its folder, initial of its archives, and its speech."""
    data = root / "01.데이터"
    yield "train", data / "1.Training", "T", train
    yield "valid", data / "2.Validation", "V", validation


def ksponspeech(
    root: Path,
    train: list[Speech],
    validation: list[Speech],
    zipped: bool = False,
    eval_clean: list[Speech] = (),
    eval_other: list[Speech] = (),
) -> Path:
    """123.한국어음성: raw PCM and scripts; texts carry marks and dual forms."""
    corpus = root / "123.한국어음성"
    scripts = {"train": train, "dev": validation}
    scripts |= {"eval_clean": eval_clean, "eval_other": eval_other}
    number = 0
    for script, speech in scripts.items():
        lines = []
        for item in speech:
            number += 1
            folder = f"KsponSpeech_eval/{script}" if "eval" in script else ""
            folder = folder or f"KsponSpeech_01/KsponSpeech_{number // 4 + 1:04d}"
            path = f"{folder}/KsponSpeech_{number:06d}.pcm"
            write_audio(corpus / path, item.wave, Sound(".pcm"))
            lines.append(f"{path} :: {item.korean}\n")
        if speech:
            (corpus / "scripts").mkdir(parents=True, exist_ok=True)
            text = "".join(lines)
            (corpus / "scripts" / f"{script}.trn").write_text(text, encoding="utf-8")
    if zipped:
        for folder in [path for path in corpus.iterdir() if path.is_dir()]:
            name = folder.name.replace("scripts", "KsponSpeech_scripts")
            zip_up(folder, corpus / f"{name}.zip")
    return corpus


def dialogue(
    root: Path,
    train: list[Speech],
    validation: list[Speech],
    zipped: bool = False,
    sound: Sound = Sound(),
    genders: tuple[str, str] = ("여", "남"),
) -> Path:
    """132.한국어대화: a dialogue of two speakers a split, stems 000000 on in each."""
    corpus = root / "132.한국어대화"
    for part, folder, initial, speech in _parts(corpus, train, validation):
        source, label = folder / "원천데이터_0908_add", folder / "라벨링데이터_0908_add"
        dialogue = "D20/G02/" + ("S000009" if part == "train" else "S000001")
        turns = []
        for number, item in enumerate(speech):
            name = f"{dialogue}/{number:06d}"
            write_audio(source / f"{name}{sound.suffix}", item.wave, sound)
            text = label / f"{name}.txt"
            text.parent.mkdir(parents=True, exist_ok=True)
            text.write_text(item.korean + "\n", encoding="utf-8")
            turn = {"speaker": str(number % 2 + 1)}
            turn["audioPath"] = f"KconfSpeech/{name}{sound.suffix}"
            turn["textPath"] = f"KconfSpeech/{name}.txt"
            turns.append(turn)
        people = [
            {"id": str(number), "age": "20", "gender": gender, "residence": None}
            for number, gender in enumerate(genders, 1)
        ]
        info = {"category": "IT", "speakers": people, "inputType": "broadcast"}
        content = {"dataSet": {"version": "1.0", "typeInfo": info, "dialogs": turns}}
        write_json(label / dialogue / f"{Path(dialogue).name}.json", content)
        if zipped:
            for side, kind in ((source, "wav"), (label, "label")):
                for inner in list(side.iterdir()):
                    archive = f"KconfSpeech_{part}_{inner.name}_{kind}_0.zip"
                    zip_up(inner, side / archive)
    return corpus


def long_recording(
    root: Path,
    train: list[Speech],
    validation: list[Speech],
    zipped: bool = False,
    sound: Sound = Sound(),
    rate_claimed: str = "",
) -> Path:
    """464.주요영역회의: one recording a split, 0.4 s of silence between utterances.

    Times are strings; texts with dual forms have to be (spoken)/(written).
    """
    corpus = root / "464.주요영역회의"
    for part, folder, initial, speech in _parts(corpus, train, validation):
        stem = f"SBRW21{part}"
        gap = np.zeros(int(0.4 * RATE))
        waves, parts, now = [gap], [], len(gap)
        for number, item in enumerate(speech, 1):
            end = now + len(item.wave)
            parts.append(
                {
                    "id": f"{stem}.1.1.{number}",
                    "speaker_id": f"SD21{part}{number % 2}",
                    "start": f"{now / RATE:.3f}",
                    "end": f"{end / RATE:.3f}",
                    "form": item.korean,
                    "original_form": item.korean,
                    **({"translation": item.english} if item.english else {}),
                }
            )
            waves += [item.wave, gap]
            now = end + len(gap)
        people = [
            {"id": f"SD21{part}{number}", "age": "30대", "sex": sex}
            for number, sex in enumerate(("여성", "남성"))
        ]
        metadata = {"title": stem, "category": "회의", "sampling": rate_claimed}
        source = folder / f"[원천]{initial}S_회의"
        label = folder / f"[라벨]{initial}L_회의"
        write_audio(source / f"{stem}{sound.suffix}", np.concatenate(waves), sound)
        content = {"metadata": metadata, "speaker": people, "utterance": parts}
        write_json(label / f"{stem}.json", content)
        if zipped:
            for side in (source, label):
                zip_up(side, side.with_name(f"{side.name}.zip"))
    return corpus


def utterance_json(
    root: Path,
    train: list[Speech],
    validation: list[Speech],
    zipped: bool = False,
    sound: Sound = Sound(),
    text_key: str = "script.scriptTN",
    rate_claimed: str = "",
    name: str = "484.금융상담",
    encoding: str = "utf-8",
) -> Path:
    """A recording and a JSON an utterance; its English, if any, in ``translation``."""
    corpus = root / name
    for part, folder, initial, speech in _parts(corpus, train, validation):
        source, label = folder / "01.원천데이터", folder / "02.라벨링데이터"
        for number, item in enumerate(speech, 1):
            path = f"{part}_spk{number % 2}/{part}_{number:04d}"
            write_audio(source / f"{path}{sound.suffix}", item.wave, sound)
            sex = "F" if number % 2 else "M"
            content = {"speaker": {"id": f"{part}_spk{number % 2}", "gender": sex}}
            content["audio"] = {"samplingRate": rate_claimed}
            inner = content
            *steps, last = text_key.split(".")
            for step in steps:
                inner = inner.setdefault(step, {})
            inner[last] = item.korean
            if item.english:
                content["translation"] = item.english
            write_json(label / f"{path}.json", content, encoding)
        if zipped:
            zip_up(source, source / f"{initial}S_01.상담.zip")
            zip_up(label, label / f"{initial}L_01.상담.zip")
    return corpus


def fleurs(root: Path, test: list[Speech]) -> Path:
    """google/fleurs: ko_kr with audio, en_us with the same sentence ids."""
    tables = {"ko_kr": [], "en_us": []}
    for number, item in enumerate(test):
        file = f"{10000 + number}.wav"
        write_audio(root / "ko_kr" / "audio" / "test" / file, item.wave)
        for language, text in (("ko_kr", item.korean), ("en_us", item.english)):
            row = [1600 + number, file, text, text.lower(), "a b", len(item.wave)]
            tables[language].append([*row, ("MALE", "FEMALE")[number % 2]])
    for language, rows in tables.items():
        (root / language).mkdir(parents=True, exist_ok=True)
        table = root / language / "test.tsv"
        with open(table, "w", encoding="utf-8", newline="") as file:
            quoting = {"quoting": csv.QUOTE_NONE, "quotechar": None}
            csv.writer(file, delimiter="\t", **quoting).writerows(rows)
    return root
