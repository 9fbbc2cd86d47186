"""Preprocessor smoe: a line of a data directory to what the model takes."""

import unicodedata
from pathlib import Path

import numpy as np
import pytest
import yaml

from espnet_smoe import register
from espnet_smoe.data.preprocessor import SMoEPreprocessor
from espnet_smoe.data.speech.codec import G711
from espnet_smoe.data.text.tokens import train_tokens

TEXTS = ["오늘 날씨가 좋아요", "the weather is good today"] * 3


@pytest.fixture(scope="module")
def tokens(tmp_path_factory) -> Path:
    """Folder of a token list and its tokenizer."""
    out = tmp_path_factory.mktemp("tokens")
    train_tokens(TEXTS, 300, out)
    return out


def make(tokens: Path, train: bool = False, **options) -> SMoEPreprocessor:
    files = tokens / "tokens.txt", str(tokens / "bpe.json")
    return SMoEPreprocessor(train, *files, **options)


@pytest.fixture(scope="module")
def preprocessor(tokens) -> SMoEPreprocessor:
    return make(tokens)


def fields(**changes) -> dict:
    line = {
        "speech": np.ones(160, dtype=np.float32),
        "text": TEXTS[0],
        "text_st": TEXTS[1],
        "bandwidth": "nb",
    }
    return {**line, **changes}


def spell(preprocessor: SMoEPreprocessor, ids: np.ndarray) -> str:
    tokens = list(preprocessor.token_ids)
    return preprocessor.tokenizer.decode([tokens[i] for i in ids])


def test_both_targets_can_be_read_back(preprocessor):
    data = preprocessor("utt", fields())
    assert spell(preprocessor, data["text"]) == TEXTS[0]
    assert spell(preprocessor, data["text_st"]) == TEXTS[1]


def test_a_text_has_the_same_tokens_in_every_unicode_form(preprocessor):
    written = unicodedata.normalize("NFD", TEXTS[0]) + "\u200b"
    data = preprocessor("utt", fields(text=written))
    assert (data["text"] == preprocessor("utt", fields())["text"]).all()


def test_the_bandwidth_becomes_its_token(preprocessor):
    data = preprocessor("utt", fields())
    assert data["bandwidth"].tolist() == [preprocessor.token_ids["<nb>"]]


@pytest.mark.parametrize("token", ["<en>", "<|en|>"])
def test_the_spoken_language_becomes_its_token(tokens, token):
    listed = (tokens / "tokens.txt").read_text(encoding="utf-8").split("\n")[:-1]
    listed[listed.index("<en>")] = token
    bpe = str(tokens / "bpe.json")
    preprocessor = SMoEPreprocessor(False, token_list=listed, bpemodel=bpe)
    data = preprocessor("utt", fields(lang="en"))
    assert data["lang"].tolist() == [listed.index(token)]
    with pytest.raises(ValueError, match="utterance utt: lang <xy> is not in the tok"):
        preprocessor("utt", fields(lang="xy"))


def test_a_missing_translation_is_minus_one(preprocessor):
    assert preprocessor("utt", fields(text_st="<na>"))["text_st"].tolist() == [-1]


def test_an_own_prompt_becomes_its_tokens(preprocessor):
    data = preprocessor("utt", fields(text_st_prompt="<translate> <ko>"))
    ids = preprocessor.token_ids
    assert data["text_st_prompt"].tolist() == [ids["<translate>"], ids["<ko>"]]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"text": "  "}, "utterance utt: empty text; write <na>"),
        ({"bandwidth": "fm"}, "utterance utt: bandwidth <fm> .* <wb> <nb>"),
        ({"text_prompt": "<sing>"}, "utterance utt: text_prompt <sing> is not in"),
        ({"speech": np.zeros(0, np.float32)}, "utterance utt: zero-length audio"),
        ({"speech": np.array([0, np.nan], np.float32)}, "utterance utt: .* NaN"),
    ],
)
def test_bad_input_names_utterance_and_cure(preprocessor, changes, message):
    with pytest.raises(ValueError, match=message):
        preprocessor("utt", fields(**changes))


def test_without_a_tokenizer_it_says_what_makes_one():
    with pytest.raises(ValueError, match="stage 5"):
        SMoEPreprocessor(False, ["<blank>"])


NARROW = {"share": 0.5, "conditions": ["nb"]}


def wide(seed: int = 0, **changes) -> dict:
    wave = np.random.default_rng(seed).normal(0, 0.1, 8000).astype(np.float32)
    return fields(**{"speech": wave, "bandwidth": "wb", **changes})


def heard(preprocessor: SMoEPreprocessor, count: int = 40) -> list[dict]:
    return [preprocessor(f"utt{i}", wide(i)) for i in range(count)]


def labels(preprocessor: SMoEPreprocessor, utterances: list[dict]) -> list[str]:
    tokens = list(preprocessor.token_ids)
    return [tokens[data["bandwidth"][0]] for data in utterances]


def test_a_share_is_heard_through_a_channel_and_labelled_so(tokens):
    preprocessor = make(tokens, True, channel=NARROW)
    np.random.seed(0)
    utterances = heard(preprocessor)
    names = labels(preprocessor, utterances)
    assert 10 < names.count("<nb>") < 30
    for i, (data, label) in enumerate(zip(utterances, names)):
        source = wide(i)["speech"]
        assert data["speech"].shape == source.shape
        highs = np.abs(np.fft.rfft(data["speech"]))[2200:]  # above 4.4 kHz
        assert (label == "<nb>") == (highs.max() < 0.5)  # of about 20
        assert np.array_equal(data["speech"], source) == (label == "<wb>")


def test_validation_and_inference_hear_the_files(tokens):
    preprocessor = make(tokens, False, channel=NARROW | {"share": 1.0})
    utterances = heard(preprocessor)
    assert set(labels(preprocessor, utterances)) == {"<wb>"}
    np.testing.assert_array_equal(utterances[0]["speech"], wide(0)["speech"])


def test_espnets_effects_need_no_sampling_rate(tokens):
    effects = [[1, "speed_perturb", {"factor": 1.25}]]
    chance = {"data_aug_prob": 1.0, "data_aug_effects": effects}
    samples = len(wide()["speech"])
    for train, expected in ((True, samples / 1.25), (False, samples)):
        made = make(tokens, train, **chance)("u", wide())["speech"]
        assert len(made) == pytest.approx(expected, abs=1)


def test_speed_is_changed_without_torchaudio(tokens, monkeypatch):
    monkeypatch.setattr("torchaudio.functional.resample", None)
    effects = [[1.0, "speed_perturb", {"factor": 0.8}]]
    chance = {"data_aug_prob": 1.0, "data_aug_effects": effects}
    data = make(tokens, train=True, **chance)("utt", fields())
    assert len(data["speech"]) == 200


def test_narrowband_stays_narrowband(tokens):
    channel = {"share": 1.0, "conditions": ["wb", "amr_wb"]}
    pytest.importorskip("imageio_ffmpeg")
    preprocessor = make(tokens, True, channel=channel)
    data = preprocessor("utt", wide(bandwidth="nb"))
    assert labels(preprocessor, [data]) == ["<nb>"]
    np.testing.assert_array_equal(data["speech"], wide()["speech"])


def test_a_codec_can_be_heard_in_training(tokens):
    pytest.importorskip("imageio_ffmpeg")
    channel = {"share": 1, "conditions": ["g711_nb"], "modes": "default"}
    data = make(tokens, True, channel=channel)("utt", wide())
    np.testing.assert_array_equal(data["speech"], G711()(wide()["speech"]))


def test_espnet_repeats_an_epoch_and_draws_anew_in_the_next(tokens):
    from espnet2.iterators.sequence_iter_factory import SequenceIterFactory

    preprocessor = make(tokens, True, channel=NARROW)
    batches = [["utt"]]
    factory = SequenceIterFactory(batches, batches, seed=7, num_workers=2)

    def epoch(number: int, worker: int = 0) -> list[str]:
        # what a worker process of the loader does first
        factory.build_iter(number).worker_init_fn(worker)
        return labels(preprocessor, heard(preprocessor))

    assert epoch(1) == epoch(1)
    assert epoch(1) != epoch(2)
    assert epoch(1) != epoch(1, worker=1)


def test_the_channel_is_reached_through_espnets_options(tokens, tmp_path):
    register()
    from espnet2.tasks.asr import ASRTask

    def build(channel: dict, train: bool = True) -> SMoEPreprocessor:
        options = {"preprocessor": "smoe", "preprocessor_conf": {"channel": channel}}
        config = tmp_path / "train.yaml"
        config.write_text(yaml.safe_dump(options), encoding="utf-8")
        line = ["--config", config, "--token_list", tokens / "tokens.txt"]
        line += ["--bpemodel", tokens / "bpe.json", "--output_dir", tmp_path]
        args = ASRTask.get_parser().parse_args([str(word) for word in line])
        return ASRTask.build_preprocess_fn(args, train)

    preprocessor = build(NARROW | {"share": 1})
    assert labels(preprocessor, heard(preprocessor, 2)) == ["<nb>", "<nb>"]
    assert build(NARROW, train=False).channel is None
    with pytest.raises(ValueError, match="channel: unknown key 'shar', did you mean"):
        build({"shar": 0.5})


@pytest.mark.parametrize(
    "channel, said",
    [
        ({"condition": ["nb"]}, "did you mean 'conditions'"),
        ({"conditions": ["amr"]}, "'amr' is not one of .* did you mean 'amr_"),
        ({"conditions": []}, "name at least one"),
        ({"share": 50}, "from 0 to 1"),
        ({"share": "half"}, "channel.share: 'half' is not a number from 0 to 1"),
        ({"conditions": "nb"}, "a list"),
        ({"modes": "defualt"}, "did you mean 'default'"),
    ],
)
@pytest.mark.parametrize("train", [True, False])
def test_a_wrong_option_of_the_channel_fails_at_start(tokens, train, channel, said):
    with pytest.raises(ValueError, match=said):
        make(tokens, train, channel=channel)


def test_a_channel_without_bandwidths_says_how_to_give_them(tokens):
    preprocessor = make(tokens, True, channel=NARROW)
    line = wide()
    del line["bandwidth"]
    with pytest.raises(ValueError, match="utterance utt: .*utt2bandwidth,bandwidth"):
        preprocessor("utt", line)
    stereo = wide(speech=np.ones((100, 2), np.float32))
    always = make(tokens, True, channel=NARROW | {"share": 1})
    with pytest.raises(ValueError, match="utterance utt: .*mix its channels"):
        always("utt", stereo)


def test_texts_of_any_task_become_tokens(preprocessor):
    more = {"text_ja": TEXTS[1], "text_ja_prompt": "<translate> <en>"}
    data = preprocessor("utt", fields(**more))
    assert spell(preprocessor, data["text_ja"]) == TEXTS[1]
    ids = preprocessor.token_ids
    assert data["text_ja_prompt"].tolist() == [ids["<translate>"], ids["<en>"]]
