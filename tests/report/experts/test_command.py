"""`espnet-smoe experts`: loads counted, experts swapped, the report written."""

import numpy as np
import pytest
import soundfile
import torch

from espnet_smoe import cli
from espnet_smoe.data.text.tokens import BEGIN
from espnet_smoe.inference import SpeechToText
from espnet_smoe.inference.checkpoint import load_model
from espnet_smoe.report.experts import command as experts
from espnet_smoe.report.experts.data import read_recordings, sample
from espnet_smoe.report.experts.probe import collect_traces, load_divergence, mixtures
from espnet_smoe.report.experts.swap import decode_swapped, swapped
from tests.report.pages import rows_of
from tests.tiny import save_experiment, talk, tiny_config

SECONDS = {f"utt{i}": 0.8 + 0.13 * i for i in range(6)}
LABEL = {utt: ("wb", "nb")[i % 2] for i, utt in enumerate(SECONDS)}
TARGETS = ("text", "text_st")


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return tiny_config(tmp_path_factory.mktemp("tokens"))


@pytest.fixture(scope="module")
def exp(tmp_path_factory, config):
    folder = tmp_path_factory.mktemp("exp")
    save_experiment(folder, config)
    return folder


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "test"
    folder.mkdir()
    tables = {
        "wav.scp": {u: tmp_path / f"{u}.wav" for u in SECONDS},
        "text": {u: "오늘 날씨가 좋네요" for u in SECONDS},
        "text_st": {u: "the weather is nice today" for u in SECONDS} | {"utt0": "<na>"},
        "utt2bandwidth": LABEL,
    }
    for i, (utt, seconds) in enumerate(SECONDS.items()):
        soundfile.write(tmp_path / f"{utt}.wav", talk(seconds, seed=i), 16000)
    for name, table in tables.items():
        lines = [f"{utt} {value}\n" for utt, value in table.items()]
        (folder / name).write_text("".join(lines), encoding="utf-8")
    return folder


def heard(exp, config, data, **changes):
    """A model, and the recordings as it reads them."""
    model = load_model(config | changes, exp / "model.pth")
    return model, read_recordings(data, model, config | changes, True)


def edit(exp, folder, change):
    """Another experiment, whose checkpoint was changed by hand."""
    folder.mkdir()
    (folder / "config.yaml").write_text((exp / "config.yaml").read_text())
    state = torch.load(exp / "model.pth", weights_only=True)
    change(state)
    torch.save(state, folder / "model.pth")
    return folder


def make_copies(state):
    """Let expert 1 of each layer be expert 0."""
    for name in state:
        if ".experts.1." in name:
            state[name] = state[name.replace(".experts.1.", ".experts.0.")].clone()


def run(exp, data, *more):
    files = ("--model", "model.pth", "--data", str(data))
    experts.main([str(exp), *files, "--beam-size", "2", *more])
    return (exp / "experts.md").read_text(encoding="utf-8")


# -- loads -----------------------------------------------------------------------


def test_loads_count_frames_and_tokens_without_padding(exp, config, data):
    model, recordings = heard(exp, config, data)
    seen = collect_traces(model, recordings)
    alone = {}
    for r in recordings:
        wave = torch.from_numpy(soundfile.read(r.path, dtype="float32")[0])[None]
        size, label = torch.tensor([wave.size(1)]), torch.tensor([r.label_id])
        length = model.encode(wave, size, label)[1]
        alone[r.label] = alone.get(r.label, 0) + int(length)
    assert list(seen["encoder"]) == ["0", "1"]
    for layer in seen["encoder"].values():
        assert layer.loads["wb"].tolist() == [alone["wb"], 0]
        assert layer.loads["nb"].tolist() == [0, alone["nb"]]
        assert sum(map(len, layer.inputs)) == sum(alone.values())
    tokens = {t: sum(len(r.targets.get(t, ())) for r in recordings) for t in TARGETS}
    prompt = 3  # task, language, begin
    assert model.token_list[model.tasks["asr"].prompt[-1]] == BEGIN
    for layer in seen["decoder"].values():
        assert layer.loads["asr"].tolist() == [0, tokens["text"] + 6 * prompt]
        # utt0 has no translation
        assert layer.loads["st"].tolist() == [tokens["text_st"] + 5 * prompt, 0]


def test_bandwidths_need_not_be_tokens(tmp_path, config, data):
    """As in a mixture that began as somebody's trained model."""
    tokens = [t.replace("wb", "x").replace("nb", "y") for t in config["token_list"]]
    foreign = config | {"token_list": tokens}
    save_experiment(tmp_path / "exp", foreign)
    page = run(tmp_path / "exp", data)
    assert "every label goes to its own expert in all 2 layers (wb to E0, nb to" in page


def test_only_a_sample_of_the_inputs_is_kept(exp, config, data, monkeypatch):
    monkeypatch.setattr("espnet_smoe.report.experts.probe.MOST_FRAMES", 8)
    seen = collect_traces(*heard(exp, config, data))
    for part in seen.values():
        for layer in part.values():
            assert 0 < sum(map(len, layer.inputs)) <= 8 + 2  # rounded up by batch


def test_a_learned_gate_gives_a_matrix(tmp_path, config, data):
    moe = {"gate": "topk", "num_experts": 3, "top_k": 2}
    learned = config | {"encoder_conf": config["encoder_conf"] | {"moe": moe}}
    save_experiment(tmp_path / "exp", learned)
    model, recordings = heard(tmp_path / "exp", learned, data)
    seen = collect_traces(model, recordings)["encoder"]
    for layer in seen.values():
        assert set(layer.loads) == {"wb", "nb"}
        chosen = sum(load.sum() for load in layer.loads.values())
        assert chosen == 2 * sum(map(len, layer.inputs))  # two experts a frame
    page = run(tmp_path / "exp", data)
    assert "- Encoder: a learned gate; the use of experts differs" in page
    assert "Decoder: every label goes to its own expert in all 2 layers" in page
    assert len(rows_of(page, "Output cosine of each two experts in the encoder")) == 3


def test_apart_is_between_alike_and_nothing_in_common():
    assert load_divergence([np.array([1, 3]), np.array([10, 30])]) == 0
    assert load_divergence([np.array([4, 0]), np.array([1, 3])]) == 0.75
    assert np.isnan(load_divergence([np.array([1, 2])]))


# -- swapping --------------------------------------------------------------------


def encode(model, label, wave):
    token = torch.tensor([model.token_list.index(f"<{label}>")])
    with torch.inference_mode():
        return model.encode(wave, torch.tensor([wave.size(1)]), token)[0]


def test_swapping_the_encoder_is_the_other_label(exp, config):
    model = load_model(config, exp / "model.pth")
    wave = torch.from_numpy(talk(0.5))[None]
    wide, narrow = (encode(model, label, wave) for label in ("wb", "nb"))
    assert not torch.allclose(wide, narrow, atol=1e-3)
    with swapped(model, "encoder"):
        assert torch.equal(encode(model, "wb", wave), narrow)
        assert torch.equal(encode(model, "nb", wave), wide)
    assert torch.equal(encode(model, "wb", wave), wide)


def test_swapping_the_decoder_changes_experts_and_keeps_the_prompt(exp, config):
    model = load_model(config, exp / "model.pth")
    memory, size = torch.randn(1, 7, 16), torch.tensor([7])
    prompt = torch.tensor([model.tasks["asr"].prompt])

    def decode():
        with torch.inference_mode():
            return model.decoder(memory, size, prompt, torch.tensor([3]))[0]

    right = decode()
    with swapped(model, "decoder"):
        wrong = decode()
    for layer in mixtures(model)["decoder"]:  # exchange the weights instead
        layer.experts = torch.nn.ModuleList([*layer.experts[1:], layer.experts[0]])
    assert torch.equal(decode(), wrong) and not torch.equal(right, wrong)


def test_a_gate_without_labels_has_its_experts_exchanged(tmp_path, config):
    moe = {"gate": "topk", "num_experts": 2}
    learned = config | {"encoder_conf": config["encoder_conf"] | {"moe": moe}}
    save_experiment(tmp_path, learned)
    model = load_model(learned, tmp_path / "model.pth")
    wave = torch.from_numpy(talk(0.5))[None]
    right = encode(model, "wb", wave)
    with swapped(model, "encoder"):
        assert not torch.allclose(encode(model, "wb", wave), right, atol=1e-4)
        with swapped(model, "encoder"):  # of two, twice is none
            assert torch.equal(encode(model, "wb", wave), right)
    assert torch.equal(encode(model, "wb", wave), right)


def test_the_right_experts_come_back_after_an_error(exp, config):
    model = load_model(config, exp / "model.pth")
    before = model.encoder.labels.number_of_token
    with pytest.raises(RuntimeError), swapped(model, "encoder"):
        raise RuntimeError
    assert model.encoder.labels.number_of_token is before


@pytest.mark.parametrize("copies", [False, True])
def test_experts_made_different_by_hand_cost_what_they_say(
    exp, config, data, tmp_path, copies
):
    """One expert ends at once, the other says word after word."""
    tokens = config["token_list"]
    word = tokens.index("Ġthe")  # half a character would not be printed

    def change(state):
        for e, direction in ((0, 1), (1, 0)):
            bias = state[f"decoder.decoders.1.feed_forward.experts.{e}.w_2.bias"]
            bias.zero_()[direction] = 1e4
        weight = state["decoder.output_layer.weight"].zero_()
        weight[len(tokens) - 1, 0] = weight[word, 1] = 10.0
        state["decoder.output_layer.bias"].zero_()
        if copies:
            make_copies(state)

    folder = edit(exp, tmp_path / "hand", change)
    speech_to_text = SpeechToText(folder / "config.yaml", folder / "model.pth")
    recordings = read_recordings(data, speech_to_text.model, config, True)
    ways = decode_swapped(speech_to_text, recordings, data)
    # the first metric of each task alone: more would ask the same tests again
    assert [list(c.counts) for c in ways[0].tasks.values()] == [["wer"], ["bleu"]]
    assert [s.name.split()[0] for s in ways] == ["right", "encoder", "decoder"]
    wer = [system.scores["asr"]["all"]["wer"].value for system in ways]
    if copies:  # words from either
        assert wer[0] == wer[1] == wer[2] > 100
    else:  # the transcript's expert says nothing: every word is deleted
        assert wer[0] == wer[1] == 100
        assert wer[2] > 100


# -- the command -----------------------------------------------------------------


def test_report_of_two_identical_experts(exp, data, tmp_path):
    folder = edit(exp, tmp_path / "copies", make_copies)
    page = run(folder, data)
    assert "Encoder: the experts compute the same: they are copies" in page
    for row in rows_of(page, "Similarity of the experts"):
        assert row[1:] == ["1.00", "0.00", "1.00", "0.00", "1.00", "1.00", "0.00"]
    scores = rows_of(page, "Swapped experts")
    assert scores and all("p=1.000" in cell for r in scores for cell in r[2:])
    assert "Encoder swapped: asr WER stays" in page


def test_a_limit_is_one_utterance_at_least(capsys):
    parser = experts.get_parser()
    assert parser.parse_args(["exp", "--data", "d", "--limit", "1"]).limit == 1
    for wrong in ("0", "-1", "1.5"):
        with pytest.raises(SystemExit):
            parser.parse_args(["exp", "--data", "d", "--limit", wrong])
    assert "'1.5' is not a number of at least 1" in capsys.readouterr().err


def test_report_has_every_table_and_the_picture(exp, data, capsys):
    page = run(exp, data, "--limit", "4")
    assert "4 utterances of" in page and "![experts of " in page
    assert (exp / "experts.png").read_bytes().startswith(b"\x89PNG")
    (first, second) = rows_of(page, "Load of the experts in the encoder")
    assert first[0] == "0 to 1" and first[-1] == "1.00"
    assert {first[1], second[1]} == {"wb", "nb"}
    names = [row[0] for row in rows_of(page, "Similarity of the experts")]
    assert names == ["encoder 0", "encoder 1", "decoder 0", "decoder 1"]
    groups = [row[0] for row in rows_of(page, "Swapped experts")]
    assert "asr WER %, mean of NB" in groups and "st BLEU, all" in groups
    assert "copies of each other" not in page
    assert "Swapped experts" in capsys.readouterr().out


def test_a_decoder_alone_needs_no_bandwidth(tmp_path, config, data):
    encoder = {k: v for k, v in config["encoder_conf"].items() if k != "moe"}
    save_experiment(tmp_path / "exp", config | {"encoder_conf": encoder})
    (data / "utt2bandwidth").unlink()
    page = run(tmp_path / "exp", data)
    assert "encoder" not in page.replace("encoder_", "")
    assert "Decoder swapped: asr WER" in page


def test_limit_draws_by_chance_in_order():
    names = [f"u{i:02d}" for i in range(50)]
    drawn = sample(names, 10)
    assert drawn == sorted(drawn) == sample(names, 10) and len(set(drawn)) == 10
    assert len({int(n[1:]) % 5 for n in drawn}) > 1  # not every fifth
    assert sample(names, 60) == sample(names, None) == names


def test_a_dense_model_has_no_experts(tmp_path, config, data, capsys):
    dense = {
        k: {n: v for n, v in config[k].items() if n != "moe"}
        for k in ("encoder_conf", "decoder_conf")
    }
    save_experiment(tmp_path / "exp", config | dense)
    with pytest.raises(ValueError, match="exp: the model has no experts; give an"):
        run(tmp_path / "exp", data)


def test_missing_files_are_named_with_a_cure(exp, data, tmp_path, capsys):
    with pytest.raises(ValueError, match="gone/config.yaml does not exist; stage 11"):
        run(tmp_path / "gone", data)
    with pytest.raises(ValueError, match="other.pth does not exist; take an"):
        experts.main([str(exp), "--model", "other.pth", "--data", str(data)])
    with pytest.raises(ValueError, match="--utt: the model of .* is routed by label"):
        run(exp, data, "--utt", "utt0")
    with pytest.raises(ValueError, match="nowhere/wav.scp does not exist"):
        run(exp, tmp_path / "nowhere")
    (data / "utt2bandwidth").write_text("utt0 wb\n")
    with pytest.raises(ValueError, match="utt2bandwidth: no value for .*utt1"):
        run(exp, data)
    (data / "utt2bandwidth").unlink()
    with pytest.raises(ValueError, match="utt2bandwidth does not exist; the encoder's"):
        run(exp, data)
    arguments = ["experts", str(exp), "--model", "model.pth", "--data", str(data)]
    assert cli.main(arguments) == 1
    assert "espnet-smoe experts: " in capsys.readouterr().err


def test_a_foreign_bandwidth_names_the_utterance(exp, data):
    table = "".join(f"{u} xb\n" for u in SECONDS)
    (data / "utt2bandwidth").write_text(table)
    with pytest.raises(ValueError, match="utterance utt0: bandwidth <xb> is not"):
        run(exp, data)


def test_prompts_are_those_of_the_spoken_language(exp, config, data):
    row = {"prompt": ["<transcribe>", "<ko>"], "spoken": "ko"}
    tasks = {"asr": {"target": "text", **row}, "st": {"target": "text_st", **row}}
    changes = {"model_conf": {**config["model_conf"], "tasks": tasks}}
    spoken = {utt: ("ko", "en")[i % 2] for i, utt in enumerate(SECONDS)}
    lines = [f"{utt} {language}\n" for utt, language in spoken.items()]
    (data / "utt2lang").write_text("".join(lines))
    model, recordings = heard(exp, config, data, **changes)
    assert {r.name: r.language for r in recordings} == spoken
    read = []
    model.decoder.register_forward_hook(lambda m, args, out: read.append(args[2]))
    collect_traces(model, recordings)
    tokens = config["token_list"]
    found = sorted(tokens[row[1]] for ys in read for row in ys.tolist())
    assert found == ["<en>"] * 6 + ["<ko>"] * 5  # utt0 has no translation
