"""Which models streams may be heard by, and how these are loaded."""

import pytest

from espnet_smoe.inference.runtime.quantize import Int8Linear
from espnet_smoe.inference.streaming.recognizer import (
    StreamingRecognizer,
    StreamOptions,
)
from espnet_smoe.moe import FeedForward
from tests.inference.listening import (
    CUT,
    LoudnessModel,
    events_of,
    finals,
    recognizer_of,
    same,
)
from tests.inference.tiny_u2pp import (
    TOKENS,
    babble,
    save_tiny_u2pp,
    tiny_u2pp,
    tiny_u2pp_config,
)
from tests.tiny import save_experiment, tiny_ctc_config


def test_a_folder_is_loaded_with_its_kind_of_text(tmp_path):
    save_tiny_u2pp(tmp_path)
    recognizer = StreamingRecognizer.load(
        tmp_path, StreamOptions(**CUT, detect_speech=False)
    )
    assert recognizer.join(["你", "好"]) == "你好"
    wave = babble(3.0)
    same(
        events_of(recognizer, wave), events_of(recognizer_of(tiny_u2pp(), **CUT), wave)
    )


def test_a_stream_may_be_heard_by_experts_in_int8(tmp_path):
    save_tiny_u2pp(tmp_path)
    options = StreamOptions(**CUT, int8=True, detect_speech=False)
    model = StreamingRecognizer.load(tmp_path, options).model
    assert {type(layer) for layer in experts_of(model)} == {Int8Linear}
    recognizer = StreamingRecognizer(model, options)
    assert any(event.kind == "final" for event in events_of(recognizer, babble(3.0)))


def experts_of(model):
    return [m.w_1 for m in model.modules() if isinstance(m, FeedForward)]


def test_a_model_that_hears_whole_utterances_is_refused(tmp_path):
    save_experiment(tmp_path, tiny_ctc_config(TOKENS))
    with pytest.raises(
        ValueError, match="'SpeechMoEEncoder' needs the whole utt.*u2pp"
    ):
        StreamingRecognizer.load(tmp_path)


def test_an_encoder_that_looks_ahead_is_refused():
    conf = tiny_u2pp_config()["encoder_conf"]
    conf |= {"causal": False, "use_dynamic_chunk": False}
    with pytest.raises(ValueError, match="trained with 'causal: false'"):
        recognizer_of(tiny_u2pp(encoder_conf=conf))


def test_weights_of_decoders_that_are_not_there_are_refused():
    with pytest.raises(ValueError, match="no decoder to rescore with"):
        recognizer_of(LoudnessModel())
    conf = tiny_u2pp_config()["decoder_conf"] | {"r_num_blocks": 0}
    one_way = tiny_u2pp(decoder_conf=conf)
    with pytest.raises(ValueError, match="no right-to-left decoder; use 0"):
        recognizer_of(one_way, reverse_weight=0.5)
    assert finals(recognizer_of(one_way, **CUT), babble(3.0))


def test_a_model_without_ctc_is_refused(tmp_path):
    model = LoudnessModel()
    model.ctc = None
    with pytest.raises(ValueError, match="no CTC head"):
        recognizer_of(model, rescore=False)
