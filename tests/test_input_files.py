"""A damaged file is named with its cure, and never becomes a wrong result."""

import numpy as np
import pytest
import torch

from espnet_smoe.data.text.tokens import train_tokens
from espnet_smoe.inference.checkpoint import load_checkpoint
from espnet_smoe.input_files import (
    check_finite,
    check_statistics_file,
    check_tokens,
    read_checkpoint,
)
from espnet_smoe.pack.zip_file import write_zip
from tests.tiny import TEXTS

KINDS = {"bbpe": ("bpe.json", 300), "sentencepiece": ("bpe.model", 330)}


@pytest.fixture(params=[*KINDS, "char"])
def tokens(request, tmp_path):
    """A token list, and its subword model if it has one."""
    model, size = KINDS.get(request.param, (None, 0))
    train_tokens(TEXTS, size, tmp_path, request.param)
    return tmp_path / "tokens.txt", model and tmp_path / model


def test_a_whole_token_list_is_taken(tokens):
    check_tokens(*tokens)
    check_tokens(tokens[0].read_text(encoding="utf-8").split("\n")[:-1], tokens[1])


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.98])
def test_a_token_list_cut_short_is_refused(tokens, share):
    content = tokens[0].read_bytes()
    tokens[0].write_bytes(
        content[: int(len(content) * share)].decode(errors="ignore").encode()
    )
    with pytest.raises(
        ValueError, match=r"tokens.txt ends with .* cut short .*stage 5"
    ):
        check_tokens(*tokens)


def test_an_empty_token_list_is_refused(tokens):
    tokens[0].write_text("")
    with pytest.raises(ValueError, match="tokens.txt is empty; .*stage 5"):
        check_tokens(*tokens)


@pytest.mark.parametrize("kind", KINDS)
def test_pieces_that_would_be_unknown_are_named(tmp_path, kind):
    name, size = KINDS[kind]
    pieces = train_tokens(TEXTS, size, tmp_path, kind)
    kept = [*pieces[:20], *pieces[22:]]
    with pytest.raises(ValueError, match="lacks 2 pieces of .*: .* .*; .*stage 5"):
        check_tokens(kept, tmp_path / name)


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_subword_model_is_named(tmp_path, kind):
    name, size = KINDS[kind]
    train_tokens(TEXTS, size, tmp_path, kind)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=f"{name} is damaged .*stage 5"):
        check_tokens(tmp_path / "tokens.txt", tmp_path / name)


@pytest.fixture
def statistics(tmp_path):
    path = tmp_path / "feats_stats.npz"
    save(path)
    return path


def save(path, **changes):
    values = {"count": 10, "sum": np.ones(80), "sum_square": np.ones(80)}
    np.savez(path, **values | changes)


def test_whole_statistics_are_taken(statistics):
    check_statistics_file(statistics)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_statistics_cut_short_are_refused(statistics, share):
    content = statistics.read_bytes()
    statistics.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ValueError, match="feats_stats.npz is damaged .*stage 10"):
        check_statistics_file(statistics)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sum": np.full(80, np.nan)}, "sum is not finite"),
        ({"count": 0}, "counts no frame"),
    ],
)
def test_statistics_of_nothing_are_refused(statistics, changes, said):
    save(statistics, **changes)
    with pytest.raises(ValueError, match=f"{said}; .*stage 10"):
        check_statistics_file(statistics)


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "model.pth"
    torch.save(torch.nn.Linear(300, 3).state_dict(), path)
    return path


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_checkpoint_cut_short_is_refused_without_unsafe_advice(checkpoint, share):
    content = checkpoint.read_bytes()
    checkpoint.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(
        ValueError, match="model.pth: not a checkpoint.*; the cure"
    ) as e:
        read_checkpoint(checkpoint, "the cure")
    assert "weights_only" not in str(e.value) and "\n" not in str(e.value)


def test_a_checkpoint_without_weights_is_refused(checkpoint):
    torch.save({}, checkpoint)
    with pytest.raises(ValueError, match="it holds none"):
        load_checkpoint(torch.nn.Linear(300, 3), checkpoint)


def test_a_checkpoint_with_code_is_refused_without_unsafe_advice(checkpoint):
    torch.save({"x": pytest.raises}, checkpoint)
    with pytest.raises(ValueError, match="not a checkpoint of weights") as refusal:
        read_checkpoint(checkpoint, "the cure")
    assert "weights_only" not in str(refusal.value)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_refused(checkpoint, value):
    model = torch.nn.Linear(300, 3)
    with torch.no_grad():
        model.weight[1, 7] = value
    torch.save(model.state_dict(), checkpoint)
    with pytest.raises(ValueError, match="NaN or infinite.: weight; .*stage 11"):
        load_checkpoint(torch.nn.Linear(300, 3), checkpoint)
    check_finite({"bias": model.bias, "steps": torch.tensor(3)}, checkpoint, "")


@pytest.mark.parametrize("damage", ["nan", "cut"])
def test_a_damaged_model_is_not_packed(checkpoint, tmp_path, damage):
    (tmp_path / "config.yaml").write_text("token_list: [a]\n")
    torch.save({"weight": torch.tensor([float("nan")])}, checkpoint)
    if damage == "cut":
        checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    with pytest.raises(ValueError, match="model.pth.*; take another checkpoint"):
        write_zip(tmp_path / "config.yaml", checkpoint, tmp_path / "out.zip")
    assert not list(tmp_path.glob("*.zip")) and not list(tmp_path.glob(".*.zip"))
