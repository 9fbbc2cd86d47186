"""The NB/WB subset: which utterance is heard through what, and what is written."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from espnet_smoe.data.check import Utterance
from espnet_smoe.data.data_dir import read_table, write_table
from espnet_smoe.data.speech import channel
from espnet_smoe.data.speech.channel import draw_conditions, every_condition
from espnet_smoe.data.speech.codec import BANDWIDTH_OF, CONDITIONS
from espnet_smoe.data.speech.random_channel import RandomChannel

NAMES = list(CONDITIONS)
PLAIN = ["nb", "wb"]  # need no codec
ALL = ["--share", "1", "--conditions", *PLAIN]


def utterances(ids, bandwidth="wb"):
    return [Utterance(i, f"{i}.wav", {"text": "가"}, bandwidth, i, "") for i in ids]


def drawn(ids, share=0.5, names=NAMES, modes="random", seed=0, bandwidth="wb"):
    channel = RandomChannel(share, tuple(names), modes)
    passages = draw_conditions(utterances(ids, bandwidth), channel, seed)
    return {passage.id: passage.condition for passage in passages}


MANY = [f"utt{i}" for i in range(1000)]


@pytest.fixture
def source(tmp_path) -> Path:
    """Four utterances of noise, one of them narrowband."""
    folder = tmp_path / "data"
    rng = np.random.default_rng(0)
    (tmp_path / "wavs").mkdir()
    waves = {}
    for utt, rate in {"a": 16000, "b": 16000, "c": 44100, "d": 8000}.items():
        waves[utt] = tmp_path / "wavs" / f"{utt}.wav"
        soundfile.write(waves[utt], rng.normal(0, 0.1, (rate + 7, 2)), rate)
    write_table(folder / "wav.scp", waves)
    write_table(folder / "text", dict.fromkeys(waves, "안녕 하세요"))
    write_table(folder / "text_st", {"a": "hello"})
    write_table(folder / "utt2spk", dict.fromkeys(waves, "s1"))
    labels = {utt: "nb" if utt == "d" else "wb" for utt in waves}
    write_table(folder / "utt2bandwidth", labels)
    return folder


def run(source, *options):
    out = source.parent / "out"
    channel.main(["--in", str(source), "--out", str(out), "--nj", "1", *options])
    return out


def table(out, name):
    return read_table(out / name, [])


@given(
    st.lists(st.integers(0, 10**6), unique=True, max_size=50),
    st.floats(0, 1),
    st.integers(0, 5),
)
def test_the_share_is_exact_and_blind_to_order(numbers, share, seed):
    ids = [str(number) for number in numbers]
    some = drawn(ids, share, seed=seed)
    assert len(some) == round(share * len(ids))
    assert some == drawn(ids[::-1], share, seed=seed)


def test_a_larger_share_holds_the_smaller_with_the_same_conditions():
    assert drawn(MANY, 0.15).items() <= drawn(MANY, 0.4).items()


def test_one_utterance_less_exchanges_at_most_one_other():
    before = drawn(MANY, 0.15)
    gone = next(iter(before))
    after = drawn([utt for utt in MANY if utt != gone], 0.15)
    assert len(after.keys() - before.keys()) <= 1
    assert all(after[utt] == before[utt] for utt in after.keys() & before.keys())


def test_another_seed_draws_others():
    first, second = drawn(MANY, seed=0), drawn(MANY, seed=1)
    assert 200 < len(first.keys() & second.keys()) < 300  # of 500, by chance 250


def test_conditions_and_modes_have_equal_chances():
    heard = list(drawn(MANY, 1.0).values())
    for name in NAMES:
        of_name = [condition for condition in heard if condition.name == name]
        assert 150 < len(of_name) < 250
        modes = CONDITIONS[name].modes
        assert len(set(of_name)) == max(1, len(modes))


def test_default_modes_are_those_of_the_conditions():
    assert set(drawn(MANY, modes="default").values()) == {
        kind() for kind in CONDITIONS.values()
    }


def test_narrowband_utterances_never_become_wideband():
    heard = drawn(MANY, 1.0, bandwidth="nb").values()
    assert {condition.bandwidth for condition in heard} == {"nb"}
    assert drawn(MANY, 1.0, names=["wb", "amr_wb"], bandwidth="nb") == {}
    every = every_condition(utterances(["a"], "nb"), RandomChannel(), 0)
    assert [passage.id for passage in every] == ["a-nb", "a-g711_nb", "a-amr_nb"]


def test_every_writes_each_condition_that_fits(source, capsys):
    pytest.importorskip("imageio_ffmpeg")
    out = run(source, "--every", "--nj", "2")
    wavs = table(out, "wav.scp")
    wide = {f"{utt}-{name}" for utt in "abc" for name in NAMES}
    narrow = {f"d-{name}" for name in NAMES if BANDWIDTH_OF[name] == "nb"}
    assert set(wavs) == wide | narrow
    for utt, path in wavs.items():
        info = soundfile.info(path)
        assert (info.samplerate, info.channels, info.subtype) == (16000, 1, "PCM_16")
        name = utt.split("-")[1]
        assert table(out, "utt2condition")[utt] == name
        assert table(out, "utt2bandwidth")[utt] == BANDWIDTH_OF[name]
        described = json.loads(table(out, "utt2channel")[utt])
        assert described == CONDITIONS[name]().to_dict()
    lengths = {utt: soundfile.info(path).frames for utt, path in wavs.items()}
    assert {lengths[f"a-{name}"] for name in NAMES} == {16007}
    assert table(out, "text")["a-wb"] == "안녕 하세요"
    assert table(out, "text_st")["a-wb"] == "hello"
    assert table(out, "text_st")["b-wb"] == "<na>"
    assert table(out, "utt2spk")["b-nb"] == "s1"
    said = capsys.readouterr().out
    assert "4 of 4 utterances, 18 recordings" in said
    assert "amr_wb: 3\n  narrowband already, not made into wb amr_wb: 1" in said


def test_a_share_keeps_the_ids(source):
    out = run(source, "--share", "0.5", "--conditions", *PLAIN)
    assert len(table(out, "wav.scp")) == 2
    assert set(table(out, "wav.scp")) < set("abcd")


def test_speed_perturbation_comes_before_the_channel(source):
    write_table(source / "utt2speed", {"a": "2.0"})
    out = run(source, "--every", "--conditions", *PLAIN)
    assert soundfile.info(table(out, "wav.scp")["a-nb"]).frames == (16007 + 1) // 2
    assert not (out / "utt2speed").exists()  # or stage 3 would do it again


def test_a_second_run_makes_nothing_again(source):
    paths = [Path(p) for p in table(run(source, *ALL), "wav.scp").values()]
    before = [path.stat().st_mtime_ns for path in paths]
    paths[0].unlink()
    run(source, *ALL)
    after = [path.stat().st_mtime_ns for path in paths]
    assert after[0] != before[0]
    assert after[1:] == before[1:]


def test_another_condition_or_source_is_made_anew(source):
    options = ["--share", "1", "--conditions"]
    first = table(run(source, *options, "wb"), "wav.scp")
    second = table(run(source, *options, "nb"), "wav.scp")
    assert not set(first.values()) & set(second.values())
    wave, rate = soundfile.read(table(source, "wav.scp")["a"])
    soundfile.write(table(source, "wav.scp")["a"], wave[:8000], rate)
    third = table(run(source, *options, "nb"), "wav.scp")
    assert soundfile.info(third["a"]).frames == 8000
    assert third["b"] == second["b"]


def test_an_unreadable_file_is_named_and_the_rest_goes_on(source, capsys):
    broken = Path(table(source, "wav.scp")["b"])
    broken.write_bytes(b"RIFFnothing")
    words = ["--in", str(source), "--out", str(source.parent / "out"), *ALL]
    assert channel.main([*words, "--nj", "1"]) == 1
    out = source.parent / "out"
    assert not (out / "wav.scp").exists()
    assert len(list(out.glob("audio/*/*.wav"))) == 3
    report = (out / "problems.tsv").read_text(encoding="utf-8")
    assert "\tb\t" in report
    assert str(broken) in report
    assert "utterance b" in capsys.readouterr().err
    run(source, *ALL, "--skip-bad")
    assert set(table(out, "wav.scp")) == set("acd")
    assert "left out as bad: 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    "options, said",
    [
        (["--conditions", "g711"], "did you mean 'g711_nb'"),
        (["--conditions", "nb", "nb"], "each once"),
        (["--modes", "rand"], "did you mean 'random'"),
        (["--share", "15"], "from 0 to 1"),
        (["--share", "0"], "no utterance is left"),
    ],
)
def test_a_wrong_option_names_the_cure(source, options, said):
    with pytest.raises(ValueError) as stop:
        run(source, *options)
    assert said in str(stop.value)


def test_without_bandwidths_it_says_what_to_write(source):
    (source / "utt2bandwidth").unlink()
    with pytest.raises(ValueError, match="Write a line 'utterance nb'"):
        run(source)


@pytest.mark.parametrize("keep", [0, 44, 5000])
def test_a_file_that_was_spoilt_is_made_again(source, keep):
    made = Path(table(run(source, *ALL), "wav.scp")["a"])
    whole = made.read_bytes()
    made.write_bytes(whole[:keep])
    run(source, *ALL)
    assert made.read_bytes() == whole


def test_a_share_of_nothing_is_said_before_anything_is_read(source):
    with pytest.raises(ValueError, match="--share 0: .* Leave this step out"):
        run(source, "--share", "0")
    assert not (source.parent / "out").exists()
