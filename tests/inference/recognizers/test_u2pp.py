"""U2PPSpeechToText: whole recordings, in every way, with times."""

import json

import numpy as np
import pytest
import soundfile as sf
import torch

from espnet_smoe.inference import SpeechToText, U2PPSpeechToText
from espnet_smoe.inference.audio import SAMPLE_RATE
from espnet_smoe.inference.search.encoded_batch import EncodedBatch
from espnet_smoe.inference.transcribe import main
from tests.inference.tiny_u2pp import save_tiny_u2pp
from tests.tiny import talk

SEARCHES = ("greedy", "prefix_beam", "attention", "rescoring")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("exp")
    save_tiny_u2pp(path)
    return path


def load(folder, **options) -> U2PPSpeechToText:
    return U2PPSpeechToText.from_pretrained(folder, **options)


def waves() -> list[np.ndarray]:
    return [talk(seconds, seed) for seed, seconds in enumerate((1.2, 2.5, 0.7))]


@pytest.mark.parametrize("search", SEARCHES)
def test_a_batch_gives_what_each_gives_alone(folder, search):
    speech_to_text = load(folder, search=search, beam_size=4)
    together = speech_to_text(waves())
    for wave, result in zip(waves(), together):
        alone = speech_to_text([wave])[0]["asr"]
        assert result["asr"].text == alone.text
        assert result["asr"].score == pytest.approx(alone.score, abs=1e-3)


def test_tokens_have_times_in_their_order(folder):
    wave = waves()[1]
    result = load(folder, nbest=3, beam_size=5)([wave])[0]["asr"]
    assert result.text and len(result.nbest) == 3
    assert result.nbest[0] == (result.text, result.score)
    assert [t.token for t in result.timed] == list(result.tokens)
    borders = [time for t in result.timed for time in (t.start, t.end)]
    assert borders == sorted(borders)
    assert 0 <= borders[0] and borders[-1] <= len(wave) / SAMPLE_RATE
    assert all(0 <= t.confidence <= 1 for t in result.timed)


def test_chunks_change_what_is_seen(folder):
    whole, chunks = (load(folder, chunk_size=size)(waves()) for size in (0, 2))
    scores = [[r["asr"].score for r in results] for results in (whole, chunks)]
    assert scores[0] != pytest.approx(scores[1])


def test_int8_changes_the_scores_a_little(folder):
    whole, int8 = (load(folder, int8=on)(waves()[:2]) for on in (False, True))
    scores = [[r["asr"].score for r in results] for results in (whole, int8)]
    assert scores[0] != scores[1]
    assert scores[0] == pytest.approx(scores[1], rel=0.2)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"serch": "greedy"}, "did you mean 'search'"),
        ({"search": "gredy"}, "did you mean 'greedy'"),
        ({"nbest": 9, "beam_size": 8}, r"nbest 9 must be in 1..beam_size \(8\)"),
    ],
)
def test_a_wrong_option_names_the_cure(folder, options, message):
    with pytest.raises(ValueError, match=message):
        load(folder, **options)


def test_a_model_of_another_kind_is_refused(folder, tmp_path):
    assert type(SpeechToText.load(folder)) is U2PPSpeechToText
    config = (folder / "config.yaml").read_text(encoding="utf-8")
    other = config.replace("model: u2pp", "model: smoe")
    (tmp_path / "config.yaml").write_text(other, encoding="utf-8")
    (tmp_path / "model.pth").touch()
    with pytest.raises(ValueError, match="is not 'model: u2pp'"):
        load(tmp_path)


def test_the_command_takes_a_u2pp_model(folder, tmp_path, capsys):
    for number, wave in enumerate(waves()):
        sf.write(tmp_path / f"{number}.wav", wave, SAMPLE_RATE)
    files = [str(tmp_path / f"{number}.wav") for number in range(3)]
    model = ["--model", str(folder), "--format", "json"]
    assert main([*files, *model, "--search", "prefix_beam"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    expected = load(folder, search="prefix_beam")(
        [sf.read(file, dtype="float32")[0] for file in files]
    )
    assert [r["asr"] for r in records] == [r["asr"].text for r in expected]
    tokens = records[1]["pieces"][0]["asr"]["tokens"]
    assert [t["token"] for t in tokens] == list(expected[1]["asr"].tokens)


@pytest.mark.parametrize("search", SEARCHES)
def test_less_than_a_frame_says_nothing_alone_or_beside_others(folder, search):
    loaded = load(folder, search=search, beam_size=4)
    click, wave = np.zeros(300, np.float32), waves()[0]

    def best(batch: list[np.ndarray]) -> list[tuple[int, ...]]:
        found = loaded.options.build_search(loaded.model)(
            EncodedBatch(loaded.model, *loaded.encoder(batch))
        )
        return [nbest[0].tokens for nbest in found]

    alone, beside = best([click]) + best([wave]), best([click, wave])
    assert alone == beside and alone[0] == () != alone[1]


def test_a_decoder_that_says_more_than_ctc_has_frames_for_has_no_times(folder):
    speech_to_text = load(folder, search="attention", ctc_weight=0.0)
    with torch.no_grad():  # it never ends and repeats itself
        bias = speech_to_text.model.decoder.output_layer.bias
        bias[speech_to_text.model.eos] -= 20
        bias[5] += 20
    result = speech_to_text([waves()[2]])[0]["asr"]
    assert result.text and result.timed == ()
