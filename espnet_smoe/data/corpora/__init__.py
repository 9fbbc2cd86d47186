"""Real corpora as data directories: `python -m espnet_smoe.data.corpora --help`."""

from espnet_smoe.data.corpora.base import Entry
from espnet_smoe.data.corpora.write import write_corpus
from espnet_smoe.data.problems import ProblemLog

__all__ = ["Entry", "ProblemLog", "write_corpus"]
