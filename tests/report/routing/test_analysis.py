"""`espnet-smoe experts`, learned routing: what the routers go by, page and picture."""

import numpy as np
import pytest
import soundfile
import torch

from espnet_smoe import cli
from espnet_smoe.inference.checkpoint import load_model
from espnet_smoe.moe import Routing
from espnet_smoe.report.experts import command as experts
from espnet_smoe.report.routing.analysis import analyze_routing
from espnet_smoe.report.routing.mutual_information import mutual_information
from espnet_smoe.report.routing.page import dead_experts, to_page
from espnet_smoe.report.routing.trace import (
    SILENCE_DB,
    centers_of,
    read_utterances,
    silent,
    trace_routing,
)
from tests.inference.tiny_u2pp import tiny_u2pp_config
from tests.report.pages import rows_of
from tests.tiny import noise, save_experiment, tiny_ctc_config

TOKENS = ["<blank>", "<unk>", "hao3", "ma5", "ni3", "shi4", "HH", "OW", "<sos/eos>"]
TEXTS = {
    "utt0": "ni3 hao3 ma5",
    "utt1": "shi4 shi4",
    "utt2": "HH OW ni3 shi4",
    "utt3": "hao3 zhei4",  # zhei4 is no unit of the model
    "utt4": "ma5",
}
SECONDS = {utt: 0.6 + 0.17 * i for i, utt in enumerate(TEXTS)}


@pytest.fixture(scope="module")
def config():
    return tiny_ctc_config(TOKENS)


@pytest.fixture(scope="module")
def exp(tmp_path_factory, config):
    folder = tmp_path_factory.mktemp("exp")
    save_experiment(folder, config)
    return folder


@pytest.fixture(scope="module")
def model(exp, config):
    return load_model(config, exp / "model.pth")


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "test"
    folder.mkdir()
    tables = {
        "wav.scp": {u: tmp_path / f"{u}.wav" for u in TEXTS},
        "text": dict.fromkeys(TEXTS, "你好吗"),
        "text_syllable": TEXTS,
    }
    for i, (utt, seconds) in enumerate(SECONDS.items()):
        wave = noise(seconds, seed=i)
        wave[: len(wave) // 3] *= 1e-4  # silence first
        soundfile.write(tmp_path / f"{utt}.wav", wave, 16000, "FLOAT")
    for name, table in tables.items():
        lines = [f"{utt} {value}\n" for utt, value in table.items()]
        (folder / name).write_text("".join(lines), encoding="utf-8")
    return folder


def run(exp, data, *more):
    experts.main([str(exp), "--data", str(data), *more])
    return (exp / "experts.md").read_text(encoding="utf-8")


# -- what is heard ---------------------------------------------------------------


def test_frames_of_a_batch_are_those_of_each_utterance_alone(model, config, data):
    utterances = read_utterances(data, config)
    for together, one in zip(
        trace_routing(model, utterances, config), utterances, strict=True
    ):
        wave = torch.from_numpy(soundfile.read(one.path, dtype="float32")[0])[None]
        routing = Routing(torch.tensor([wave.size(1)]))
        with torch.inference_mode():
            model.encode_routed(wave, routing.lengths, routing)
        assert together.utterance is one
        for layer, logits in routing.logits.items():
            expected = logits.log_softmax(1).numpy()
            np.testing.assert_allclose(together.log_p[layer], expected, atol=1e-4)
        size = len(together.silence)
        assert len(together.units) == len(together.centers) == size == len(logits)
        assert together.units.tolist() == sorted(together.units)
        assert set(together.units) == set(range(len(one.units)))


def test_silence_is_what_lies_far_below_the_loud_frames(model, config, data):
    for heard in trace_routing(model, read_utterances(data, config), config):
        size = len(heard.silence)
        assert heard.silence[: size // 4].all()
        assert not heard.silence[size // 2 :].any()
    mel = np.log(np.array([1.0, 0.9, 2e-3, 5e-4]))[:, None].repeat(3, axis=1)
    assert silent(mel).tolist() == [False, False, False, True]
    assert np.array_equal(silent(mel - 5), silent(mel))  # how loud does not matter
    below = -SILENCE_DB + np.array([0.1, -0.1])  # decibels
    mel = np.log(10) / 10 * np.concatenate([np.zeros(98), below])[:, None]
    assert silent(mel).nonzero()[0].tolist() == [99]


def test_an_encoder_frame_lies_in_the_middle_of_its_stack(model):
    assert centers_of(model, 4, 15).tolist() == [3.5, 6.5, 9.5, 12.5]
    assert centers_of(model, 1, 2).tolist() == [1]  # shorter than a stack
    assert centers_of(torch.nn.Module(), 5, 10).tolist() == [0.5, 2.5, 4.5, 6.5, 8.5]


def test_counts_are_frames_without_padding(model, config, data):
    utterances = read_utterances(data, config)
    found = analyze_routing(model, utterances, config, "exp", "source")
    heard = list(trace_routing(model, utterances, config))
    frames = sum(len(h.silence) for h in heard)
    quiet = sum(int(h.silence.sum()) for h in heard)
    for name, layer in found.layers.items():
        assert layer.loads.sum() == frames
        assert layer.counts["silence"].sum(axis=1).tolist() == [frames - quiet, quiet]
        assert np.array_equal(layer.counts["silence"].sum(axis=0), layer.loads)
        for factor in ("initial", "final", "tone"):
            # each unit has a class: zhei4 is a syllable, if none of the model's
            assert layer.counts[factor].sum() == frames - quiet
        log_p = np.concatenate([h.log_p[name] for h in heard])
        of_frames = -(np.exp(log_p) * log_p).sum(axis=1)
        assert layer.entropy == pytest.approx(of_frames.mean(), rel=1e-5)
        assert layer.top == pytest.approx(np.exp(log_p).max(axis=1).mean(), rel=1e-5)
    spikes = [h.spike_probability for h in heard]
    assert found.spike_probability == pytest.approx(np.mean(spikes)) and min(spikes) > 0
    english = found.classes["tone"].index("English")
    (third,) = (h for h in heard if h.utterance.name == "utt2")
    expected = int(((third.units < 2) & ~third.silence).sum())
    assert layer.counts["tone"].sum(axis=1)[english] == expected


def test_a_router_that_hears_silence_is_found_out(exp, config, data):
    """Its first layer sees the features themselves, which are low in silence."""
    model = load_model(config, exp / "model.pth")
    router = model.encoder.backbone.blocks[0].feed_forward.gate.router
    with torch.no_grad():
        router.weight.zero_()
        static = router.weight[0, -24 * 8 :].unflatten(0, (8, 24))[:, :8]
        static.fill_(1.0)  # expert 0 where the features are high
        router.weight[1] = -router.weight[0]
    found = analyze_routing(
        model, read_utterances(data, config), config, "exp", "source"
    )
    told = found.layers["1"].information["silence"]
    assert told.percent > 60 > 20 > told.percent_by_chance
    silence = found.layers["1"].counts["silence"]
    assert silence[0].argmax() == 0 and silence[1].argmax() == 1


def test_an_utterance_too_short_for_its_text_tells_nothing_of_units(
    model, config, data
):
    long = " ".join(["ni3 hao3"] * 60)
    lines = [f"{u} {long if u == 'utt1' else t}\n" for u, t in TEXTS.items()]
    (data / "text_syllable").write_text("".join(lines))
    found = analyze_routing(
        model, read_utterances(data, config), config, "e", "s", "utt1"
    )
    assert found.unaligned == ["utt1"] and found.example.units == []
    layer = found.layers["1"]
    assert layer.counts["tone"].sum() < layer.counts["silence"][0].sum()


def test_dead_is_less_than_a_hundredth_of_a_fair_share():
    assert dead_experts(np.array([400, 0, 0, 0])) == 3
    assert dead_experts(np.array([397, 1, 1, 1])) == 0


def test_one_expert_for_all_frames_leaves_nothing_to_tell(exp, config, data):
    model = load_model(config, exp / "model.pth")
    for block in model.encoder.backbone.blocks:
        block.feed_forward.gate.router.weight.data.zero_()  # a tie: the first of all
    found = analyze_routing(
        model, read_utterances(data, config), config, "exp", "source"
    )
    for layer in found.layers.values():
        assert layer.entropy == pytest.approx(np.log(3))
        assert dead_experts(layer.loads) == 2
        assert np.isnan(layer.information["tone"].percent)
    page = to_page(found, "p.png")
    assert "initial nothing, final nothing, tone nothing, silence nothing." in page
    assert "4 of the 6 experts of 2 layers are dead" in page
    assert rows_of(page, "What the class of a frame tells")[0][2] == "- (-)"


# -- the command -----------------------------------------------------------------


def test_page_and_picture_are_written(exp, data, capsys):
    page = run(exp, data)
    assert "Checkpoint model.pth; 5 utterances of" in page
    assert "![experts of " in page
    assert (exp / "experts.png").read_bytes().startswith(b"\x89PNG")
    loads = rows_of(page, "Load of the experts")
    assert [row[0] for row in loads] == ["1", "2"]
    for row in loads:
        assert sum(float(c.removesuffix(" %")) for c in row[1:4]) == pytest.approx(
            100, abs=0.2
        )
    assert len(rows_of(page, "What the class of a frame tells")) == 2
    tones = {row[1] for row in rows_of(page, "Experts by tone")}
    assert tones == {"3", "4", "neutral", "English"}
    names = [row[0] for row in rows_of(page, "Similarity of the experts")]
    assert names == ["encoder 1", "encoder 2"]
    assert "Experts by initial in layer" in capsys.readouterr().out


def test_the_utterance_to_show_can_be_chosen(exp, config, data, tmp_path):
    utterances = read_utterances(data, config, limit=1, wanted="utt3")
    assert [s.name for s in utterances][-1] == "utt3"
    page = run(exp, data, "--utt", "utt3", "--png", str(tmp_path / "a" / "p.png"))
    assert (tmp_path / "a" / "p.png").is_file() and "a/p.png)" in page


def test_utterance_of_a_readable_length_is_shown(model, config, data):
    found = analyze_routing(model, read_utterances(data, config), config, "e", "s")
    assert found.example.name == "utt4"  # all are shorter than 2 s: the longest
    units = found.example.units
    assert [u for u, _, _ in units] == ["ma5"]
    assert units[0][1:] == (0, found.example.seconds)
    assert found.example.seconds == pytest.approx(SECONDS["utt4"], abs=0.03)
    frames = np.diff(found.example.borders)  # of the encoder: one each 30 ms
    assert frames[1:-1] == pytest.approx(0.03)


def test_a_model_of_one_expert_or_none_has_nothing_to_show(tmp_path, config, data):
    conf = {k: config["encoder_conf"][k] for k in ("output_size", "num_blocks")}
    dense = config | {"encoder_conf": conf | {"attention_heads": 2}}
    save_experiment(tmp_path / "b1", dense)
    with pytest.raises(ValueError, match="b1: the model has no experts; give an"):
        run(tmp_path / "b1", data)


def test_missing_files_and_foreign_names_are_told_with_a_cure(exp, data, tmp_path):
    with pytest.raises(ValueError, match="--utt: 'nobody' is not in .*such as utt0"):
        run(exp, data, "--utt", "nobody")
    (data / "text_syllable").write_text("utt0 ni3\n")
    with pytest.raises(ValueError, match="text_syllable: no value for .*utt1"):
        run(exp, data)
    (data / "text_syllable").unlink()
    with pytest.raises(ValueError, match="text_syllable does not exist: stage 5"):
        run(exp, data)
    (tmp_path / "empty").mkdir()
    text = (exp / "config.yaml").read_text()
    (tmp_path / "empty" / "config.yaml").write_text(text)
    with pytest.raises(
        ValueError, match="holds none of .*valid.loss_ctc.ave.pth.*--mo"
    ):
        run(tmp_path / "empty", data)
    assert cli.main(["experts", str(tmp_path / "empty")]) == 1


def test_routers_of_u2pp_are_told_of_in_the_order_of_the_layers(tmp_path, data):
    config = tiny_u2pp_config(token_list=TOKENS, token_type="word")
    save_experiment(tmp_path, config)
    page = run(tmp_path, data)
    layers = ["0.macaron", "0", "1.macaron", "1"]
    assert [row[0] for row in rows_of(page, "Load of the experts")] == layers
    alike = [row[0] for row in rows_of(page, "Similarity of the experts")]
    assert alike[: len(layers)] == [f"encoder {name}" for name in layers]


HANGUL = ["<blank>", "<unk>", "나", "가", "다", "|", "<space>", "<sos/eos>"]


@pytest.fixture
def spelled(data):
    """The same recordings with texts in characters."""
    (data / "text_syllable").unlink()
    table = {u: "가나 다|나가" for u in TEXTS} | {"utt0": "가가 x"}  # x is unknown
    lines = [f"{utt} {text}\n" for utt, text in table.items()]
    (data / "text").write_text("".join(lines), encoding="utf-8")
    return data


def test_a_model_that_spells_in_characters_is_told_of_by_its_characters(
    tmp_path, spelled, recwarn
):
    config = tiny_u2pp_config(token_list=HANGUL, token_type="char")
    save_experiment(tmp_path, config)
    page = run(tmp_path, spelled)
    units = [row[1] for row in rows_of(page, "Experts by unit") if row[0] == "0"]
    assert set(units) <= {"가", "나", "다", "\\", "x", "<space>"} and "가" in units
    header = page.partition("## What the class of a frame tells")[2].splitlines()
    assert "| layer | entropy | unit % | silence % |" in header
    # a font without Hangul draws no empty boxes
    assert not [w for w in recwarn if "missing from" in str(w.message)]


def test_units_are_made_as_the_training_made_them(tmp_path, spelled):
    config = tiny_u2pp_config(token_list=HANGUL, token_type="char")
    first = read_utterances(spelled, config)[0]
    assert first.units == ("가", "가", "<space>", "x")
    (spelled / "text_plain").write_text("".join(f"{u} 다다\n" for u in TEXTS))
    named = [["dump/raw/train/text_plain", "text", "text"]]
    config |= {"train_data_path_and_name_and_type": named}
    assert read_utterances(spelled, config)[0].units == ("다", "다")


def test_what_units_tell_is_counted_over_the_frames_that_are_not_silent(
    tmp_path, spelled
):
    config = tiny_u2pp_config(token_list=HANGUL, token_type="char")
    save_experiment(tmp_path, config)
    model = load_model(config, tmp_path / "model.pth")
    found = analyze_routing(model, read_utterances(spelled, config), config, "e", "s")
    layer = found.layers["0"]
    counts, units = layer.counts["unit"], found.classes["unit"]
    assert counts.shape[0] == len(units) == len(set(units))
    assert layer.information["unit"].bits == pytest.approx(mutual_information(counts))
    assert layer.information["unit"].by_chance > 0
    quiet = layer.counts["silence"].sum(axis=1)[1]
    assert counts.sum() <= layer.counts["silence"].sum() - quiet


def test_experts_in_espnets_own_model_are_looked_at(tmp_path, spelled):
    config = stock_config()
    save_experiment(tmp_path, config)
    page = run(tmp_path, spelled)
    assert rows_of(page, "Load of the experts") and rows_of(page, "Experts by unit")
    config["model_conf"] = {"ctc_weight": 0.0}
    save_experiment(tmp_path / "attention", config)
    page = run(tmp_path / "attention", spelled)
    assert "no CTC head" in page and "unit nothing, silence" in page


def stock_config():
    """`model: espnet` with our encoder."""
    encoder_conf = {
        "output_size": 16,
        "attention_heads": 2,
        "linear_units": 24,
        "num_blocks": 2,
        "moe": {"gate": "topk", "num_experts": 3, "top_k": 1},
    }
    return tiny_u2pp_config(
        token_list=HANGUL,
        token_type="char",
        model="espnet",
        model_conf={"ctc_weight": 0.5},
        encoder="smoe_transformer",
        encoder_conf=encoder_conf,
        decoder="transformer",
        decoder_conf={"attention_heads": 2, "linear_units": 24, "num_blocks": 1},
    )


def test_experts_of_a_decoder_alone_are_refused_in_a_line(tmp_path, spelled):
    config = stock_config()
    moe = config["encoder_conf"].pop("moe")
    config |= {"decoder": "smoe_transformer", "encoder": "smoe_transformer"}
    config["decoder_conf"] = config["decoder_conf"] | {"moe": moe}
    save_experiment(tmp_path / "dec", config)
    with pytest.raises(ValueError, match="dec: its encoder has no experts"):
        run(tmp_path / "dec", spelled)
