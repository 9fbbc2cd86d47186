"""Preparing data: every fault is named, audio is converted, nothing is lost."""

import re
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import soundfile

from espnet_smoe.data import filter as length_filter
from espnet_smoe.data import prepare
from espnet_smoe.data.data_dir import read_table, write_table
from espnet_smoe.data.speech import speed_perturb

GOOD = ("a", "b", "c")


def tone(seconds=1.0, rate=16000, channels=1):
    wave = 0.3 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate)) / rate)
    return np.repeat(wave[:, None], channels, axis=1) if channels > 1 else wave


@pytest.fixture
def source(tmp_path):
    """A data directory of three good utterances."""
    folder = tmp_path / "data"
    (tmp_path / "wavs").mkdir()
    for utt in GOOD:
        soundfile.write(tmp_path / "wavs" / f"{utt}.wav", tone(), 16000)
    rows = {
        "wav.scp": lambda utt: tmp_path / "wavs" / f"{utt}.wav",
        "text": lambda utt: "안녕 하세요",
        "text_st": lambda utt: "hello",
        "utt2bandwidth": lambda utt: "wb",
        "utt2spk": lambda utt: "s1",
    }
    for name, value in rows.items():
        write_table(folder / name, {utt: value(utt) for utt in GOOD})
    return folder


def change(source, name, **values):
    """Set lines of a table; None removes the line."""
    table = read_table(source / name, []) | values
    kept = {utt: v for utt, v in table.items() if v is not None}
    write_table(source / name, kept)


def run(source, *options):
    out = source.parent / "dump"
    prepare.main(["--in", str(source), "--out", str(out), "--nj", "1", *options])
    return out


def problems_of(source, *options):
    """Run on bad data; the rows of the report."""
    out = source.parent / "dump"
    words = ["--in", str(source), "--out", str(out), "--nj", "1", *options]
    assert prepare.main(words) == 1
    assert not (out / "wav.scp").exists()
    lines = (out / "problems.tsv").read_text(encoding="utf-8").splitlines()
    return [line.split("\t") for line in lines]


def wav(source, name, wave, rate=16000, **kwargs):
    path = source.parent / "wavs" / name
    soundfile.write(path, wave, rate, **kwargs)
    return str(path)


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
    real = prepare.read_audio
    monkeypatch.setattr(
        prepare, "read_audio", lambda path: (read.append(path), real(path))[1]
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


def test_long_and_short_audio_is_filtered_with_counts(source, capsys):
    change(source, "wav.scp", a=wav(source, "long.wav", tone(2.0)))
    change(source, "wav.scp", b=wav(source, "short.wav", tone(0.05)))
    out = run(source, "--max-seconds", "1.5")
    assert list(read_table(out / "wav.scp", [])) == ["c"]
    said = capsys.readouterr().out
    assert "1 longer than 1.5 s, 1 shorter than 0.1 s" in said
    dropped = (out / "filtered.tsv").read_text().splitlines()
    assert dropped == ["a\tlonger than 1.5 s", "b\tshorter than 0.1 s"]


def test_long_texts_are_filtered_by_tokens(source, tmp_path):
    from espnet_smoe.data.text.tokens import train_tokens

    out = run(source)
    train_tokens(["hello"], 300, tmp_path / "tokens")
    long = {utt: "hello" for utt in GOOD} | {"b": "hello x" * 3}
    write_table(out / "text_st", long)
    limits = length_filter.Limits(max_tokens=10)
    write_table(out / "text", {utt: "hello" for utt in GOOD})
    bpemodel = tmp_path / "tokens" / "bpe.json"
    kept = tmp_path / "kept"
    dropped = length_filter.filter_directory(out, kept, limits, bpemodel)
    assert dropped == {"b": "text_st longer than 10 tokens"}
    assert list(read_table(kept / "text", [])) == ["a", "c"]


def test_filter_that_leaves_nothing_is_an_error(source):
    with pytest.raises(ValueError, match="no utterance is left"):
        run(source, "--max-seconds", "0.5")


def test_filter_names_the_stage_that_makes_its_input(tmp_path):
    with pytest.raises(ValueError, match="Stage 3"):
        length_filter.main(["--in", str(tmp_path), "--out", str(tmp_path / "out")])


def test_directory_without_wav_scp_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="wav.scp does not exist"):
        run(tmp_path / "data")


def test_speed_perturbation_changes_length_and_keeps_text(source):
    fast = source.parent / "data_sp"
    options = ["--in", str(source), "--out", str(fast), "--factors", "0.8", "1.0"]
    speed_perturb.main(options)
    out = run(fast)
    samples = read_table(out / "utt2num_samples", [])
    assert samples["a"] == "16000"
    assert samples["sp0.8-a"] == "20000"
    for name in ("text", "text_st", "utt2bandwidth"):
        table = read_table(out / name, [])
        assert table["sp0.8-a"] == table["a"]
    assert read_table(out / "utt2spk", [])["sp0.8-a"] == "sp0.8-s1"
    assert Path(read_table(out / "wav.scp", [])["sp0.8-a"]).is_file()


def test_speed_factor_out_of_range_is_an_error(source):
    options = ["--in", str(source), "--out", "unused", "--factors", "90"]
    with pytest.raises(ValueError, match="0.25 to 4"):
        speed_perturb.main(options)


@pytest.mark.parametrize("command", ["cat {}", "cat < '{}' | cat", "tail -c +1 {} "])
def test_a_command_in_wav_scp_is_run_as_kaldi_does(source, command):
    path = source.parent / "wavs" / "a.wav"
    change(source, "wav.scp", a=command.format(path) + " |")
    made = read_table(run(source) / "wav.scp", [])["a"]
    np.testing.assert_array_equal(soundfile.read(made)[0], soundfile.read(path)[0])


def test_a_command_is_run_again_when_its_file_has_changed(source):
    path = source.parent / "wavs" / "a.wav"
    change(source, "wav.scp", a=f"cat {path} |")
    run(source)
    soundfile.write(path, tone(0.5), 16000)
    assert read_table(run(source) / "utt2num_samples", [])["a"] == "8000"


def test_an_entry_of_a_kaldi_archive_is_read(source):
    first, second = (source.parent / "wavs" / f"{u}.wav" for u in "ab")
    soundfile.write(second, tone(0.5), 16000)
    archive = source.parent / "wavs.ark"
    archive.write_bytes(b"a " + first.read_bytes() + b"b " + second.read_bytes())
    offset = 2 + first.stat().st_size + 2
    change(source, "wav.scp", a=f"{archive}:3", b=f"{archive}:{offset}")
    ((_, utterance, cause, _),) = problems_of(source)
    assert utterance == "a" and "wavs.ark:3 is no WAV" in cause
    change(source, "wav.scp", a=f"{archive}:2")
    samples = read_table(run(source) / "utt2num_samples", [])
    assert (samples["a"], samples["b"]) == ("16000", "8000")


def segmented(source, *lines):
    """One recording of three seconds, each a tone of its own, cut by segments."""
    times = np.arange(48000) / 16000
    wave = 0.3 * np.sin(2 * np.pi * 300 * (1 + np.floor(times)) * times)
    path = wav(source, "talk.wav", wave)
    (source / "wav.scp").write_text(f"talk {path}\n")
    (source / "segments").write_text("".join(f"{line}\n" for line in lines))
    return soundfile.read(path, dtype="float32")[0]


def test_segments_cut_recordings_into_utterances(source):
    wave = segmented(source, "a talk 0 1.0", "b talk 1.0000625 1.5", "c talk 1.75 -1")
    out = run(source)
    spans = {"a": (0, 16000), "b": (16001, 24000), "c": (28000, 48000)}
    for utt, (start, stop) in spans.items():
        made = soundfile.read(read_table(out / "wav.scp", [])[utt], dtype="float32")[0]
        np.testing.assert_array_equal(made, wave[start:stop])
    assert list(read_table(out / "text", [])) == list(GOOD)


def test_a_segment_may_end_a_little_beyond_its_recording(source):
    segmented(source, "a talk 0 1", "b talk 1 2", "c talk 2 3.4")
    assert read_table(run(source) / "utt2num_samples", [])["c"] == "16000"


@pytest.mark.parametrize(
    "line, cause",
    [
        ("a talk 0", "3 fields *Write: utterance recording start end"),
        ("a talk 0 1 1", "5 fields"),
        ("a other 0 1", "recording 'other' is not in wav.scp"),
        ("a talk 2 1", "it ends at 1 s, not behind its start at 2 s"),
        ("a talk 1 1", "not behind its start"),
        ("a talk -1 1", "Give seconds from 0 on"),
        ("a talk x 1", "times x 1"),
        ("a talk 0 nan", "times 0 nan"),
        ("a talk 3.5 4", "is no part of the recording, which lasts 3.000 s"),
        ("a talk 2 4", "ends beyond the recording, which lasts 3.000 s"),
    ],
)
def test_a_segment_that_is_none_is_reported_once_and_can_be_skipped(
    source, line, cause
):
    segmented(source, line, "b talk 1 2", "c talk 2 3")
    (row,) = problems_of(source)
    assert row[1] == "a"
    assert re.search(cause, " ".join(row[2:]))
    out = run(source, "--skip-bad")
    assert list(read_table(out / "wav.scp", [])) == ["b", "c"]


def test_segments_of_what_a_command_prints(source):
    wave = segmented(source, "a talk 0 1", "b talk 1 2", "c talk 2 3")
    path = source.parent / "wavs" / "talk.wav"
    (source / "wav.scp").write_text(f"talk cat {path} |\n")
    made = read_table(run(source) / "wav.scp", [])["b"]
    np.testing.assert_array_equal(
        soundfile.read(made, dtype="float32")[0], wave[16000:32000]
    )


ODD_NAMES = [
    "two  spaces.wav",
    "a#1-2",
    "b#1-2.wav",
    "c.zip!d.wav",
    "nbsp\u00a0here.wav",
    "e.wav |",
    "tab\there.wav",
    "f.wav:12",
    "-g.wav",
    "한국어 (1).wav",
    "quote'\".wav",
    "ends in a space ",
    b"\xbe\xc8.wav".decode("utf-8", "surrogateescape"),
]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_file_of_any_name_is_prepared(source, name):
    path = source.parent / "wavs" / name
    with open(path, "wb") as file:
        soundfile.write(file, tone(0.5, 8000), 8000, format="WAV")
    change(source, "wav.scp", a=str(path))
    out = run(source)
    assert read_table(out / "utt2num_samples", [])["a"] == "8000"
    assert run(source) == out  # the second time, from what it noted


def test_a_name_with_a_newline_is_refused_in_a_table(source):
    with pytest.raises(ValueError, match="wav.scp: the value of a holds a newline"):
        write_table(source / "wav.scp", {"a": "x\ny.wav"})


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


def test_limits_keep_what_is_exactly_as_long(source):
    change(source, "wav.scp", a=wav(source, "long.wav", tone(30)))
    change(source, "wav.scp", b=wav(source, "over.wav", np.append(tone(30), 0.1)))
    change(source, "wav.scp", c=wav(source, "short.wav", tone(0.1)))
    assert list(read_table(run(source) / "wav.scp", [])) == ["a", "c"]
    change(source, "wav.scp", c=wav(source, "shorter.wav", tone(0.1)[1:]))
    assert list(read_table(run(source) / "wav.scp", [])) == ["a"]


@pytest.mark.parametrize(
    "options, said",
    [
        (["--max-seconds", "nan"], "no number"),
        (["--min-seconds", "inf"], "no number"),
        (["--min-seconds", "2", "--max-seconds", "1"], "longer than --max-seconds"),
        (["--max-tokens", "-1"], "negative"),
    ],
)
def test_limits_that_keep_nothing_are_refused(source, options, said):
    with pytest.raises(ValueError, match=said):
        run(source, *options)


def test_more_text_than_can_be_said_is_doubtful_and_listed(source, capsys):
    change(source, "text", a="가나다라마바사아자차 카타파하가나다라마바사")
    out = run(source)
    assert list(read_table(out / "wav.scp", [])) == list(GOOD)
    assert "doubtful: 1 utterances kept with more text" in capsys.readouterr().out
    (line,) = (out / "doubtful.tsv").read_text(encoding="utf-8").splitlines()
    assert line.startswith("a\t") and "21.0 syllables a second" in line


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
