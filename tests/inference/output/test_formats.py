"""What the command prints, where the numbers are odd."""

import json

from espnet_smoe.data.task_table import JSON_KEYS
from espnet_smoe.inference.output.formats import Transcript, as_json
from espnet_smoe.inference.result import Piece, Result


def test_json_has_no_numbers_that_it_does_not_know():
    infinite = float("-inf")
    found = Result("a", ("a",), infinite, (("a", infinite), ("b", -1.23456)))
    pieces = [Piece(0.0, 1.0, {"asr": found})]

    def refuse(name):
        raise AssertionError(name)

    line = as_json(Transcript("x.wav", 1.0, "wb", ["asr"], pieces))
    record = json.loads(line, parse_constant=refuse)["pieces"][0]["asr"]
    assert record["score"] is None
    assert [of["score"] for of in record["nbest"]] == [None, -1.2346]


def test_no_task_can_be_called_as_a_key_of_the_json():
    pieces = [Piece(0.0, 1.0, {"asr": Result("a", ("a",), 0.0, ())})]
    record = json.loads(as_json(Transcript("x.wav", 1.0, "wb", ["asr"], pieces)))
    assert {*record, *record["pieces"][0]} - {"asr"} == set(JSON_KEYS)
