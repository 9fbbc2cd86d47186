"""AIHub's speech corpora, zipped or unpacked.

The folder holds corpora such as 123.<name>, or is one. Audio stays where it is, in its
archive or not: wav.scp points at it. Training gives train; Validation gives dev and
test; eval_clean, eval_other and FLEURS are test sets of their own. What is left out is
listed in problems.tsv and counted in report.md. Started again after a stop, it does not
read again the audio that it has measured.
"""

from collections.abc import Sequence
from pathlib import Path

from espnet_smoe.data.corpora import config as corpora_yaml
from espnet_smoe.data.corpora.collect import collect
from espnet_smoe.data.corpora.sets import Sizes
from espnet_smoe.data.corpora.write import write_entries
from espnet_smoe.data.problems import ProblemLog
from espnet_smoe.data.scratch import scratch_folder
from espnet_smoe.data.text.korean import KoreanOptions
from espnet_smoe.data.text.parallel_text import Translations

EPILOG = f"The file of --config:\n\n{corpora_yaml.__doc__}"


def prepare_aihub(
    corpus_dir: Path,
    output_dir: Path,
    *,
    fleurs: Path | None = None,
    parallel: Sequence[Path] = (),
    config: Path | None = None,
    dev_utterances: int = Sizes.dev,
    test_utterances: int = Sizes.test,
    seed: int = Sizes.seed,
    nj: int | None = None,
    korean: KoreanOptions = KoreanOptions(),
) -> str:
    """Korean speech of AIHub, KsponSpeech among it, with English where there is any.

    Args:
        corpus_dir: Folder of corpora, or one corpus.
        output_dir: Where the sets go.
        fleurs: Folder of ko_kr and en_us of google/fleurs.
        parallel: Tables of parallel text (xlsx, csv, tsv, json), joined by id or
            sentence.
        config: YAML: what is special about a corpus, see below.
        dev_utterances: Of dev.
        test_utterances: Of test, or of each of test_male and test_female where
            Validation has so many of either.
        seed: Of the draw of dev and test.
        nj: Processes that read audio; all cores by default.
        korean: How transcripts are normalized.

    Returns:
        The report.

    Raises:
        ValueError: A path or an option is wrong, or a set would be empty.
    """
    sizes = Sizes(dev_utterances, test_utterances, seed)
    rules = corpora_yaml.read_config(config) if config else corpora_yaml.Config()
    with scratch_folder(output_dir, ".listed") as scratch:
        try:
            columns = rules.parallel_columns
            translations = Translations.read(parallel, columns, scratch)
        except ImportError as error:
            raise ValueError(str(error)) from error
        with ProblemLog(output_dir / "problems.tsv") as log:
            entries = collect(
                corpus_dir, fleurs, rules, korean, translations, log, scratch
            )
            return write_entries(entries, output_dir, log, sizes, nj)
