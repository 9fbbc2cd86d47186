"""The data of ESPnet's ST task under model `smoe`.

ESPnet's ST task has no choice of models. There ``text`` is the translation and
``src_text`` the transcript; this task reads the same options and fields, and otherwise
is the ASR task. Both languages share one vocabulary (``st.sh --token_joint true``)
that holds the prompts and labels (``--tgt_bpe_nlsyms``).
"""

import argparse
from collections.abc import Callable, Sequence

from espnet_smoe.compat import ASRTask, ESPnetASRModel
from espnet_smoe.data.task_table import targets_of, task_table
from espnet_smoe.data.text.tokens import read_token_list

ST = {"st": {"target": "text", "prompt": ["<translate>", "<en>"]}}
ASR = {"asr": {"target": "src_text", "prompt": ["<transcribe>", "<ko>"]}}


class SMoESTTask(ASRTask):
    """Speech translation, with the transcript as a second task where there is one."""

    @classmethod
    def add_task_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """ESPnet's options of ASR, and those that only its ST task has."""
        super().add_task_arguments(parser)
        parser.set_defaults(model="smoe", preprocessor="smoe")
        group = parser.add_argument_group("Source language")
        group.add_argument("--src_token_list", help="the same list as --token_list")
        group.add_argument("--src_bpemodel", help="not read: --bpemodel serves both")
        group.add_argument("--src_token_type", default="bpe", help="bpe or none")

    @classmethod
    def optional_data_names(
        cls, train: bool = True, inference: bool = False
    ) -> tuple[str, ...]:
        """Fields beside ``speech`` and ``text``."""
        return () if inference else ("src_text", "bandwidth")

    @classmethod
    def build_preprocess_fn(cls, args: argparse.Namespace, train: bool) -> Callable:
        """Read both texts."""
        _fill(args)
        return super().build_preprocess_fn(args, train)

    @classmethod
    def build_model(cls, args: argparse.Namespace) -> ESPnetASRModel:
        """Build the model with the two tasks, unless the configuration names others."""
        _fill(args)
        return super().build_model(args)


def _fill(args: argparse.Namespace) -> None:
    source = args.src_token_list
    has_source = source not in (None, "none") and args.src_token_type != "none"
    if has_source and _tokens(source) != _tokens(args.token_list):
        raise ValueError(
            f"--src_token_list {source} differs from --token_list {args.token_list}; "
            "one decoder writes both languages: make one list, in st.sh with "
            "--token_joint true"
        )
    args.model_conf.setdefault("tasks", {**(ASR if has_source else {}), **ST})
    targets = targets_of(task_table(args.model_conf["tasks"]))
    names = list(dict.fromkeys(["text", "src_text", *targets]))
    args.preprocessor_conf.setdefault("text_names", names)


def _tokens(tokens: str | Sequence[str]) -> list[str]:
    return read_token_list(tokens) if isinstance(tokens, str) else list(tokens)
