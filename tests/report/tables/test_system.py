"""Systems: which trainings are one, where their decodings are, what they cost."""

from pathlib import Path

import pytest

from espnet_smoe.report.scoring import bootstrap
from espnet_smoe.report.tables.system import (
    by_system,
    explain_units,
    find_decode,
    load_system,
)
from tests.report.conftest import write_table


@pytest.fixture(autouse=True)
def fewer_resamples(monkeypatch):
    monkeypatch.setattr(bootstrap, "RESAMPLES", 500)


def test_trainings_are_one_system_if_only_their_seed_differs():
    paths = [Path(p) for p in ("x/a_seed1", "x/b_seed10", "x/a_seed2", "x/a_seed")]
    found = by_system(paths)
    assert list(found.items()) == [
        ("a", [paths[0], paths[2]]),
        ("b", [paths[1]]),
        ("a_seed", [paths[3]]),
    ]
    same = [Path("x/a_seed1"), Path("y/a_seed1"), Path("y/a_seed2")]
    assert list(by_system(same)) == ["x/a_seed1", "y/a_seed1", "a"]


def test_costs_are_of_the_first_training_and_means_over_all(recipe):
    trainings = [recipe.experiment(f"moe_seed{n}", 0.2, seed=n) for n in (1, 2)]
    sizes = '{"total": 9, "active": 7, "multiply_accumulates": 5}'
    (trainings[0] / "params.json").write_text(sizes)
    decodings = [recipe.decode(f"moe_seed{n}") for n in (1, 2)]
    (decodings[1] / "decode.json").write_text('{"rtf": 0.25, "tasks": ["asr", "st"]}')
    (trainings[1] / "train_time.json").write_text('{"seconds": 10.5}')
    system = load_system("moe", recipe.data, trainings, decodings)
    assert (system.name, system.seeds) == ("moe", 2)
    assert system.parameters == (9, 7) and system.multiply_accumulates == 5
    assert system.rtf == (0.125 + 0.25) / 2
    assert system.training == pytest.approx((124.5 + 10.5) / 2)
    assert list(system.tasks) == list(system.scores) == ["asr", "st"]
    alone = [
        load_system("one", recipe.data, [t], [d]).scores["asr"]["all"]["wer"].value
        for t, d in zip(trainings, decodings)
    ]
    assert system.scores["asr"]["all"]["wer"].value == pytest.approx(sum(alone) / 2)
    (decodings[0] / "decode.json").write_text('{"tasks": ["asr", "st"]}')
    (trainings[0] / "train.log").unlink()
    unknown = load_system("moe", recipe.data, trainings, decodings)
    assert unknown.rtf is unknown.training is None


def test_a_decoding_is_found_by_its_name_or_because_it_is_the_only_one(tmp_path):
    ours, theirs = tmp_path / "decode_beam5/test", tmp_path / "inference_x/test"
    ours.mkdir(parents=True)
    assert find_decode(tmp_path, None, "test") == ours  # no hypotheses, but ours
    theirs.mkdir(parents=True)
    assert find_decode(tmp_path, None, "test") == ours  # theirs holds none yet
    write_table(theirs / "text", {"a": "x"})
    with pytest.raises(ValueError, match="has decode_beam5, inference_x: choose one"):
        find_decode(tmp_path, None, "test")
    for name in ("beam5", "decode_beam5"):
        assert find_decode(tmp_path, name, "test") == ours
    assert find_decode(tmp_path, "inference_x", "test") == theirs
    (tmp_path / "decode_note").mkdir()
    (tmp_path / "decode_note/dev").touch()  # a file is no decoding
    with pytest.raises(ValueError, match=r"decode_\*/dev does not exist or holds no"):
        find_decode(tmp_path, None, "dev")


def test_what_was_resampled_is_that_of_the_first_task(recipe):
    write_table(recipe.data / "utt2spk", {u: u[-1] for u in recipe.text})
    recipe.experiment("base", 0.2)
    paths = [recipe.root / "exp/base"], [recipe.decode("base")]
    said = explain_units([load_system("base", recipe.data, *paths)])
    assert said == "10 speakers, each with all its utterances"


def test_one_training_is_no_two_seeds(recipe):
    """Neither a folder given twice, nor a link to it, nor a copy."""
    trainings = [recipe.experiment(f"moe_seed{n}", 0.2, seed=n) for n in (1, 2)]
    with pytest.raises(ValueError, match="moe_seed1 is given twice: give each"):
        by_system([*trainings, trainings[0]])
    link = trainings[0].with_name("moe_seed3")
    link.symlink_to(trainings[0])
    with pytest.raises(ValueError, match="seed3 is given twice, also as .*moe_seed1:"):
        by_system([*trainings, link])
    decodings = [recipe.decode(f"moe_seed{n}") for n in (1, 2)]
    for folder, model in zip(decodings, "ab"):
        (folder / "decode.json").write_text(f'{{"model": "{model}"}}')
    assert load_system("moe", recipe.data, trainings, decodings).seeds == 2
    (decodings[1] / "decode.json").write_text('{"model": "a"}')
    with pytest.raises(ValueError, match="moe_seed2.*moe_seed1.* by the same model"):
        load_system("moe", recipe.data, trainings, decodings)


def test_trainings_stand_in_the_order_of_their_seeds():
    """In pairs of two systems seeds share what they share, whatever the order."""
    given = zip("aabbab", (10, 2, 2, 1, 1, 3))
    paths = [Path(f"x/{name}_seed{n}") for name, n in given]
    seeds = {
        name: [int(run.name.partition("seed")[2]) for run in runs]
        for name, runs in by_system(paths).items()
    }
    assert seeds == {"a": [1, 2, 10], "b": [1, 2, 3]}


def test_trainings_that_were_decoded_otherwise_are_no_one_system(recipe):
    trainings = [recipe.experiment(f"moe_seed{n}", 0.2, seed=n) for n in (1, 2)]
    decodings = [recipe.decode(f"moe_seed{n}") for n in (1, 2)]
    table = '{"task_table": {"asr": {"target": "text", "metrics": ["cer"]}, "st": %s}}'
    row = '{"target": "text_st", "metrics": ["bleu", "chrf"]}'
    (decodings[1] / "decode.json").write_text(table % row)
    with pytest.raises(ValueError, match="seed2.*: asr is scored by cer, .* wer, cer"):
        load_system("moe", recipe.data, trainings, decodings)
    greedy = trainings[1] / "decode_greedy"
    decodings[1].parent.rename(greedy)
    with pytest.raises(ValueError, match="decode_greedy/test and .* decoded alike"):
        load_system("moe", recipe.data, trainings, [decodings[0], greedy / "test"])
