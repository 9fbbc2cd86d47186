"""Systems that are not alike: what compare refuses, and what it says."""

import pytest

from tests.report.conftest import write_table
from tests.report.tables.test_compare import run


def with_table(recipe, tag, asr='"target": "text"', language="en"):
    """A decoding whose tasks are not those of the others."""
    st = f'"target": "text_st", "prompt": ["<translate>", "<{language}>"]'
    content = f'{{"task_table": {{"asr": {{{asr}}}, "st": {{{st}}}}}}}'
    (recipe.decode(tag) / "decode.json").write_text(content)


def test_a_metric_that_one_system_lacks_has_an_empty_cell(recipe):
    recipe.experiment("base", error=0.2)
    recipe.experiment("moe_seed1", error=0.1, seed=1)
    recipe.experiment("moe_seed2", error=0.1, seed=2)
    write_table(recipe.data / "utt2spk", {u: u[-1] for u in recipe.text})
    with_table(recipe, "base", '"target": "text", "metrics": ["cer"]')
    for tags, empty in (
        (("base", "moe_seed1", "moe_seed2"), 0),
        (("moe_seed1", "moe_seed2", "base"), 1),
    ):
        table = run(recipe, *tags)
        for line in ("all", "each seed", "median speaker; worst"):
            cells = table[f"asr WER %, {line}"]
            assert cells[empty] == "-" != cells[1 - empty]
            assert "p=" not in "".join(cells)
        assert "p" in table["asr CER %, all"][1] and "-" not in table["asr CER %, all"]


def test_scores_of_other_references_are_not_compared(recipe):
    for seed, tag in enumerate(("base", "moe")):
        recipe.experiment(tag, error=0.2, seed=seed)
    with_table(recipe, "moe", '"target": "text_st", "metrics": ["wer"]')
    with pytest.raises(ValueError, match="asr of base and moe have different referenc"):
        run(recipe, "base", "moe")
    with_table(recipe, "moe", language="ja")  # BLEU of characters
    with pytest.raises(ValueError, match="st of base and moe: BLEU does not count the"):
        run(recipe, "base", "moe")


def test_rows_of_trn_files_are_compared_by_their_ids(recipe):
    """Each decoding has references of its own, in an order of its own."""
    tables = []
    for order in (1, -1):
        for seed, tag in enumerate(("base", "moe")):
            folder = recipe.experiment(tag, 0.2, seed) / "decode_beam5/test"
            (folder / "decode.json").unlink()
            (folder / "hyp.st").unlink()
            lines = (folder / "hyp.asr").read_text().splitlines()
            texts = {"hyp": dict(line.split(" ", 1) for line in lines)}
            texts["ref"] = {u: " ".join(words) for u, words in recipe.text.items()}
            (folder / "hyp.asr").unlink()
            for name, of in texts.items():
                rows = [f"{text} (s-s{utt})\n" for utt, text in of.items()]
                rows = rows[:: order if tag == "moe" else 1]
                (folder / f"{name}.trn").write_text("".join(rows))
        (recipe.data / "text").unlink(missing_ok=True)
        tables.append(run(recipe, "base", "moe"))
    assert tables[0] == tables[1]
    (folder / "ref.trn").write_text("".join(rows[1:]))
    (folder / "hyp.trn").write_text("".join(rows[1:]))
    with pytest.raises(ValueError, match="are of other test sets: only one has .*059"):
        run(recipe, "base", "moe")


def test_systems_that_were_decoded_otherwise_are_said_to_be(recipe):
    recipe.experiment("base", error=0.2)
    moe = recipe.experiment("moe", error=0.1)
    run(recipe, "base", "moe")
    assert "Not decoded alike" not in (recipe.root / "c.md").read_text()
    (moe / "decode_beam5").rename(moe / "decode_greedy")
    run(recipe, "base", "moe")
    said = "Not decoded alike: base decode_beam5, moe decode_greedy."
    assert said in (recipe.root / "c.md").read_text()
