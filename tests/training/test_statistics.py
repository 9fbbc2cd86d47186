"""Statistics of several jobs: ESPnet's sums, and tables in the order of the data."""

import numpy as np
import pytest
from espnet2.bin.aggregate_stats_dirs import aggregate_stats_dirs

from espnet_smoe.training.statistics import ShapeTables, main

SHAPES = [{"c": "3,80", "a": "10,80"}, {"d": "4,80", "b": "5,80"}]


@pytest.fixture
def jobs(tmp_path):
    folders = [tmp_path / f"stats.{number}" for number in (1, 2)]
    for number, (folder, shapes) in enumerate(zip(folders, SHAPES), 1):
        for part in ("train", "valid"):
            with ShapeTables(folder / part) as tables:
                for utterance, shape in shapes.items():
                    tables["speech_shape"][utterance] = shape
            (folder / part / "batch_keys").write_text("speech\n")
            (folder / part / "stats_keys").write_text("feats\n")
            sums = {"sum": np.arange(3.0) * number, "sum_square": np.ones(3) / number}
            np.savez(folder / part / "feats_stats.npz", count=number, **sums)
    return folders


def test_the_sums_are_those_of_espnet_and_the_tables_are_sorted(jobs, tmp_path):
    out, theirs = tmp_path / "out", tmp_path / "theirs"
    main([*map(str, jobs), "--out", str(out)])
    aggregate_stats_dirs(jobs, theirs, "ERROR", False)
    for part in ("train", "valid"):
        lines = (out / part / "speech_shape").read_text().splitlines()
        assert lines == ["a 10,80", "b 5,80", "c 3,80", "d 4,80"]
        written = (theirs / part / "speech_shape").read_text().splitlines()
        assert sorted(written) == lines
        ours = np.load(out / part / "feats_stats.npz")
        for name, wanted in np.load(theirs / part / "feats_stats.npz").items():
            np.testing.assert_array_equal(ours[name], wanted)


def test_a_job_that_has_not_ended_is_named(jobs, tmp_path):
    (jobs[1] / "valid" / "feats_stats.npz").unlink()
    with pytest.raises(ValueError, match="stats.2/valid/feats_stats.npz does not"):
        main([*map(str, jobs), "--out", str(tmp_path / "out")])
