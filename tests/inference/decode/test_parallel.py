"""What a decoding leaves of one before it in the same folder."""

from collections import Counter

import pytest

from espnet_smoe.inference.decode.parallel import DecodedPart, write_results

UTTERANCES = ["a", "b"]
MADE_OF = {"model": "1", "recordings": "2"}


def write(out, tasks, made_of):
    done = DecodedPart(
        {task: dict.fromkeys(UTTERANCES, "x") for task in tasks},
        Counter(compute=1.0, audio=2.0),
        {task: {utt: {} for utt in UTTERANCES} for task in tasks},
    )
    return write_results(out, UTTERANCES, done, made_of)


@pytest.mark.parametrize(
    "changed, left", [({}, True), ({"model": "3"}, False), ({"recordings": "3"}, False)]
)
def test_texts_of_an_earlier_model_or_set_are_not_left_beside_new_ones(
    tmp_path, changed, left
):
    """They would be scored as if they were of this one."""
    write(tmp_path, ["asr", "st"], MADE_OF)
    (tmp_path / "hyp.mine").touch()  # not written by a decoding
    assert write(tmp_path, ["asr"], MADE_OF | changed)["tasks"] == ["asr"]
    files = {path.name for path in tmp_path.iterdir()}
    assert {"hyp.asr", "details.asr.jsonl", "hyp.mine", "decode.json"} <= files
    assert {"hyp.st", "details.st.jsonl"} & files == (
        {"hyp.st", "details.st.jsonl"} if left else set()
    )


@pytest.mark.parametrize("before", ["", "[]", "{", '{"tasks": ["asr"], "model": "1"}'])
def test_a_summary_that_tells_nothing_takes_nothing_away(tmp_path, before):
    (tmp_path / "decode.json").write_text(before)
    (tmp_path / "hyp.st").touch()
    write(tmp_path, ["asr"], MADE_OF)
    assert (tmp_path / "hyp.st").is_file()
