"""What the models of a server do for clients, and how their experts are counted."""

import shutil

import numpy as np
import pytest

from espnet_smoe.inference import load
from espnet_smoe.inference.streaming.options import StreamOptions
from espnet_smoe.serve import models
from espnet_smoe.serve.expert_loads import ExpertLoads
from espnet_smoe.serve.models import Model, load_models
from tests.inference.tiny_u2pp import tiny_u2pp_config
from tests.serve.fake import FakeSpeechToText, model
from tests.tiny import SIZE, noise, save_experiment, tiny_config, tiny_ctc_config


@pytest.fixture(scope="module")
def smoe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exp")
    save_experiment(folder / "exp", tiny_config(folder))
    return folder / "exp"


def test_a_model_that_cannot_stream_is_served_all_the_same(smoe):
    (loaded,) = load_models([f"koen={smoe}"], StreamOptions())
    assert loaded.streams is None
    assert "cannot stream" in loaded.no_streams
    told = loaded.as_dict()
    assert (told["id"], told["tasks"], told["streams"]) == (
        "koen",
        ["asr", "st"],
        False,
    )
    assert told["created"] > 0
    wave = noise(1)
    (here,) = loaded.recordings([wave])
    (alone,) = load(smoe)([wave])
    assert {t: r.text for t, r in here.items()} == {t: r.text for t, r in alone.items()}


def test_a_model_that_streams_is_timed_before_anybody_comes(tmp_path, monkeypatch):
    save_experiment(tmp_path / "exp", tiny_u2pp_config())
    (loaded,) = load_models([str(tmp_path / "exp")], StreamOptions())
    per_round, per_stream = loaded.round_costs
    assert per_round >= 0 and per_stream >= 0 and per_round + per_stream > 0

    def fails(streams):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(models, "round_costs", fails)
    (loaded,) = load_models([str(tmp_path / "exp")], StreamOptions())
    assert loaded.streams is not None and loaded.round_costs is None


def test_a_model_is_served_with_the_decoding_that_came_with_it(smoe, tmp_path):
    shutil.copytree(smoe, tmp_path / "exp")
    (tmp_path / "exp/decode.yaml").write_text("maxlenratio: 2\n")
    (tmp_path / "other.yaml").write_text("beam_size: 3\n")
    for configs, expected in (([], (2.0, 5)), ([str(tmp_path / "other.yaml")], (0, 3))):
        (loaded,) = load_models(
            [str(tmp_path / "exp")], StreamOptions(), "cpu", configs
        )
        options = loaded.recordings.options
        assert (options.maxlenratio, options.beam_size) == expected


def test_a_model_of_units_transcribes_them(tmp_path):
    tokens = ["<blank>", "<unk>", "ni3", "hao3", "<sos/eos>"]
    save_experiment(tmp_path / "exp", tiny_ctc_config(tokens))
    (loaded,) = load_models([str(tmp_path / "exp")], StreamOptions())
    assert (loaded.name, loaded.streams) == ("exp", None)
    assert loaded.tasks_of(True, "zh") == ["units"]
    found = loaded.recordings.recognize([noise(1)], ["wb"], ["units"], ["a"])
    ids = loaded.token_ids(found[0]["units"].tokens)
    assert [tokens[i] for i in ids] == list(found[0]["units"].tokens)


def test_every_expert_of_encoder_and_decoder_is_counted(smoe):
    recordings = load(smoe, detect_speech=False)
    loads = ExpertLoads(recordings.model)
    assert loads.loads() == {}
    recordings([noise(1)], ["asr"], bandwidth="nb")
    first = loads.loads()
    assert {name.split(".")[0] for name in first} == {"encoder", "decoder"}
    assert len(first) == 4
    for name, (one, other) in first.items():
        # narrowband is the second expert of an encoder, transcripts of a decoder
        assert one == 0 and other > 0, name
    recordings([noise(1)], ["st"], bandwidth="wb")
    for before, after in zip(first.values(), loads.loads().values()):
        assert after[0] > 0 and after[1] == before[1]


def test_experts_in_encoders_of_espnet_are_counted(tmp_path):
    config = tiny_config(tmp_path, encoder="smoe_conformer")
    config["encoder_conf"] = SIZE | {"moe": {"gate": "label"}, "cnn_module_kernel": 3}
    save_experiment(tmp_path / "exp", config)
    recordings = load(tmp_path / "exp", detect_speech=False)
    loads = ExpertLoads(recordings.model)
    recordings([noise(1)], ["asr"], bandwidth="nb")
    encoder = [n for name, n in loads.loads().items() if name.startswith("encoder")]
    assert len(encoder) == 2 and all(n[0] == 0 < n[1] for n in encoder)


def test_a_language_chooses_the_task():
    fake = model()
    assert fake.tasks_of(True, None) == ["asr"]
    assert fake.tasks_of(True, "ko-KR") == ["asr"]
    assert fake.tasks_of(False, "EN") == ["st"]
    with pytest.raises(ValueError, match="does not translate 'fr'; it knows en"):
        fake.tasks_of(False, "fr")


def test_a_model_without_a_table_writes_what_is_said():
    plain = Model("plain", FakeSpeechToText())
    assert plain.tasks_of(True, "fr") == ["asr", "st"]
    with pytest.raises(ValueError, match="plain does not translate"):
        plain.tasks_of(False, None)


def test_tokens_have_the_numbers_of_the_list():
    fake = model()
    names = fake.recordings.model.token_list
    assert fake.token_ids([names[3], "no such", names[1]]) == [3, 1]
    assert np.all(np.array(fake.token_ids(names)) == np.arange(len(names)))
