"""`espnet-smoe import espnet` of OWSM: its languages and its window."""

import pytest
import yaml

from espnet_smoe.importers.command import main
from espnet_smoe.inference.speech_to_text import SpeechToText
from tests.importers.tiny_espnet import TIMES, make_espnet


@pytest.mark.parametrize(
    "options, said",
    [
        ("", "--language is missing"),
        (
            "--language ko",
            r"--language ko: <ko> is no language of .*did you mean 'kor'",
        ),
        ("--language kor --pad 31", r"--pad 31: not in 0\.\.1 seconds"),
        ("--language kor --to deu", "--to deu: <st_deu> is not in the vocabulary"),
        ("--language asr", "--language asr: <asr> is no language of the vocabulary"),
        ("--language 0.00", "<0.00> is no language of the vocabulary"),
    ],
)
def test_a_language_that_owsm_does_not_know_is_refused(options, said, tmp_path):
    folder = make_espnet(tmp_path / "recipe", "s2t", "transformer")
    with pytest.raises(ValueError, match=said):
        main(["espnet", str(folder), "--out", str(tmp_path / "out"), *options.split()])


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"speech_length": "long"}, "speech_length: 'long' is not a"),
        (
            {"first_time_symbol": TIMES[-1], "last_time_symbol": TIMES[0]},
            "<1.00>, the first time mark, comes behind <0.00>, the last; fetch",
        ),
    ],
)
def test_a_window_that_owsm_cannot_have_is_named(changes, said, tmp_path):
    folder = make_espnet(
        tmp_path / "recipe", "s2t", "transformer", preprocessor_conf=changes
    )
    command = ["espnet", str(folder), "--out", str(tmp_path / "out")]
    with pytest.raises(ValueError, match=said):
        main([*command, "--language", "kor"])


def test_owsm_writes_the_languages_that_are_named(tmp_path):
    folder = make_espnet(tmp_path / "recipe", "s2t", "transformer")
    out = tmp_path / "out"
    options = ["--language", "kor", "--to", "jpn,eng"]
    main(["espnet", str(folder), "--out", str(out), *options])
    tasks = yaml.safe_load((out / "config.yaml").read_text())["model_conf"]["tasks"]
    assert tasks["st"]["prompt"] == ["<sos>", "<kor>", "<st_jpn>"]
    assert tasks["st"]["language"] == "ja" and tasks["eng"]["target"] == "text_eng"
    assert SpeechToText.load(out).tasks == ("asr", "st", "eng")
