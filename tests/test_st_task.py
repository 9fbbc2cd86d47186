"""Data of an ST recipe: text is the translation, src_text the transcript."""

import numpy as np
import pytest
import soundfile
import torch
import yaml
from espnet2.tasks.st import STTask

from espnet_smoe import register
from espnet_smoe.bin import st_train
from espnet_smoe.data.text.tokens import train_tokens

register()
SIZES = {"attention_heads": 2, "linear_units": 12, "num_blocks": 1}
ENCODER = {
    **SIZES,
    "input_layer": "conv1d_glu",
    "output_size": 8,
    "subsampling_channels": 16,
}
COMMON = {
    "frontend_conf": {"n_fft": 256, "hop_length": 160, "n_mels": 10},
    "normalize": "utterance_mvn",
    "encoder": "smoe_transformer",
    "decoder": "smoe_transformer",
    "num_att_plot": 0,
}
TEXTS = {"text": ["i drink water", "i read"], "src_text": ["물을 마셔요", "읽어요"]}


@pytest.fixture
def recipe(tmp_path):
    """Two utterances of noise in the files of an ST recipe, with a joint vocabulary."""
    lines = {**TEXTS, "wav.scp": [], "utt2bandwidth": ["nb", "wb"], "shape": [4800] * 2}
    for i in range(2):
        wav = tmp_path / f"{i}.wav"
        noise = np.random.default_rng(i).standard_normal(4800)
        soundfile.write(wav, 0.1 * noise, 16000)
        lines["wav.scp"].append(wav)
    for name, values in lines.items():
        rows = (f"utt{i} {value}\n" for i, value in enumerate(values))
        (tmp_path / name).write_text("".join(rows), encoding="utf-8")
    train_tokens([*TEXTS["text"], *TEXTS["src_text"]], 300, tmp_path)
    return tmp_path


def command(folder, **options) -> list[str]:
    """The call of st.sh's stage 11."""
    config = {
        **COMMON,
        "model_conf": {"ctc_weight": 0.3},
        "encoder_conf": {**ENCODER, "moe": {"gate": "label"}},
        "decoder_conf": {**SIZES, "moe": {"gate": "label"}},
        "optim": "adamw",
        "max_epoch": 1,
        "batch_type": "unsorted",
        "batch_size": 2,
        "num_workers": 0,
        "use_tensorboard": False,
        "use_matplotlib": False,
    }
    (folder / "train.yaml").write_text(yaml.safe_dump(config))
    words = ["--config", str(folder / "train.yaml"), "--output_dir", str(folder / "x")]
    options = {
        "token_list": folder / "tokens.txt",
        "src_token_list": folder / "tokens.txt",
        "bpemodel": folder / "bpe.json",
        "src_bpemodel": folder / "bpe.json",
        "token_type": "bpe",
        "src_token_type": "bpe",
        "ngpu": 0,
        **options,
    }
    for name, value in options.items():
        words += [f"--{name}", str(value)]
    for part in ("train", "valid"):
        words += [f"--{part}_shape_file", str(folder / "shape")]
        for triplet in (
            *("wav.scp,speech,sound", "text,text,text", "src_text,src_text,text"),
            "utt2bandwidth,bandwidth,text",
        ):
            words += [f"--{part}_data_path_and_name_and_type", f"{folder}/{triplet}"]
    return words


def test_the_call_of_an_st_recipe_trains_both_tasks(recipe):
    st_train.main(command(recipe))
    saved = yaml.safe_load((recipe / "x/config.yaml").read_text())
    tasks = saved["model_conf"]["tasks"]
    assert (tasks["st"]["target"], tasks["asr"]["target"]) == ("text", "src_text")
    states = torch.load(recipe / "x/checkpoint.pth")
    scores = states["reporter"]["stats"][1]["train"]
    assert np.isfinite(scores["loss_st"])
    assert np.isfinite(scores["loss_ctc_asr"])


def test_two_vocabularies_are_refused_with_the_cure(recipe):
    other = recipe / "src_tokens.txt"
    other.write_text("<blank>\n<unk>\n<sos/eos>\n")
    with pytest.raises(ValueError, match="--token_joint true"):
        st_train.main(command(recipe, src_token_list=other))


def test_espnets_own_st_model_takes_our_dense_encoder_and_decoder():
    tokens = ["<blank>", "<unk>", *"abcd", "<sos/eos>"]
    parser = STTask.get_parser()
    parser.set_defaults(**COMMON, encoder_conf=ENCODER, decoder_conf=SIZES)
    args = parser.parse_args(["--output_dir", "unused"])
    args.token_list = args.src_token_list = tokens
    args.model_conf = {"report_bleu": False}
    model = STTask.build_model(args)
    text = torch.tensor([[2, 3, 4], [5, 2, -1]])
    loss, _, _ = model(
        *(torch.randn(2, 4800), torch.tensor([4800, 4000])),
        *(text, torch.tensor([3, 2])),
    )
    loss.sum().backward()
    assert all(p.grad is not None for p in model.parameters())
