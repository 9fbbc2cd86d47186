"""The right class for a model, whichever kind it is."""

from pathlib import Path

from espnet_smoe.inference.config_files import read_config
from espnet_smoe.inference.espnet_speech_to_text import ESPnetSpeechToText
from espnet_smoe.inference.search.u2pp import U2PPDecodeOptions
from espnet_smoe.inference.speech_to_text import SpeechToText
from espnet_smoe.inference.u2pp_speech_to_text import U2PPSpeechToText

KINDS: dict[str, type[SpeechToText]] = {
    "smoe": SpeechToText,
    "u2pp": U2PPSpeechToText,
    "espnet": ESPnetSpeechToText,
}
U2PP_ONLY = ("search", "chunk_size", "left_chunks", "int8")


def load_speech_to_text(
    train_config: str | Path, model_file: str | Path, **options: object
) -> SpeechToText:
    """Load a model that transcribes.

    Args:
        train_config: ``config.yaml`` of the experiment.
        model_file: Checkpoint.
        **options: Of its class.

    Raises:
        ValueError: Its kind cannot be loaded here, or an option is for another kind.
    """
    # a configuration without the key is of ESPnet's asr.sh, which leaves out defaults
    kind = read_config(train_config).get("model", "espnet")
    if kind not in KINDS:
        raise ValueError(
            f"{train_config}: 'model: {kind}' cannot transcribe; {', '.join(KINDS)} can"
            + (", decode_ctc decodes 'speech_moe'" if kind == "speech_moe" else "")
        )
    if kind != "u2pp":
        for name in U2PP_ONLY:
            if name in options:
                raise ValueError(
                    f"--{name.replace('_', '-')} is for U2++ models, which this is not"
                )
    most = options.get("nbest")
    if isinstance(most, int) and "beam_size" not in options:
        usual = U2PPDecodeOptions().beam_size if kind == "u2pp" else 5
        options["beam_size"] = max(usual, most)
    return KINDS[kind](train_config, model_file, **options)
