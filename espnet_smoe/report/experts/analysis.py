"""The two analyses of `espnet-smoe experts`, of a trained model that is loaded."""

import argparse
from typing import Any

import torch
from torch import nn

from espnet_smoe.inference.checkpoint import load_model
from espnet_smoe.inference.expert_use import own_experts
from espnet_smoe.inference.speech_to_text import SpeechToText
from espnet_smoe.report.experts.data import read_recordings
from espnet_smoe.report.experts.page import ExpertReport
from espnet_smoe.report.experts.probe import LayerTrace, collect_traces, mixtures
from espnet_smoe.report.experts.similarity import similarity
from espnet_smoe.report.experts.swap import decode_swapped
from espnet_smoe.report.routing.analysis import RoutingReport, analyze_routing
from espnet_smoe.report.routing.trace import read_utterances


def analyze_experts(args: argparse.Namespace, config: dict[str, Any]) -> ExpertReport:
    """Record, compare and swap the experts of a trained model ``smoe``.

    Args:
        args: Of `get_parser`.
        config: The training configuration.

    Raises:
        ValueError: The model has no experts, or a file is missing or faulty.
    """
    files = args.exp / "config.yaml", args.exp / args.model
    speech_to_text = SpeechToText(
        *files,
        device=args.device,
        beam_size=args.beam_size,
        ctc_weight=args.ctc_weight,
    )
    try:
        parts = mixtures(speech_to_text.model)
    except ValueError as error:
        raise ValueError(f"{args.exp}: {error}") from error
    recordings = read_recordings(
        args.data, speech_to_text.model, config, "encoder" in parts, args.limit
    )
    # A second copy: the one that decodes has its weights laid out for searching.
    model = load_model(config, files[1], args.device)
    traces = collect_traces(model, recordings, args.device)
    return ExpertReport(
        experiment=args.exp.resolve().name,
        source=f"{_source(args, len(recordings))}; beam {args.beam_size}, CTC weight "
        f"{args.ctc_weight:g}.",
        loads=_loads(traces),
        own=own_experts(model),
        similarity=_similarities(model, traces),
        systems=decode_swapped(speech_to_text, recordings, args.data),
    )


def analyze_routers(args: argparse.Namespace, config: dict[str, Any]) -> RoutingReport:
    """Analyze the routers of the encoder, which choose an expert for each frame.

    Args:
        args: Of `get_parser`.
        config: The training configuration.

    Raises:
        ValueError: The model has no experts, the utterance is unknown, or a file is
            missing or faulty.
    """
    model = load_model(config, args.exp / args.model, args.device)
    try:
        mixtures(model)
    except ValueError as error:
        raise ValueError(f"{args.exp}: {error}") from error
    utterances = read_utterances(args.data, config, args.limit, args.utt)
    source = f"{_source(args, len(utterances))}."
    name = args.exp.resolve().name
    try:
        return analyze_routing(model, utterances, config, name, source, args.utt)
    except ValueError as error:
        raise ValueError(f"{args.exp}: {error}") from error


def _similarities(model: nn.Module, traces: dict[str, dict[str, LayerTrace]]) -> dict:
    return {
        part: {
            layer.name: similarity(
                layer.experts, torch.cat(traces[part][layer.name].inputs)
            )
            for layer in layers
        }
        for part, layers in mixtures(model).items()
    }


def _loads(traces: dict[str, dict[str, LayerTrace]]) -> dict:
    return {
        part: {name: layer.loads for name, layer in layers.items()}
        for part, layers in traces.items()
    }


def _source(args: argparse.Namespace, number: int) -> str:
    drawn = "" if args.limit is None else ", drawn by chance"
    return f"Checkpoint {args.model}; {number} utterances of {args.data}{drawn}"
