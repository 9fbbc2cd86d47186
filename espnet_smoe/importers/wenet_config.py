"""From WeNet's ``train.yaml`` to ours: what is carried, and what is refused by name."""

from collections.abc import Iterable, Mapping
from typing import Any

from espnet_smoe.config.options import nearest
from espnet_smoe.config.typed import convert
from espnet_smoe.importers.wenet_files import CONFIG, WeNetFolder
from espnet_smoe.layers.conformer_layer import ACTIVATIONS

STATISTICS = "feats_stats.npz"
# Options that we have under the same name, with WeNet's default.
ENCODER = {
    "output_size": 256,
    "attention_heads": 4,
    "linear_units": 2048,
    "num_blocks": 6,
    "dropout_rate": 0.1,
    "positional_dropout_rate": 0.1,
    "attention_dropout_rate": 0.0,
    "input_layer": "conv2d",
    "activation_type": "swish",
    "macaron_style": True,
    "use_cnn_module": True,
    "cnn_module_kernel": 15,
    "causal": False,
    "use_dynamic_chunk": False,
    "use_dynamic_left_chunk": False,
    "static_chunk_size": 0,
    "norm_eps": 1e-5,
}
DECODER = {
    "attention_heads": 4,
    "linear_units": 2048,
    "num_blocks": 6,
    "r_num_blocks": 0,
    "dropout_rate": 0.1,
    "positional_dropout_rate": 0.1,
    "self_attention_dropout_rate": 0.0,
    "src_attention_dropout_rate": 0.0,
    "norm_eps": 1e-5,
}
MODEL = {
    "ctc_weight": 0.5,
    "reverse_weight": 0.0,
    "lsm_weight": 0.0,
    "length_normalized_loss": False,
}
# Options whose other values are another model, with those that we compute.
FIXED = {
    "normalize_before": (True,),
    "concat_after": (False,),
    "layer_norm_type": ("layer_norm",),
    "n_kv_head": (None,),
    "head_dim": (None,),
    "mlp_type": ("position_wise_feed_forward", "moe"),
}
ENCODER_FIXED = FIXED | {
    "input_layer": ("conv2d", "conv2d6", "conv2d8"),
    "activation_type": tuple(ACTIVATIONS),
    "cnn_module_norm": ("layer_norm",),
    "positionwise_conv_kernel_size": (1,),
    "conv_inner_factor": (2,),
    "final_norm": (True,),
}
DECODER_FIXED = FIXED | {
    "input_layer": ("embed",),
    "use_output_layer": (True,),
    "src_attention": (True,),
    "activation_type": ("relu",),
    "tie_word_embedding": (False,),
}
MODEL_FIXED = {"apply_non_blank_embedding": (False,), "ignore_id": (-1,)}
FEATURES_FIXED = {
    "frame_length": (25,),
    "frame_shift": (10,),
    "window_type": ("povey",),
}
DEFAULTS = {"cnn_module_norm": "batch_norm"}
# Told by the weights, or of the way to compute.
SILENT = {"query_bias", "key_bias", "value_bias", "conv_bias", "mlp_bias", "use_sdpa"}
SILENT |= {"src_query_bias", "src_key_bias", "src_value_bias"}
SILENT |= {"gradient_checkpointing"}
POSITIONS = {  # and the attention that goes with them -> ours
    ("rel_pos", "rel_selfattn"): "wenet_rel_pos",
    ("rope_pos", "rope_abs_selfattn"): "wenet_rope",
}
EXPERTS = {"n_expert": 8, "n_expert_activated": 2}
PARTS = {  # by top-level key: what there may be, the default first
    "model": ("asr_model",),
    "encoder": ("conformer",),
    "decoder": ("bitransformer", "transformer"),
    "ctc": ("ctc",),
    "cmvn": ("global_cmvn", None),
}
READ = {  # sections that are read elsewhere, with all that they may say
    "ctc_conf": ("ctc_blank_id",),
    "cmvn_conf": ("cmvn_file", "is_json_cmvn"),
    "tokenizer_conf": ("symbol_table_path", "bpe_path", "split_with_space")
    + ("special_tokens", "non_lang_syms_path", "is_multilingual", "num_languages"),
}
OTHER = "take a U2++ or unified Conformer of WeNet"


def configuration(folder: WeNetFolder) -> dict[str, Any]:
    """Front-end, encoder, decoder and model of the training configuration.

    Raises:
        ValueError: Names the option that cannot be carried.
    """
    top = _Section(folder, "")
    top.check_values(PARTS)
    for name, known in READ.items():
        _Section(folder, name).check({}, known)
    normalize: dict[str, Any] = {"normalize": None}
    if folder.statistics is not None:
        conf = {"stats_file": STATISTICS}
        normalize = {"normalize": "global_mvn", "normalize_conf": conf}
    return {
        "input_size": None,
        "frontend": "kaldi_fbank",
        "frontend_conf": _features(folder),
        "specaug": None,
        **normalize,
        "encoder": "u2pp_conformer",
        "encoder_conf": _encoder(_Section(folder, "encoder_conf")),
        "decoder": "u2pp_transformer",
        "decoder_conf": _decoder(_Section(folder, "decoder_conf")),
        "model": "u2pp",
        "model_conf": _model(_Section(folder, "model_conf")),
        "ctc_conf": {},
        "init": None,
    }


def _encoder(section: "_Section") -> dict[str, Any]:
    positions = {"pos_enc_layer_type": "rel_pos"}
    positions |= {"selfattention_layer_type": "rel_selfattn"}
    known = {**ENCODER, **positions, **EXPERTS, "conv_norm_eps": 1e-5}
    fixed = dict(ENCODER_FIXED)
    if not section.given.get("use_cnn_module", True):
        del fixed["cnn_module_norm"]
    section.check(fixed, {*known, "cnn_module_norm"})
    found = section.carried(ENCODER)
    chosen = tuple(section.carried(positions).values())
    if chosen not in POSITIONS:
        section.refuse(" with ".join(positions), " with ".join(chosen))
    [conv_norm_eps] = section.carried({"conv_norm_eps": 1e-5}).values()
    if found["use_cnn_module"] and conv_norm_eps != found["norm_eps"]:
        section.refuse("conv_norm_eps", conv_norm_eps, f"{found['norm_eps']}, norm_eps")
    if found["use_dynamic_chunk"] and not found["causal"]:
        section.refuse("use_dynamic_chunk without causal", True)
    found["static_chunk_size"] = max(0, found["static_chunk_size"])
    if section.given.get("gradient_checkpointing"):
        layers = range(1, found["num_blocks"] + 1)
        found["gradient_checkpoint_layers"] = list(layers)
    return (
        found
        | section.mixture()
        | {
            "pos_enc_layer_type": POSITIONS[chosen],
            "lookahead": True,
            "gate_padding": found[
                "causal"
            ],  # what pads both sides comes after the gate
        }
    )


def _decoder(section: "_Section") -> dict[str, Any]:
    section.check(DECODER_FIXED, {**DECODER, **EXPERTS})
    return section.carried(DECODER) | section.mixture()


def _model(section: "_Section") -> dict[str, Any]:
    section.check(MODEL_FIXED, MODEL)
    found = section.carried(MODEL)
    if not 0 < found["ctc_weight"] < 1:
        section.refuse("ctc_weight", found["ctc_weight"], "one between 0 and 1")
    return found


def _features(folder: WeNetFolder) -> dict[str, Any]:
    """Of the Kaldi front-end."""
    _Section(folder, "dataset_conf").check_values({"feats_type": ("fbank",)})
    rate = {"resample_rate": (16000,)}
    _Section(folder, "dataset_conf", "resample_conf").check_values(rate)
    fbank = _Section(folder, "dataset_conf", "fbank_conf")
    known = {"num_mel_bins": folder.config.get("input_dim") or 23, "dither": 0.0}
    fbank.check(FEATURES_FIXED, known)
    found = fbank.carried(known)
    if folder.statistics is not None:
        size = len(folder.statistics.sum)
        fbank.check_values({"num_mel_bins": (size,)})
        _Section(folder).check_values({"input_dim": (size,)})
        found["num_mel_bins"] = size
    return {"n_mels": found["num_mel_bins"], "dither": found["dither"]}


class _Section:
    """A section of the configuration.

    Args:
        folder: With the configuration.
        names: Of the section, from the outermost.
    """

    def __init__(self, folder: WeNetFolder, *names: str):
        self.place, self.name = folder.path / CONFIG, ".".join(n for n in names if n)
        self.given = folder.section(*names) if self.name else folder.config

    def check(self, fixed: Mapping[str, tuple], carried: Iterable[str]) -> None:
        """Refuse unknown options, and values that make another model."""
        known = {*fixed, *carried, *SILENT}
        for name in self.given:
            if name not in known:
                raise ValueError(
                    f"{self.place}: {self.name}.{name} is not known and cannot be "
                    f"carried{nearest(name, known)}; {OTHER}, or remove the line if it "
                    "changes nothing"
                )
        self.check_values(fixed)

    def check_values(self, fixed: Mapping[str, tuple]) -> None:
        """Refuse values that make another model."""
        for name, values in fixed.items():
            value = self.given.get(name, DEFAULTS.get(name, values[0]))
            if value not in values:
                self.refuse(name, value, " or ".join(map(str, values)))

    def carried(self, defaults: Mapping[str, Any]) -> dict[str, Any]:
        """Options of the same name."""
        return {
            name: convert(
                self.given.get(name, default), type(default), self._place(name)
            )
            for name, default in defaults.items()
        }

    def mixture(self) -> dict[str, Any]:
        """The mixture of its feed-forward blocks, if they are any."""
        if self.given.get("mlp_type") != "moe":
            return {}
        experts, chosen = self.carried(EXPERTS).values()
        if chosen < 2:  # we would weigh the one by its probability, WeNet does by 1
            self.refuse("n_expert_activated", chosen, "2 or more")
        return {"moe": {"gate": "topk", "num_experts": experts, "top_k": chosen}}

    def refuse(self, name: str, value: Any, known: str = "") -> None:
        """Raise an error."""
        hint = f" ({known} can)" if known else ""
        raise ValueError(
            f"{self._place(name)} is {value}, which cannot be carried{hint}; {OTHER}"
        )

    def _place(self, name: str) -> str:
        return f"{self.place}: {self.name}{'.' if self.name else ''}{name}"
