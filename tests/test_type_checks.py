"""ESPnet's checks of types, made when a function is first called."""

import inspect
import pickle

import pytest
import typeguard

from espnet_smoe import type_checks
from espnet_smoe.compat import CommonPreprocessor, GlobalMVN, reporter


def test_wrong_types_are_refused_as_espnet_does(tmp_path):
    with pytest.raises(typeguard.TypeCheckError, match=r'argument "norm_means"'):
        GlobalMVN(tmp_path / "stats.npz", norm_means="yes")
    assert reporter.to_reported_value(2.0).value == 2.0
    with pytest.raises(typeguard.TypeCheckError, match=r'argument "weight"'):
        reporter.to_reported_value(2.0, weight="heavy")


def test_nothing_is_checked_before_the_first_call(monkeypatch):
    seen = []

    def at_once(function):
        seen.append(function)
        return function

    def double(x: int) -> int:
        """Twice x."""
        return 2 * x

    monkeypatch.setattr(type_checks, "_at_once", at_once)
    double.__module__ = "espnet2.numbers"
    later = type_checks._typechecked(double)
    assert not seen
    assert [later(2), later(3)] == [4, 6]
    assert seen == [double]  # and once
    double.__module__ = "others.numbers"
    assert type_checks._typechecked(double) is double


def test_functions_look_as_they_did():
    given = inspect.signature(CommonPreprocessor.__init__).parameters
    assert given["train"].annotation is bool
    assert pickle.loads(pickle.dumps(reporter.aggregate)) is reporter.aggregate


def test_decorators_with_options_and_classes_stay():
    @typeguard.typechecked(collection_check_strategy=None)
    def whole(x: int) -> int:
        return x

    @typeguard.typechecked
    class Box:
        def put(self, x: int) -> int:
            return x

    for call in (whole, Box().put):
        assert call(1) == 1
        with pytest.raises(typeguard.TypeCheckError):
            call("a")
