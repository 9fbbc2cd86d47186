"""Values as their type hints say: converted, in range, or refused with the cure."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import pytest
import torch

from espnet_smoe.config.typed import Above0, Count, OneOf, Range, Rate, Seconds, convert

Share = Annotated[float, Range(0, 1)]
Name = Annotated[str, OneOf(("topk", "label"))]


@pytest.mark.parametrize(
    ("value", "hint", "result"),
    [
        ("1e-3", float, 0.001),  # text in YAML 1.1
        ("1e3", int, 1000),
        (2.0, int, 2),
        (3, float, 3.0),
        ("8", int | None, 8),
        (None, int | None, None),
        ("1e-3", float | torch.Tensor, 0.001),
        ("16k", int | str, "16k"),
        ("16", int | str, "16"),
        (True, bool, True),
        ("False", bool, False),
        (1, bool, True),
        (["1", 2], Sequence[int], [1, 2]),
        ([0.9, "98e-2"], tuple[float, float], (0.9, 0.98)),
        ([1, "2"], tuple[int, ...], (1, 2)),
        ({"a": "1"}, Mapping[str, int], {"a": 1}),
        ({"a": "1"}, Mapping[str, Any], {"a": "1"}),
        ("topk", Name, "topk"),
        ("b", Literal["a", "b"], "b"),
        (1, Share, 1.0),
        (None, Name | None, None),
        (object, type, object),
    ],
)
def test_what_fits_is_converted(value, hint, result):
    found = convert(value, hint, "here")
    assert found == result and type(found) is type(result)


@pytest.mark.parametrize(
    ("value", "hint", "said"),
    [
        ("four", Count, "x: 'four' is not a whole number of at least 1"),
        (1.5, int, "x: 1.5 is not a whole number"),
        (True, int, "x: True is not a whole number"),
        (0, Count, "x: 0 is not a whole number of at least 1"),
        (-0.1, Share, "x: -0.1 is not a number from 0 to 1"),
        (1.0, Rate, "x: 1.0 is not a number from 0 to less than 1"),
        (float("nan"), float, "x: nan is not a number"),
        (float("inf"), Share, "x: inf is not a number from 0 to 1"),
        ("yes", bool, "x: 'yes' is not true or false"),
        (2, bool, "x: 2 is not true or false"),
        (5, str, "x: 5 is not text"),
        (None, int, "x: None is not a whole number"),
        ("ab", Sequence[str], "x: 'ab' is not a list, each text"),
        (["a", 1], Sequence[str], r"x\[1\]: 1 is not text"),
        ({"a": {"b": "c"}}, dict[str, dict[str, int]], "x.a.b: 'c' is not a whole"),
        ([1], tuple[int, int], r"x: \[1\] is not a list of 2, each a whole number"),
        ("topk", Mapping[str, Any] | None, "'topk' is not a section .*, or null"),
        ("lable", Name, "'lable' is not one of topk, label, did you mean 'label'"),
        ("TopK", Name, "did you mean 'topk'"),
        ("c", Literal["a", "b"], "'c' is not one of a, b"),
        ("torch.nn.Linear", type, "is not something that can be written in YAML"),
        ("x", torch.Tensor, "is not something"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_does(value, hint, said):
    with pytest.raises(ValueError, match=said):
        convert(value, hint, "x")


def test_what_code_gives_is_left_to_the_code():
    weight = torch.zeros(1)
    assert convert(weight, torch.nn.Module, "x") is weight
    assert convert(weight, Sequence[int], "x") is weight


def test_a_time_may_be_without_limit_but_has_to_be_a_number():
    assert convert("inf", Seconds, "silence_seconds") == float("inf")
    assert convert(float("inf"), Seconds, "silence_seconds") == float("inf")
    for value in (float("nan"), 0, -float("inf")):
        with pytest.raises(ValueError, match="silence_seconds: .* is not a number"):
            convert(value, Seconds, "silence_seconds")
    with pytest.raises(ValueError, match="is not a number above 0"):
        convert(float("inf"), Above0, "lr")
