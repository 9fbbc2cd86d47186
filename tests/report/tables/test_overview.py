"""The end of a recipe: one table, examples, places, commands."""

import re
import shlex
from pathlib import Path
from urllib.parse import unquote

import pytest

from espnet_smoe.report.scoring import command as score
from espnet_smoe.report.tables import overview, page
from tests.report.conftest import write_table


def write_waves(recipe):
    lines = [f"{utt} audio/{utt}.wav\n" for utt in recipe.text]
    (recipe.data / "wav.scp").write_text("".join(lines))


@pytest.fixture
def scored(recipe, monkeypatch):
    """A recipe whose one experiment has been decoded and scored."""
    exp = recipe.experiment("moe", 0.2)
    write_waves(recipe)
    hyp = recipe.decode("moe")
    score.main(["--data", str(recipe.data), "--hyp", str(hyp)])
    monkeypatch.chdir(recipe.root)
    return exp


def shown(capsys, exp, *options):
    capsys.readouterr()
    words = ["--exp", f"exp/{exp.name}", "--decode", "beam5", "--data", "data"]
    overview.main([*words, "--sets", "test", *options])
    return capsys.readouterr().out


def table_of(text):
    lines = text.splitlines()
    begin = next(i for i, line in enumerate(lines) if "WER %" in line)
    return lines[begin : lines.index("", begin)]


def test_the_table_has_every_condition_and_fits_80_columns(capsys, scored):
    table = table_of(shown(capsys, scored))
    assert all(len(line) <= 80 for line in table)
    assert "BLEU" in table[0]
    rows = [line.split()[0] for line in table[1:-1]]
    assert rows == ["test", "nb", "g711_nb", "wb", "amr_wb", "mean", "mean"]


def test_the_table_says_what_the_scores_say(capsys, scored, recipe):
    row = table_of(shown(capsys, scored))[1].split()
    found = score.score_decode(recipe.data, recipe.decode("moe"))
    wer = found["asr"]["all"]["wer"]
    assert row[1] == "60"
    assert row[2] == f"{wer['value']:.1f}"


def test_five_examples_have_audio_hypotheses_and_truth(capsys, scored, recipe):
    text = shown(capsys, scored)
    paths = [line for line in text.splitlines() if line.endswith(".wav")]
    paths = [path for path in paths if not path.startswith(" ")]
    assert len(paths) == len(set(paths)) == 5
    assert all(path.startswith(f"{recipe.root}/audio/") for path in paths)
    for path in paths:
        utt = Path(path).stem
        block = text[text.index(path) :].splitlines()[1:5]
        assert [line.split()[0] for line in block] == [
            *("transcript", "true", "translation", "true")
        ]
        assert block[1].split()[1:] == recipe.text[utt]
        assert block[3].split()[1:] == recipe.text_st[utt]


def test_a_third_task_has_its_column_and_its_examples(capsys, scored, recipe):
    hyp = recipe.decode("moe")
    words = {utt: " ".join(text) for utt, text in recipe.text_st.items()}
    write_table(hyp / "hyp.fr", words)
    write_table(recipe.data / "text_fr", words)
    score.main(["--data", str(recipe.data), "--hyp", str(hyp)])
    text = shown(capsys, scored)
    assert table_of(text)[0].split("  ")[-1].strip() == "fr BLEU"
    assert "st BLEU" in table_of(text)[0] and " 100.0 [100" in table_of(text)[1]
    block = text[text.index("utt000.wav") :].splitlines()[1:7]
    assert block[4].split()[:2] == ["translation", "fr"]
    assert block[4].split()[2:] == block[5].split()[1:] == recipe.text_st["utt000"]


def test_a_small_test_set_is_shown_whole(capsys, scored, recipe):
    (recipe.data / "wav.scp").write_text("utt000 a.wav\nutt001 b.wav\n")
    assert "2 sentences of test" in shown(capsys, scored)


def test_commands_name_files_that_are_there_by_absolute_paths(capsys, scored, recipe):
    packed = scored / "moe.zip"
    packed.touch()
    text = shown(capsys, scored, "--zip", "exp/moe/moe.zip", "--next", "./run.sh -x")
    lines = text[text.index("Try next:") :].splitlines()
    transcribe = shlex.split(next(line for line in lines if "smoe transcribe" in line))
    assert transcribe[:4] == ["espnet-smoe", "transcribe", "--model", str(packed)]
    assert transcribe[4].startswith(f"{recipe.root}/audio/")
    assert f"  cd {recipe.root}" in lines
    assert lines[-2] == "  ./run.sh -x"
    assert any("espnet-smoe experts" in line for line in lines)


def test_a_dense_system_has_no_experts_to_look_into(capsys, scored):
    (scored / "params.json").write_text('{"total": 5, "active": 5}')
    assert "experts" not in shown(capsys, scored)


def test_what_is_missing_is_named_with_the_stage(capsys, scored, recipe):
    (recipe.decode("moe") / "scores.json").unlink()
    with pytest.raises(ValueError, match="stage 13"):
        shown(capsys, scored)


def entry(value, n=4):
    return {"value": value, "low": value - 1, "high": value + 1, "n": n}


def test_a_table_of_several_sets_has_the_columns_that_any_of_them_has():
    clean = {"asr": {"all": {"wer": entry(10.0), "cer": entry(3.0)}}}
    clean["asr"]["nb"] = clean["asr"]["all"]  # one condition: the same again
    noisy = {
        "asr": {"all": {"wer": entry(20.0)}, "mean_nb": {"wer": entry(21.0)}},
        "st": {"all": {"bleu": entry(30.0, n=3)}, "wb": {"chrf": entry(5.0)}},
    }
    lines = overview.table({"clean": clean, "noisy": noisy}).splitlines()
    assert [line.split() for line in lines] == [
        "n WER % BLEU".split(),
        "clean 4 10.0 [9.0–11.0] -".split(),
        "noisy 4 / 3 20.0 [19.0–21.0] 30.0 [29.0–31.0]".split(),
        "mean of NB 4 21.0 [20.0–22.0] -".split(),
    ]
    assert len({len(line) for line in lines}) == 1
    assert lines[1].startswith("clean ") and lines[3].startswith("  mean of NB ")
    long = overview.table({"a_very_long_name_of_a_set": clean}).splitlines()
    assert long[1].startswith("a_very_long_name_of_a_set ") and len(set(map(len, long)))


def test_examples_are_from_all_over_the_set(tmp_path):
    lines = [f"u{i:02d} a/u{i:02d}.wav\n" for i in range(12)]
    (tmp_path / "wav.scp").write_text("".join(lines))
    names = {most: list(overview.chosen(tmp_path, most)) for most in (1, 5, 12, 20)}
    assert names[1] == ["u00"] and names[5] == ["u00", "u02", "u04", "u06", "u08"]
    assert len(names[12]) == len(names[20]) == 12
    paths = overview.chosen(tmp_path, 1).values()
    assert list(paths) == [Path("a/u00.wav").absolute()]


def test_what_was_not_decoded_or_has_no_truth_is_a_dash(recipe):
    recipe.experiment("moe", 0.2)
    write_waves(recipe)
    (recipe.data / "text_st").unlink()
    folder = recipe.decode("moe")
    heard = (folder / "hyp.asr").read_text().splitlines(keepends=True)
    (folder / "hyp.asr").write_text("".join(heard[1:]))
    ((_, (heard, translated)),) = overview.examples(recipe.data, folder, most=1)
    assert heard == ("transcript", "-", " ".join(recipe.text["utt000"]))
    assert (translated[0], translated[2]) == ("translation", "-")


def test_the_page_has_the_scores_and_sentences_that_play(capsys, scored, recipe):
    html = scored / "overview.html"
    text = shown(capsys, scored, "--html", str(html))
    assert f"page:         {html}" in text
    written = html.read_text(encoding="utf-8")
    for row in table_of(text)[1:-1]:
        label = row[:14].strip()
        assert re.search(rf"<td[^>]*>{label}</td><td>\d+</td>", written), label
    sources = re.findall(r'<audio controls preload=none src="([^"]*)">', written)
    assert len(sources) == 5
    waves = [line for line in text.splitlines() if re.match(r"/.*\.wav$", line)]
    assert [(scored / unquote(source)).resolve() for source in sources] == [
        *map(Path, waves)
    ]


def test_words_that_are_wrong_or_missing_are_marked_and_nothing_is_code():
    assert page.marked("a <b> d", "a c d") == "a <mark>&lt;b&gt;</mark> d"
    whole = page.sentence(
        Path("/w.wav"), [("transcript", "so", "so small")], Path("/x")
    )
    assert "<dd>so</dd>" in whole and "so <mark>small</mark></dd>" in whole
    assert 'src="../w.wav"' in whole


def test_a_curve_ends_at_its_last_value_and_ignores_what_is_no_number():
    picture = page.curve("wer_asr", {1: 0.9, 2: float("nan"), 3: 0.1})
    points = re.search(r'points="([^"]*)"', picture)[1].split()
    assert len(points) == 2 and ">0.1<" in picture
    assert page.curve("loss", {1: 2.0}) == ""


def test_the_whole_text_names_size_intervals_and_places(capsys, scored, recipe):
    results = recipe.root / "RESULTS.md"
    results.touch()
    text = shown(capsys, scored, "--results", "RESULTS.md", "--zip", "exp/none.zip")
    parts = text.split("\n\n")
    assert parts[0] == ("\nmoe: 3.2M parameters, 2.4M active; trained in 2 min 04 s")
    assert parts[1].endswith("\n(in brackets: 95 % intervals over 60 utterances)")
    places = next(part for part in parts if part.startswith("results:"))
    assert places.splitlines() == [
        f"results:      {results}",
        f"model:        {scored}",
        f"training log: {scored}/train.log",
    ]
    assert text.endswith("\n\n")


def test_commands_are_for_the_last_set_and_a_recording_of_the_middle(
    capsys, scored, recipe, monkeypatch
):
    monkeypatch.setattr("sys.prefix", "/opt/my env")
    monkeypatch.setattr("sys.base_prefix", "/usr")
    info = recipe.decode("moe") / "decode.json"
    info.write_text('{"ctc_weight": 0.3}')
    lines = shown(capsys, scored).partition("Try next:\n\n")[2].strip("\n").splitlines()
    wave = recipe.root / "audio/utt024.wav"  # the third of five
    model = f"--model {scored}"
    assert lines == [
        "  . '/opt/my env/bin/activate'",
        f"  cd {recipe.root}",
        "  # a recording, transcribed and translated",
        f"  espnet-smoe transcribe {model} {wave}",
        "  # what the experts do, and what the wrong one costs",
        f"  espnet-smoe experts {scored} --data {recipe.data} --ctc-weight 0.3 "
        "--limit 50",
    ]
    monkeypatch.setattr("sys.prefix", "/usr")
    assert "activate" not in shown(capsys, scored)


def test_tasks_of_different_sizes_have_both_sizes(recipe, scored, capsys):
    lines = (recipe.data / "text_st").read_text().splitlines()
    (recipe.data / "text_st").write_text("\n".join(["utt000 <na>", *lines[1:]]))
    score.main(["--data", str(recipe.data), "--hyp", str(recipe.decode("moe"))])
    head, *rows = table_of(shown(capsys, scored))
    sizes = [row[: head.index("n") + 1].split("  ")[-1].strip() for row in rows[:3]]
    assert sizes == ["60 / 59", "15 / 14", "15"]
