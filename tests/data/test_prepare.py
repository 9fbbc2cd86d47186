"""Preparing data: every fault is named, audio is converted, nothing is lost."""

import unicodedata
from pathlib import Path

import numpy as np
import pytest
import soundfile

from espnet_smoe.data import checked_audio, prepare
from espnet_smoe.data import filter as length_filter
from espnet_smoe.data.data_dir import read_table, write_table
from espnet_smoe.data.speech import speed_perturb
from tests.data.prepared import GOOD, change, problems_of, run, tone, wav


def test_good_directory_is_written_with_all_tables(source):
    out = run(source)
    for name in length_filter.TABLES:
        assert list(read_table(out / name, [])) == list(GOOD)
    assert read_table(out / "utt2num_samples", [])["a"] == "16000"
    assert read_table(out / "utt2condition", [])["a"] == "wb"


def test_file_that_fits_is_used_as_it_is_and_copied_on_request(source):
    before = read_table(source / "wav.scp", [])
    assert read_table(run(source) / "wav.scp", []) == before
    copies = read_table(run(source, "--copy") / "wav.scp", [])
    assert copies["a"] != before["a"]
    assert soundfile.info(copies["a"]).frames == 16000


def bad_path(source):
    change(source, "wav.scp", a="/no/such.wav")


def bad_audio(source):
    path = source.parent / "wavs" / "a.wav"
    path.write_text("this is no audio")


def bad_nan(source):
    wave = tone()
    wave[7] = np.nan
    change(source, "wav.scp", a=wav(source, "nan.wav", wave, subtype="FLOAT"))


def bad_length(source):
    change(source, "wav.scp", a=wav(source, "none.wav", np.zeros(0)))


def bad_silence(source):
    change(source, "wav.scp", a=wav(source, "zero.wav", np.zeros(16000)))


def bad_pipe(source):
    change(source, "wav.scp", a="no-such-command a.mp3 -t wav - | cat |")


def bad_half(source):
    path = Path(wav(source, "half.wav", tone()))
    path.write_bytes(path.read_bytes()[:16044])
    change(source, "wav.scp", a=str(path))


def bad_double(source):
    with open(source / "text", "a", encoding="utf-8") as text:
        text.write("a again\n")


def bad_encoding(source):
    lines = (source / "text").read_bytes().split(b"\n")
    lines[0] = b"a \xb0\xa1"
    (source / "text").write_bytes(b"\n".join(lines))


@pytest.mark.parametrize(
    ("spoil", "file", "cause"),
    [
        (bad_path, "wav.scp", "/no/such.wav does not exist"),
        (bad_audio, "wav.scp", "cannot be read as audio"),
        (bad_nan, "wav.scp", "NaN"),
        (bad_length, "wav.scp", "no samples"),
        (bad_silence, "wav.scp", "every sample of the audio is zero"),
        (bad_pipe, "wav.scp", "failed: exit status 127: "),
        (bad_half, "wav.scp", "half.wav is cut off or damaged: 50%"),
        (bad_double, "text:4", "used twice"),
        (bad_encoding, "text:1", "not UTF-8"),
        (lambda s: change(s, "text", a=""), "text", "the text is empty"),
        (lambda s: change(s, "text", a=None), "text", "in wav.scp but not in text"),
        (lambda s: change(s, "wav.scp", a=None), "text", "not in wav.scp"),
        (lambda s: change(s, "text_st", a=""), "text_st", "translation is empty"),
        (
            lambda s: change(s, "utt2bandwidth", a="fm"),
            "utt2bandwidth",
            "unknown bandwidth 'fm'",
        ),
        (
            lambda s: change(s, "utt2bandwidth", a=None),
            "utt2bandwidth",
            "no bandwidth",
        ),
    ],
)
def test_fault_is_reported_by_name_and_can_be_skipped(
    source, capsys, spoil, file, cause
):
    spoil(source)
    rows = problems_of(source)
    assert {row[1] for row in rows} == {"a"}
    place, utterance, said, fix = next(r for r in rows if cause in r[2])
    assert place == str(source / file)
    assert fix
    assert said in capsys.readouterr().err
    out = run(source, "--skip-bad")
    assert list(read_table(out / "wav.scp", [])) == ["b", "c"]
    assert "left out as bad: 1 utterances" in capsys.readouterr().out


def test_all_faults_stand_in_one_report(source):
    change(source, "wav.scp", a="/no/such.wav")
    change(source, "text", b="")
    change(source, "utt2bandwidth", c="fm")
    assert {row[1] for row in problems_of(source)} == {"a", "b", "c"}


def test_missing_bandwidth_file_names_the_cure_and_auto_hears_it(source):
    (source / "utt2bandwidth").unlink()
    with pytest.raises(ValueError, match="--bandwidth auto"):
        run(source)
    change(source, "wav.scp", b=wav(source, "b8.wav", tone(rate=8000), 8000))
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 16000)
    change(source, "wav.scp", c=wav(source, "noise.wav", noise))
    heard = read_table(run(source, "--bandwidth", "auto") / "utt2bandwidth", [])
    assert (heard["b"], heard["c"]) == ("nb", "wb")
    given = read_table(run(source, "--bandwidth", "nb") / "utt2bandwidth", [])
    assert set(given.values()) == {"nb"}


def test_long_hangul_id_has_a_file_that_the_system_takes(source):
    long = {"가" * 80 + end: source.parent / "wavs/a.wav" for end in ("1", "2")}
    rows = {"wav.scp": long, "text": dict.fromkeys(long, "네")}
    rows["utt2bandwidth"] = dict.fromkeys(long, "wb")
    for name, table in rows.items():
        write_table(source / name, table)
    change(source, "text_st", **dict.fromkeys(GOOD))
    change(source, "utt2spk", **dict.fromkeys(GOOD))
    made = read_table(run(source, "--copy") / "wav.scp", [])
    assert len(set(made.values())) == 2
    assert all(Path(path).is_file() for path in made.values())


def test_missing_translations_become_na(source):
    (source / "text_st").unlink()
    assert set(read_table(run(source) / "text_st", []).values()) == {"<na>"}


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_other_rates_and_channels_become_16_khz_mono(source, rate):
    path = wav(source, "x.flac", tone(1.0, rate, channels=2), rate)
    change(source, "wav.scp", a=path)
    made, made_rate = soundfile.read(read_table(run(source) / "wav.scp", [])["a"])
    assert made_rate == 16000
    assert made.shape == (16000,)
    middle = slice(1000, -1000)  # the filter rings at the ends
    np.testing.assert_allclose(made[middle], tone()[middle], atol=2e-3)


def test_headerless_pcm_is_16_khz_and_keeps_its_samples(source):
    samples = (tone() * 32768).astype("<i2")
    path = source.parent / "wavs" / "a.pcm"
    path.write_bytes(samples.tobytes() + b"\x01")  # half a sample at the end
    change(source, "wav.scp", a=str(path))
    table = read_table(run(source) / "wav.scp", [])
    made, rate = soundfile.read(table["a"], dtype="int16")
    assert rate == 16000
    np.testing.assert_array_equal(made, samples)


def test_texts_are_written_in_the_one_unicode_form_and_counted(source, capsys):
    change(source, "text", a=unicodedata.normalize("NFD", "안녕"), b="ＡＢ\u200b")
    out = run(source)
    assert read_table(out / "text", [])["a"] == "안녕"
    assert read_table(out / "text", [])["b"] == "AB"
    said = capsys.readouterr().out
    assert "one Unicode form: 1 with decomposed characters" in said
    assert "one Unicode form: 1 with invisible characters" in said


@pytest.mark.parametrize(
    "table, text, cause",
    [
        ("text", "\u200b", "the text is empty but for invisible characters (U+200B)"),
        ("text_st", "\u3164\ufeff", "the translation is empty but for invisible"),
        ("text", "안\ufffd", "the text holds U+FFFD"),
    ],
)
def test_a_text_that_says_nothing_or_lost_something_is_named(
    source, table, text, cause
):
    change(source, table, b=text)
    [row] = problems_of(source)
    assert row[0].endswith(table) and row[1] == "b"
    assert row[2].startswith(cause)


def test_second_run_reads_no_audio_again_but_what_has_changed(source, monkeypatch):
    run(source)
    read = []
    real = checked_audio.read_audio
    monkeypatch.setattr(
        checked_audio, "read_audio", lambda path: (read.append(path), real(path))[1]
    )
    run(source)
    assert read == []
    changed = wav(source, "b.wav", tone(0.5))
    out = run(source)
    assert read == [changed]
    assert read_table(out / "utt2num_samples", [])["b"] == "8000"


def test_run_killed_while_noting_goes_on(source):
    out = run(source)
    notes = out / ".checked.jsonl"
    notes.write_text(notes.read_text()[:-9])
    assert list(read_table(run(source) / "wav.scp", [])) == list(GOOD)


def test_processes_give_the_result_of_one(source):
    one = read_table(run(source, "--copy") / "utt2num_samples", [])
    out = source.parent / "parallel"
    options = ["--in", str(source), "--out", str(out), "--nj", "2", "--copy"]
    prepare.main(options)
    assert read_table(out / "utt2num_samples", []) == one


def test_directory_without_wav_scp_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="wav.scp does not exist"):
        run(tmp_path / "data")


@pytest.mark.parametrize("spoil", ["emptied", "half", "other", "gone"])
def test_a_converted_file_that_was_spoilt_is_made_again(source, spoil):
    out = run(source, "--copy")
    made = Path(read_table(out / "wav.scp", [])["a"])
    whole = made.read_bytes()
    spoilt = {"emptied": b"", "half": whole[: len(whole) // 2]}
    spoilt["other"] = whole[:-2] + bytes(2)
    made.unlink() if spoil == "gone" else made.write_bytes(spoilt[spoil])
    run(source, "--copy")
    assert made.read_bytes() == whole


def test_samples_of_another_scale_are_a_fault(source):
    path = wav(source, "scaled.wav", tone() * 32768, subtype="FLOAT")
    change(source, "wav.scp", a=path)
    ((_, utterance, cause, _),) = problems_of(source)
    assert utterance == "a" and "where 1 is full scale" in cause


def test_texts_of_other_tasks_come_along(source, tmp_path):
    write_table(source / "text_ja", dict(a="こんにちは", b="<na>", c="はい"))
    speed_perturb.perturb(source, tmp_path / "sp", [1.0, 1.1])
    out = run(tmp_path / "sp")
    length_filter.main(["--in", str(out), "--out", str(tmp_path / "kept")])
    found = read_table(tmp_path / "kept" / "text_ja", [])
    assert found["a"] == found["sp1.1-a"] == "こんにちは"
    assert list(found) == list(read_table(out / "wav.scp", []))


def test_texts_of_other_tasks_are_checked(source):
    write_table(source / "text_ja", dict(a="\ufeff", b="はい", z="いいえ"))
    rows = {utt: cause for _, utt, cause, _ in problems_of(source)}
    assert rows["z"] == "it is not in wav.scp"
    assert "empty but for invisible characters" in rows["a"]


def test_a_task_without_texts_in_a_set_has_none_for_every_utterance(source, capsys):
    out = run(source, "--tasks", "asr st ja")
    assert read_table(out / "text_ja", []) == dict.fromkeys(GOOD, "<na>")
    assert "without text_ja: 3" in capsys.readouterr().out


def test_a_target_whose_name_later_stages_would_not_find_is_refused(source, tmp_path):
    config = tmp_path / "train.yaml"
    config.write_text("model_conf: {tasks: {ja: {target: ja, prompt: [<ja>]}}}")
    with pytest.raises(ValueError, match="target 'ja'.*Call it text_ja"):
        run(source, "--tasks", str(config))


def test_the_spoken_language_comes_along(source):
    assert not (run(source) / "utt2lang").exists()
    spoken = {"a": "es", "b": "fr", "c": "es"}
    write_table(source / "utt2lang", spoken)
    out = run(source)
    assert read_table(out / "utt2lang", []) == spoken
    filtered = out.parent / "filtered"
    length_filter.main(["--in", str(out), "--out", str(filtered)])
    assert read_table(filtered / "utt2lang", []) == spoken
    perturbed = out.parent / "perturbed"
    speed_perturb.perturb(source, perturbed, [0.9])
    assert set(read_table(perturbed / "utt2lang", []).values()) == {"es", "fr"}
    change(source, "utt2lang", b=None)
    assert problems_of_lang(source) == [["b", "no language"]]


def problems_of_lang(source):
    out = source.parent / "again"
    assert prepare.main(["--in", str(source), "--out", str(out), "--nj", "1"]) == 1
    lines = (out / "problems.tsv").read_text(encoding="utf-8").splitlines()
    return [line.split("\t")[1:3] for line in lines]


def test_a_language_of_before_goes_with_its_table(source):
    write_table(source / "utt2lang", dict.fromkeys(GOOD, "es"))
    run(source)
    (source / "utt2lang").unlink()
    assert not (run(source) / "utt2lang").exists()


def test_a_directory_in_any_order_is_written_sorted(source):
    for name, order in {"wav.scp": "cab", "text": "bca"}.items():
        table = read_table(source / name, [])
        write_table(source / name, {utt: table[utt] for utt in order})
    out = run(source)
    for name in length_filter.TABLES:
        assert list(read_table(out / name, [])) == list(GOOD)


def test_parts_that_several_machines_have_done_are_not_done_again(source, monkeypatch):
    read = []
    real = checked_audio.read_audio
    monkeypatch.setattr(
        checked_audio, "read_audio", lambda path: (read.append(path), real(path))[1]
    )
    for part in ("1/2", "2/2"):
        out = run(source, "--copy", "--part", part)
        assert not (out / "wav.scp").exists()
    assert sorted(read) == sorted(read_table(source / "wav.scp", []).values())
    assert list(read_table(run(source, "--copy") / "text", [])) == list(GOOD)
    assert len(read) == 3


def test_a_part_that_goes_on_takes_the_notes_of_its_own(source, monkeypatch):
    taken, real = [], checked_audio._read_notes

    def notes(*given):
        for record in real(*given):
            taken.append(record.key)
            yield record

    run(source, "--copy")
    monkeypatch.setattr(checked_audio, "_read_notes", notes)
    monkeypatch.setattr(checked_audio, "_do", None)  # all of it is done
    for part in ("1/3", "2/3", "3/3"):
        taken.clear()
        run(source, "--copy", "--part", part)
        assert set(taken) == {list(GOOD)[int(part[0]) - 1]}
    taken.clear()
    assert list(read_table(run(source, "--copy") / "text", [])) == list(GOOD)
    assert set(taken) == set(GOOD)


@pytest.mark.parametrize("part", ["0/2", "3/2", "1", "a/b"])
def test_a_part_that_is_none_is_refused(source, part, capsys):
    with pytest.raises(SystemExit):
        run(source, "--part", part)
    assert f"'{part}' is not a part such as 3/8" in capsys.readouterr().err
