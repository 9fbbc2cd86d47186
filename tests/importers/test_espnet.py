"""`espnet-smoe import espnet`: the same model as ESPnet's own, by ESPnet's own code."""

import contextlib
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from espnet_smoe.data.text.tokenizer import is_special
from espnet_smoe.importers.command import main
from espnet_smoe.inference.speech_to_text import SpeechToText
from tests.importers.tiny_espnet import (
    ENCODERS,
    WINDOW,
    imported,
    make_espnet,
    wave,
)

LONGEST = 8  # tokens of a text
MODELS = [("asr", encoder) for encoder in ENCODERS]
MODELS += [("st", "conformer"), ("s2t", "transformer"), ("s2t", "e_branchformer")]
OPTIONS = {  # beside those of `tiny_espnet`: what else is claimed to be carried
    "legacy positions": ("asr", "conformer", {"rel_pos_type": "legacy"}),
    "absolute positions": (
        *("asr", "conformer"),
        {"pos_enc_layer_type": "abs_pos", "selfattention_layer_type": "selfattn"},
    ),
    "convolutional blocks": (
        *("asr", "transformer"),
        {"positionwise_layer_type": "conv1d", "positionwise_conv_kernel_size": 3},
    ),
    "post-norm": ("asr", "transformer", {"normalize_before": False}),
    "a sixth of the frames": ("asr", "e_branchformer", {"input_layer": "conv2d6"}),
    "CTC inside": (
        *("asr", "conformer"),
        {"interctc_layer_idx": [1], "interctc_use_conditioning": True},
    ),
}


def theirs(folder: Path, **options):
    """ESPnet's own Speech2Text of the experiment, run from its recipe's folder."""
    task = folder.name.partition("_")[0]
    module = __import__(f"espnet2.bin.{task}_inference", fromlist=["Speech2Text"])
    files = {f"{task}_train_config": str(folder / "config.yaml")}
    files[f"{task}_model_file"] = str(folder / "valid.acc.ave.pth")
    with contextlib.chdir(folder.parents[1]):
        return module.Speech2Text(**files, maxlenratio=-LONGEST, **options)


def model_of(speech2text) -> torch.nn.Module:
    names = ("asr_model", "st_model", "s2t_model")
    return next(getattr(speech2text, n) for n in names if hasattr(speech2text, n))


def made(tmp_path_factory, task: str, encoder: str, **changes) -> tuple[Path, Path]:
    recipe = tmp_path_factory.mktemp(f"{task}_{encoder}")
    folder = make_espnet(recipe, task, encoder, **changes)
    return folder, imported(folder, recipe / "imported")


@pytest.fixture(scope="module", params=MODELS, ids="-".join)
def both(request, tmp_path_factory):
    """An experiment of ESPnet, and the one made of it."""
    return made(tmp_path_factory, *request.param)


@torch.inference_mode()
def check_outputs(folder: Path, out: Path) -> None:
    """Encoder, CTC and decoder, of utterances of different lengths in one batch."""
    ours, espnet = SpeechToText.load(out), model_of(theirs(folder))
    waves = [wave(1), wave(2, 0.61)]
    encoded, lengths = ours.encoder(waves)
    tokens = torch.randint(3, 20, (1, 6), generator=torch.Generator().manual_seed(0))
    for row, speech in enumerate(waves):
        if folder.name.startswith("s2t"):
            speech = np.pad(speech, (0, int(WINDOW * 16000) - len(speech)))
        alone = torch.from_numpy(speech)[None], torch.tensor([len(speech)])
        expected, frames = espnet.encode(*alone)
        expected = expected[0] if isinstance(expected, tuple) else expected
        assert int(lengths[row]) == int(frames)
        got = encoded[row, : int(frames)]
        torch.testing.assert_close(got, expected[0], atol=1e-4, rtol=1e-4)
        wanted = espnet.decoder(expected, frames, tokens, torch.tensor([6]))[0]
        logits = ours.model.decoder(got[None], frames, tokens, torch.tensor([6]))[0]
        assert wanted.std() > 0.1
        torch.testing.assert_close(logits, wanted, atol=1e-4, rtol=1e-4)
        head = espnet.st_ctc if folder.name.startswith("st_") else espnet.ctc
        log_probs = ours.model.ctc.log_softmax(got[None])
        torch.testing.assert_close(
            log_probs, head.log_softmax(expected), atol=1e-4, rtol=1e-4
        )


def test_encoder_ctc_and_decoder_compute_what_they_did(both):
    check_outputs(*both)


@pytest.mark.parametrize("name", OPTIONS)
def test_options_of_espnets_encoders_are_carried(name, tmp_path_factory):
    task, encoder, conf = OPTIONS[name]
    check_outputs(*made(tmp_path_factory, task, encoder, encoder_conf=conf))


def texts_of(folder: Path, **options) -> dict[str, list[tuple[str, ...]]]:
    """What ESPnet's own search writes of two waveforms, by task."""
    prompts = {"asr": {}, "st": {}}
    if folder.name.startswith("s2t"):
        prompts = {"asr": {"task_sym": "<asr>"}, "st": {"task_sym": "<st_eng>"}}
        prompts = {task: {"lang_sym": "<kor>", **p} for task, p in prompts.items()}
    else:
        prompts = {folder.name.partition("_")[0]: {}}
    search = theirs(folder, **options)
    found = {}
    for task, prompt in prompts.items():
        with contextlib.chdir(folder.parents[1]):  # it loads the tokenizer now
            best = [search(wave(seed), **prompt)[0] for seed in (1, 2)]
        found[task] = [tuple(t for t in one[1] if not is_special(t)) for one in best]
    return found


@pytest.mark.parametrize("beam", [1, 3])
def test_texts_are_those_of_espnets_search(both, beam):
    folder, out = both
    spells = not folder.name.startswith("st_")  # what is said, by CTC
    for ctc_weight in (0.0, 0.3) if spells and beam > 1 else (0.0,):
        asks = {"beam_size": beam} | ({"ctc_weight": ctc_weight} if spells else {})
        expected = texts_of(folder, **asks)
        if ctc_weight and "st" in expected:  # whose head does not spell translations
            expected["st"] = texts_of(folder, beam_size=beam)["st"]
        ours = SpeechToText.load(
            out,
            beam_size=beam,
            ctc_weight=ctc_weight,
            maxlenratio=-LONGEST,
            detect_speech=False,
        )
        assert ours.tasks == tuple(expected)
        found = ours.recognize([wave(1), wave(2)], ["wb"] * 2, ours.tasks, ["a", "b"])
        for task, texts in expected.items():
            assert [result[task].tokens for result in found] == texts
        assert any(any(texts) for texts in expected.values())


def test_weights_are_exactly_those_of_the_checkpoint(both):
    folder, out = both
    given = torch.load(folder / "valid.acc.ave.pth")
    state = torch.load(out / "model.pth")
    assert state.pop("minibatches") == 0
    ctc = "st_ctc." if folder.name.startswith("st_") else "ctc."
    assert {
        name.replace("ctc.", ctc, 1) if name.startswith("ctc.") else name
        for name in state
    } == {*given}
    for name, tensor in state.items():
        source = name.replace("ctc.", ctc, 1) if name.startswith("ctc.") else name
        assert torch.equal(tensor, given[source])


def test_the_experiment_stands_alone(tmp_path):
    folder = make_espnet(tmp_path / "recipe", "asr", "conformer")
    out = imported(folder, tmp_path / "exp")
    os.rename(tmp_path / "recipe", tmp_path / "gone")
    moved = out.rename(tmp_path / "moved")
    assert SpeechToText.load(moved, beam_size=1)([wave(1)])[0]["asr"].text is not None
    names = {"config.yaml", "model.pth", "tokens.txt", "bpe.model", "feats_stats.npz"}
    names.add("params.json")
    assert {path.name for path in moved.iterdir()} == names
    config = yaml.safe_load((moved / "config.yaml").read_text())
    assert config["bpemodel"] == "bpe.model"
    assert config["normalize_conf"]["stats_file"] == "feats_stats.npz"


def test_characters_keep_their_spaces(tmp_path):
    tokens = ["<blank>", "<unk>", "<space>", *"오늘날씨가", "<sos/eos>"]
    changes = {"token_type": "char", "bpemodel": None, "token_list": tokens}
    folder = make_espnet(tmp_path, "asr", "transformer", **changes)
    out = imported(folder, tmp_path / "imported")
    ours = SpeechToText.load(out)
    assert ours.join(["오", "<space>", "늘"]) == "오 늘"
    assert tokens.index("<space>") not in ours.model.special_ids


@pytest.mark.parametrize("task", ["asr", "st", "s2t"])
def test_a_packed_model_is_the_same(task, tmp_path):
    from espnet2.main_funcs.pack_funcs import pack

    folder = make_espnet(tmp_path, task, "transformer")
    out = imported(folder, tmp_path / "from_folder")
    with contextlib.chdir(tmp_path):
        names = [str(p.relative_to(tmp_path)) for p in folder.iterdir()]
        config, weights = sorted(names)
        extra = ["data/token_list/bpe.model", "exp/stats/train/feats_stats.npz"]
        pack(
            files={f"{task}_model_file": weights},
            yaml_files={f"{task}_train_config": config},
            option=extra,
            outpath="packed.zip",
        )
    more = ["--language", "kor"] if task == "s2t" else []
    again = tmp_path / "from_zip"
    main(["espnet", str(tmp_path / "packed.zip"), "--out", str(again), *more])
    for path in out.iterdir():
        if path.name == "model.pth":
            state, other = torch.load(path), torch.load(again / path.name)
            assert state.keys() == other.keys()
            assert all(torch.equal(state[name], other[name]) for name in state)
        elif path.name == "config.yaml":
            one, other = (yaml.safe_load(p.open()) for p in (path, again / path.name))
            assert one == other
        else:
            assert path.read_bytes() == (again / path.name).read_bytes()


WRONG = {  # a change of the configuration, options: what is said
    "another decoder": ({"decoder": "rnn"}, "", "'decoder: rnn' cannot be carried"),
    "a transducer": ({"decoder": "transducer"}, "", "'decoder: transducer' cannot"),
    "another encoder": ({"encoder": "rnn"}, "", "'encoder: rnn' .* transformer, conf"),
    "no decoder": ({"model_conf": {"ctc_weight": 1.0}}, "", "a model without decoder"),
    "another rate": ({"frontend_conf": {"fs": "8k"}}, "", "for 8000 Hz; only .* 16000"),
    "features": ({"input_size": 80}, "", "takes features, .*feats_type: raw"),
    "a front-end": ({"frontend": "s3prl"}, "", "'frontend: s3prl' cannot be carried"),
    "a model option": (
        *({"model_conf": {"lang_token_id": 5}}, ""),
        "model_conf.lang_token_id: 5 cannot be carried",
    ),
    "a tokenizer": (
        {"token_type": "whisper_en"},
        "",
        "'token_type: whisper_en' cannot",
    ),
    "no tokens": ({"token_list": None}, "", "config.yaml is no training configur"),
    "tokens that are no text": ({"token_list": [1, 2]}, "", "token_list: not all are"),
    "a doubled token": (
        {"token_list": ["a", "a"]},
        "",
        "'a' stands there twice; fetch",
    ),
    "an unknown option": (
        *({"encoder_conf": {"num_blokcs": 2}}, ""),
        "config.yaml: encoder_conf: unknown key 'num_blokcs'.*'num_blocks'",
    ),
    "no section": ({"normalize_conf": 5}, "", "normalize_conf is 5, no section of opt"),
    "no path": ({"bpemodel": 5}, "", "bpemodel is missing; add the model's tokenizer"),
    "an unknown class": ({"specaug": "other"}, "", "specaug: 'other' .* specaug"),
    "a value": (
        *({"decoder_conf": {"num_blocks": "two"}}, ""),
        "decoder_conf.num_blocks: 'two' is not a whole number",
    ),
    "heads": (
        *({"encoder_conf": {"attention_heads": 3}}, ""),
        "attention_heads: 3 does not divide output_size 16; 2 does",
    ),
    "no rate": ({"frontend_conf": {"fs": "sixteen"}}, "", "'sixteen' is no sampling r"),
    "languages": ({}, "--to eng", "writes one language, that is spoken"),
    "a checkpoint": ({}, "--model 5epoch.pth", "5epoch.pth does not exist"),
    "a part that is needed": ({}, "--without decoder", "--without decoder: .* none"),
}


@pytest.fixture(scope="module")
def right(tmp_path_factory):
    return make_espnet(tmp_path_factory.mktemp("right"), "asr", "transformer")


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_carried_is_refused_by_its_name(name, right, tmp_path):
    changes, options, said = WRONG[name]
    config = yaml.safe_load((right / "config.yaml").read_text())
    changed = {
        k: config[k] | v if isinstance(v, dict) else v for k, v in changes.items()
    }
    recipe = tmp_path / "recipe"
    os.symlink(right.parents[1] / "data", tmp_path / "data")
    folder = recipe / "exp"
    folder.mkdir(parents=True)
    for place in ("data", "exp/stats"):
        (recipe / place).parent.mkdir(exist_ok=True)
        os.symlink(right.parents[1] / place, recipe / place)
    os.symlink(right / "valid.acc.ave.pth", folder / "valid.acc.ave.pth")
    (folder / "config.yaml").write_text(yaml.safe_dump(config | changed))
    with pytest.raises(ValueError, match=said) as error:
        main(["espnet", str(folder), "--out", str(tmp_path / "out"), *options.split()])
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()


def whole_recipe(folder: Path, tmp_path: Path) -> Path:
    """A copy of an experiment's recipe, to be damaged; the experiment in it."""
    copy = shutil.copytree(folder.parents[1], tmp_path / "recipe")
    return copy / folder.relative_to(folder.parents[1])


def test_heads_that_do_not_divide_a_width_are_told_in_one_line(tmp_path):
    folder = make_espnet(tmp_path / "recipe", "asr", "conformer")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["encoder_conf"]["attention_heads"] = 3
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(ValueError, match="the model cannot be built: Assert") as error:
        main(["espnet", str(folder), "--out", str(tmp_path / "out")])
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()


DAMAGED = {
    "data/token_list/bpe.model": "bpe.model: not a tokenizer .*; copy it again",
    "exp/stats/train/feats_stats.npz": "feats_stats.npz is damaged .*; copy it from",
    "exp/asr_transformer/valid.acc.ave.pth": "damaged one .*; fetch the model again",
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_is_named_with_the_cure(name, right, tmp_path):
    exp = whole_recipe(right, tmp_path)
    path = tmp_path / "recipe" / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=DAMAGED[name]) as error:
        main(["espnet", str(exp), "--out", str(tmp_path / "out")])
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"decoder.after_norm.bias": torch.ones(16, dtype=torch.int8)}, "another type"),
        ({1: torch.ones(2)}, "not a checkpoint of weights"),
        ({"decoder.epoch": 3}, "ave.pth: decoder.epoch is no tensor; fetch the model"),
    ],
)
def test_weights_of_another_kind_are_refused(changes, said, right, tmp_path):
    exp = whole_recipe(right, tmp_path)
    path = exp / "valid.acc.ave.pth"
    torch.save(torch.load(path) | changes, path)
    with pytest.raises(ValueError, match=said):
        main(["espnet", str(exp), "--out", str(tmp_path / "out")])


def test_a_part_for_training_is_left_out_only_by_its_name(tmp_path):
    extra = {"extra_asr_decoder": "transformer", "model_conf": {"asr_weight": 0.3}}
    extra["extra_asr_decoder_conf"] = {"num_blocks": 1, "linear_units": 8}
    folder = make_espnet(tmp_path / "recipe", "st", "transformer", **extra)
    command = ["espnet", str(folder), "--out", str(tmp_path / "out")]
    with pytest.raises(ValueError, match="--without extra_asr_decoder"):
        main(command)
    main([*command, "--without", "extra_asr_decoder"])
    check_outputs(folder, tmp_path / "out")


def test_a_model_of_another_task_is_told_to_be_imported(tmp_path):
    folder = make_espnet(tmp_path / "recipe", "s2t", "transformer")
    with pytest.raises(ValueError, match="S2TTask; .* espnet-smoe import espnet"):
        SpeechToText.load(folder)
