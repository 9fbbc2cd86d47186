"""A beam is bounded by the vocabulary, in every way to decode."""

import pytest

from espnet_smoe.inference.search.options import check_beam
from espnet_smoe.inference.speech_to_text import SpeechToText
from espnet_smoe.inference.streaming.options import StreamOptions
from espnet_smoe.inference.streaming.recognizer import StreamingRecognizer
from tests.inference.tiny_u2pp import tiny_u2pp_config
from tests.tiny import save_experiment, tiny_config, tiny_ctc_config

SAID = "beam_size 100000 is above"


def test_the_vocabulary_is_the_bound():
    check_beam(300, ["a"] * 300)
    check_beam(100, ["a"] * 3)
    with pytest.raises(ValueError, match="301 is above 300: the model has 300 tokens"):
        check_beam(301, ["a"] * 300)


@pytest.mark.parametrize("kind", ["smoe", "u2pp", "speech_moe", "espnet"])
def test_a_model_refuses_an_endless_beam(tmp_path, kind):
    config = tiny_u2pp_config()
    if kind == "smoe":
        config = tiny_config(tmp_path)
    if kind == "speech_moe":
        config = tiny_ctc_config(config["token_list"])
    if kind == "espnet":
        sizes = {"attention_heads": 2, "linear_units": 24, "num_blocks": 1}
        config |= {"model": "espnet", "model_conf": {}, "encoder": "transformer"}
        config |= {"encoder_conf": {**sizes, "output_size": 16}}
        config |= {"decoder": "transformer", "decoder_conf": sizes}
        config["model_conf"] = {"report_cer": False, "report_wer": False}
    files = save_experiment(tmp_path / "exp", config)
    with pytest.raises(ValueError, match=SAID):
        SpeechToText(*files, beam_size=100_000)


def test_streams_refuse_it_too(tmp_path):
    files = save_experiment(tmp_path / "exp", tiny_u2pp_config())
    with pytest.raises(ValueError, match=SAID):
        StreamingRecognizer.load(files[0].parent, StreamOptions(beam_size=100_000))
