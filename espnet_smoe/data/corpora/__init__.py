"""Real corpora as data directories: `python -m espnet_smoe.data.corpora --help`."""
