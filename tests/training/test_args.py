"""What a training's options lead to, said in one line."""

from argparse import Namespace

import pytest
from espnet2.tasks.abs_task import IteratorOptions
from espnet2.tasks.asr import ASRTask

from espnet_smoe.training.args import enough_for_each_process
from tests.gloo import in_two_processes
from tests.training import runs


def test_a_batch_with_fewer_utterances_than_processes_is_named(tmp_path):
    (tmp_path / "shape").write_text("a 5\n")
    options = runs.options(
        IteratorOptions,
        data_path_and_name_and_type=[(f"{tmp_path}/wav.scp", "speech", "sound")],
        shape_files=[f"{tmp_path}/shape"],
        batch_type="unsorted",
        batch_size=2,
        batch_bins=1,
        num_batches=None,
        distributed=True,
    )
    args = Namespace(
        drop_last_iter=False, fold_length=[], sort_in_batch="", sort_batch=""
    )
    build = enough_for_each_process(ASRTask.build_sequence_iter_factory.__func__)

    def work(rank: int) -> str:
        with pytest.raises(ValueError) as error:
            build(ASRTask, args, options, "valid")
        return str(error.value)

    for said in in_two_processes(tmp_path, work):
        assert "wav.scp: a batch has fewer utterances than there are" in said
        assert "processes (1 < 2); start fewer (--ngpu" in said
