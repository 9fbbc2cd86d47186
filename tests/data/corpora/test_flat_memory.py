"""What readers of corpora list stays on the disk."""

import tracemalloc
import zipfile

import pytest

from espnet_smoe.data import sorted_file
from espnet_smoe.data.corpora.config import CorpusRules
from espnet_smoe.data.corpora.corpus import Corpus
from espnet_smoe.data.corpora.match import Files
from espnet_smoe.data.corpora.tree import list_tree
from espnet_smoe.data.problems import ProblemLog
from espnet_smoe.data.speech import archive
from espnet_smoe.data.text import parallel_text
from espnet_smoe.data.text.parallel_text import Translations

NUMBER = 5000


@pytest.fixture(autouse=True)
def little_in_memory(monkeypatch):
    monkeypatch.setattr(sorted_file, "IN_MEMORY", 5_000)


def peak_of(work, number=NUMBER):
    """Bytes in use at most while `work` does so many; what it imports not counted."""
    work(200)
    tracemalloc.start()
    work(number)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def test_files_and_which_of_them_have_a_label_need_no_memory(tmp_path):
    def work(number):
        files = Files(tmp_path, tmp_path)
        for at in range(number):
            files.add(f"{tmp_path}/TS_1.zip!speaker{at % 7}/{at // 2:06}.wav")
        files.index()
        for at in range(0, number, 50):
            label = f"{tmp_path}/TL_1.zip!speaker{at % 7}/{at // 2:06}.json"
            wanted = label.replace("TL", "TS").replace("json", "wav")
            assert files.take(label) == wanted
        assert sum(1 for _ in files.untaken()) == number - -(-number // 50)

    assert peak_of(work) < 40 * NUMBER


def test_names_in_a_folder_need_no_memory(tmp_path):
    def work(number):
        corpus = tmp_path / f"{number}"
        corpus.mkdir()
        for at in range(number):
            open(f"{corpus}/a-recording-{at:06}.wav", "w").close()
        tracemalloc.reset_peak()
        assert len(list_tree(corpus, None, tmp_path).audio) == number

    assert peak_of(work, 3000) < 50 * 3000


def test_rows_of_parallel_text_need_no_memory():
    def work(number):
        table = Translations()
        for at in range(number):
            table.add(f"문장 하나 {at}", f"sentence number {at}", f"S-{at}")
        assert table.find("문장 하나 1") == table.find("", "S-1") == "sentence number 1"
        assert (table.conflicts, table.shared_ids) == (0, 0)

    assert peak_of(work) < 40 * NUMBER


def test_a_script_of_any_size_is_read_by_the_line(tmp_path, monkeypatch):
    monkeypatch.setattr(parallel_text, "BLOCK", 1000)
    script = tmp_path / "train.trn"

    def work(number):
        text = "a.pcm :: 안녕\u2028b\n" * number + "c"
        script.write_text(text, encoding="utf-8")
        del text
        tracemalloc.reset_peak()
        with ProblemLog(tmp_path / "problems.tsv") as log:
            corpus = Corpus("c", "c", None, log, CorpusRules())
            assert sum(line == "b" for line in corpus.read_lines(str(script))) == number

    assert peak_of(work, 20_000) < script.stat().st_size / 2


def test_an_archive_that_is_open_keeps_48_bytes_a_member(tmp_path):
    kept = []

    def work(number):
        path = tmp_path / "TS_1.zip"
        with zipfile.ZipFile(path, "w") as file:
            for at in range(number):
                file.writestr(f"recordings/of a speaker/{at:06}.wav", str(at))
        del file
        archive._opened.cache_clear()
        before, _ = tracemalloc.get_traced_memory()
        assert archive.read_bytes(f"{path}!recordings/of a speaker/000001.wav") == b"1"
        kept.append(tracemalloc.get_traced_memory()[0] - before)

    peak_of(work)
    assert kept[1] < 50 * NUMBER
