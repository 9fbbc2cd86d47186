"""`espnet-smoe import wenet`: what it cannot carry, it names in one line."""

import pickle

import pytest
import torch
import yaml

from espnet_smoe.importers.command import main
from tests.importers.tiny_wenet import CONFIG, make_wenet


class Harm:
    """Runs when it is unpickled."""

    def __reduce__(self):
        return (open, ("harmed", "w"))


def edit(section=None, **changes):
    """A fault: other options in train.yaml."""

    def change(folder):
        path = folder / "train.yaml"
        config = yaml.safe_load(path.read_text())
        (config[section] if section else config).update(changes)
        path.write_text(yaml.safe_dump(config))

    return change


def rewrite(name, change):
    """A fault: other bytes in a file."""

    def apply(folder):
        path = folder / name
        path.write_bytes(change(path.read_bytes()))

    return apply


def remove(name):
    return lambda folder: (folder / name).unlink()


def resave(**changes):
    """A fault: other weights."""

    def apply(folder):
        state = torch.load(folder / "final.pt")
        for name, value in changes.items():
            state[name.replace("__", ".")] = value
        torch.save(state, folder / "final.pt")

    return apply


def half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def no_frames(data: bytes) -> bytes:
    return data.replace(b'"frame_num": 1000', b'"frame_num": 0')


NAN = torch.full((16,), torch.nan)
FAULTS = {
    "has no train.yaml; name the folder of the training": remove("train.yaml"),
    "has no final.pt or avg_N.pt; copy it": remove("final.pt"),
    "has no units.txt; copy it there": remove("units.txt"),
    "has no global_cmvn; copy it there": remove("global_cmvn"),
    "final.pt: not a checkpoint of weights": rewrite("final.pt", half),
    "global_cmvn is damaged, or in Kaldi": rewrite("global_cmvn", half),
    "units.txt has 4 tokens, but .* has 12": rewrite("units.txt", half),
    "units.txt:4: '▁ 3 x' is no token with": rewrite(
        "units.txt", lambda b: b.replace(b" 3\n", b" 3 x\n")
    ),
    "its ids are not 0 to 10": rewrite("units.txt", lambda b: b.replace(b"a 4\n", b"")),
    "'a' stands there twice": rewrite("units.txt", lambda b: b.replace(b"b 5", b"a 5")),
    "token 0 is 'z', but should be <blank>": rewrite(
        "units.txt", lambda b: b.replace(b"<blank>", b"z")
    ),
    "its means are not those in": rewrite(
        "global_cmvn", lambda b: b.replace(b'"frame_num": 1000', b'"frame_num": 900')
    ),
    "encoder is squeezeformer, which cannot be carried": edit(encoder="squeezeformer"),
    "decoder is None, which": edit(decoder=None),
    "model is transducer, which": edit(model="transducer"),
    "tokenizer is whisper, which": edit(tokenizer="whisper"),
    "cnn_module_norm is batch_norm, which": edit(
        "encoder_conf", cnn_module_norm="batch_norm"
    ),
    "encoder_conf.layer_norm_type is rms_norm": edit(
        "encoder_conf", layer_norm_type="rms_norm"
    ),
    "encoder_conf.mlp_type is gated": edit("encoder_conf", mlp_type="gated"),
    "encoder_conf.n_kv_head is 1": edit("encoder_conf", n_kv_head=1),
    "encoder_conf.normalize_before is False": edit(
        "encoder_conf", normalize_before=False
    ),
    "type is abs_pos with rel_selfattn": edit(
        "encoder_conf", pos_enc_layer_type="abs_pos"
    ),
    "encoder_conf.input_layer is conv2d2, which": edit(
        "encoder_conf", input_layer="conv2d2"
    ),
    "encoder_conf.conv_inner_factor is 4": edit("encoder_conf", conv_inner_factor=4),
    "encoder_conf.final_norm is False": edit("encoder_conf", final_norm=False),
    "conv_norm_eps is 1e-05, which .*1e-06, norm_eps": edit(
        "encoder_conf", norm_eps=1e-6
    ),
    "encoder_conf.rope_theta is not known": edit("encoder_conf", rope_theta=10000),
    "encoder_conf.num_block is not known .*'num_blocks'": edit(
        "encoder_conf", num_block=3
    ),
    "encoder_conf.num_blocks: 'two' is not a whole": edit(
        "encoder_conf", num_blocks="two"
    ),
    "use_dynamic_chunk without causal is True": edit("encoder_conf", causal=False),
    "decoder_conf.activation_type is gelu": edit(
        "decoder_conf", activation_type="gelu"
    ),
    "decoder_conf.tie_word_embedding is True": edit(
        "decoder_conf", tie_word_embedding=True
    ),
    "decoder_conf.src_attention is False": edit("decoder_conf", src_attention=False),
    "apply_non_blank_embedding is True": edit(
        "model_conf", apply_non_blank_embedding=True
    ),
    "model_conf.ctc_weight is 1.0, which": edit("model_conf", ctc_weight=1),
    "<sos> is 2 and <eos> 3, which": edit(
        "tokenizer_conf", special_tokens={"<sos>": 2, "<eos>": 3}
    ),
    "ctc_blank_id is 5, which": edit("ctc_conf", ctc_blank_id=5),
    "dataset_conf.feats_type is mfcc": edit("dataset_conf", feats_type="mfcc"),
    "resample_conf.resample_rate is 8000": edit(
        "dataset_conf", resample_conf={"resample_rate": 8000}
    ),
    "fbank_conf.num_mel_bins is 40, which": edit(
        "dataset_conf", fbank_conf={"num_mel_bins": 40}
    ),
    "encoder_conf is no section": edit(encoder_conf=[1]),
    "missing: encoder.encoders.2": edit("encoder_conf", num_blocks=3),
    "global_cmvn counts no frames": rewrite("global_cmvn", no_frames),
    "input_dim is 80, which cannot be carried .20 can": edit(input_dim=80),
    "output_dim is 5000, but .* has 12 tokens; take all": edit(output_dim=5000),
    "<sos> is .2., which is no id": edit(
        "tokenizer_conf", special_tokens={"<sos>": [2], "<eos>": [2]}
    ),
    "of another type: .*w_2.bias int8, not float32": resave(
        encoder__encoders__0__feed_forward__w_2__bias=torch.ones(16, dtype=torch.int8)
    ),
    "of another shape: .*w_1": edit("encoder_conf", linear_units=32),
    "foreign: encoder.lora_a": resave(encoder__lora_a=torch.ones(2)),
    "is no tensor; take a file of weights": resave(epoch=3),
    "ctc_lo.weight is no matrix; fetch": resave(ctc__ctc_lo__weight=torch.tensor(1.0)),
    "units.txt is not UTF-8 .*; take the file": rewrite(
        "units.txt", lambda b: b.replace(b"h 11", b"\xe9 11")
    ),
    "ctc_conf.focal is not known and cannot": edit("ctc_conf", focal=0.5),
    "cmvn_conf.norm is not known and cannot": edit("cmvn_conf", norm="batch"),
    "tokenizer_conf.lower is not known and": edit("tokenizer_conf", lower=True),
    "encoder_conf.concat_after is True, wh": edit("encoder_conf", concat_after=True),
    "no numbers .NaN or infinite.*norm_ff": resave(
        encoder__encoders__0__norm_ff__weight=NAN
    ),
}


@pytest.mark.parametrize("message", FAULTS)
@pytest.mark.filterwarnings("error")  # one line, no more
def test_what_cannot_be_carried_is_named_in_one_line(tmp_path, message):
    folder = tmp_path / "wenet"
    make_wenet(folder, CONFIG)
    FAULTS[message](folder)
    with pytest.raises(ValueError, match=message) as caught:
        main(["wenet", str(folder), "--out", str(tmp_path / "exp")])
    said = str(caught.value)
    assert "\n" not in said and (";" in said or "." in said)
    assert [p.name for p in tmp_path.iterdir()] == ["wenet"]


def test_code_in_a_checkpoint_is_never_run(tmp_path, monkeypatch, recwarn):
    monkeypatch.chdir(tmp_path)
    make_wenet(tmp_path / "wenet", CONFIG)
    for content in ({"a": Harm()}, Harm()):
        torch.save(content, "wenet/final.pt")
        with pytest.raises(ValueError, match="final.pt: not a checkpoint of weights"):
            main(["wenet", "wenet", "--out", "exp"])
        (tmp_path / "wenet/final.pt").write_bytes(pickle.dumps(content))
        with pytest.raises(ValueError, match="final.pt: not a checkpoint of weights"):
            main(["wenet", "wenet", "--out", "exp"])
    assert not (tmp_path / "harmed").exists()
    assert not [w for w in recwarn if "pickle" in str(w.message)]  # one line, no more
