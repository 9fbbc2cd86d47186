"""Where ESPnet 202611 keeps the classes and functions that ours build on.

Beside `registry`, which adds our classes to ESPnet's tasks, no module of this package
imports ESPnet. What takes seconds to import is looked up when it is asked for, inside
the function that needs it.
"""

# ruff: noqa: E402 - a call before ESPnet's imports makes them quicker
import contextlib
import importlib
import io
from typing import Any

from espnet_smoe.type_checks import check_types_when_called

check_types_when_called()

with contextlib.redirect_stderr(io.StringIO()):  # a note about flash attention
    from espnet2.legacy.nets.pytorch_backend.transformer.attention import (
        MultiHeadedAttention,
    )

from espnet2.asr.ctc import CTC
from espnet2.asr.decoder.abs_decoder import AbsDecoder
from espnet2.asr.decoder.transformer_decoder import (
    BaseTransformerDecoder,
    TransformerDecoder,
)
from espnet2.asr.encoder.abs_encoder import AbsEncoder
from espnet2.asr.encoder.conformer_encoder import ConformerEncoder
from espnet2.asr.encoder.e_branchformer_encoder import EBranchformerEncoder
from espnet2.asr.encoder.transformer_encoder import TransformerEncoder
from espnet2.asr.espnet_model import ESPnetASRModel
from espnet2.asr.frontend.abs_frontend import AbsFrontend
from espnet2.asr.frontend.default import DefaultFrontend
from espnet2.asr.preencoder.abs_preencoder import AbsPreEncoder
from espnet2.iterators.abs_iter_factory import AbsIterFactory
from espnet2.iterators.sequence_iter_factory import worker_init_fn
from espnet2.layers.augmentation import DataAugmentation, effects_dict
from espnet2.layers.global_mvn import GlobalMVN
from espnet2.layers.utterance_mvn import UtteranceMVN
from espnet2.legacy.nets.batch_beam_search import BatchBeamSearch
from espnet2.legacy.nets.pytorch_backend.nets_utils import make_pad_mask
from espnet2.legacy.nets.pytorch_backend.transformer.decoder_layer import DecoderLayer
from espnet2.legacy.nets.pytorch_backend.transformer.embedding import (
    PositionalEncoding,
)
from espnet2.legacy.nets.pytorch_backend.transformer.encoder_layer import EncoderLayer
from espnet2.legacy.nets.pytorch_backend.transformer.layer_norm import LayerNorm
from espnet2.legacy.nets.pytorch_backend.transformer.positionwise_feed_forward import (
    PositionwiseFeedForward,
)
from espnet2.legacy.nets.pytorch_backend.transformer.repeat import repeat
from espnet2.legacy.nets.pytorch_backend.transformer.subsampling import (
    Conv1dSubsampling2,
    Conv2dSubsampling,
    Conv2dSubsampling1,
    Conv2dSubsampling2,
    Conv2dSubsampling6,
    Conv2dSubsampling8,
    TooShortUttError,
    check_short_utt,
)
from espnet2.legacy.nets.scorer_interface import (
    BatchScorerInterface,
    MaskParallelScorerInterface,
)
from espnet2.legacy.nets.scorers.ctc import CTCPrefixScorer
from espnet2.main_funcs import average_nbest_models, collect_stats, pack_funcs
from espnet2.tasks import abs_task
from espnet2.tasks.abs_task import AbsTask
from espnet2.text.cleaner import TextCleaner
from espnet2.torch_utils.device_funcs import force_gatherable, to_device
from espnet2.torch_utils.safe_torch_load import UnsafeLoadRefusedError
from espnet2.train import dataset, iterable_dataset, reporter, trainer
from espnet2.train.preprocessor import CommonPreprocessor
from espnet2.utils.types import str2bool, str_or_none

SLOW_TO_IMPORT = {
    "ASRTask": "espnet2.tasks.asr",
    "SentencepiecesTokenizer": "espnet2.text.sentencepiece_tokenizer",
    "Speech2Text": "espnet2.bin.asr_inference",
}

SUBSAMPLING = (
    Conv1dSubsampling2,
    Conv2dSubsampling,
    Conv2dSubsampling1,
    Conv2dSubsampling2,
    Conv2dSubsampling6,
    Conv2dSubsampling8,
)


def __getattr__(name: str) -> Any:
    if name in SLOW_TO_IMPORT:
        return getattr(importlib.import_module(SLOW_TO_IMPORT[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
