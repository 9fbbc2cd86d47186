"""Machine translation of single sentences: a command, or a Hugging Face model."""

import hashlib
import subprocess
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

STDERR_LINES = 10


@dataclass(frozen=True)
class CommandTranslator:
    """Any command: a source sentence a line in, a translation a line out.

    Attributes:
        name: The command line, given to the shell.
        batch_size: Sentences given to one run of it.
    """

    name: str
    batch_size: int

    def identity(self) -> dict:
        """What the translations depend on."""
        return {"backend": "command", "model": self.name, "revision": None}

    def translate(self, sentences: list[str]) -> list[str]:
        """Translate sentences of one line each.

        Raises:
            ValueError: The command failed, or wrote another number of lines.
        """
        text = "".join(f"{sentence}\n" for sentence in sentences)
        done = subprocess.run(
            self.name, shell=True, input=text.encode(), capture_output=True
        )
        tail = done.stderr.decode(errors="replace").splitlines()[-STDERR_LINES:]
        stderr = "\n".join(["", *tail]) if tail else " It wrote nothing to stderr."
        if done.returncode:
            raise ValueError(
                f"--command {self.name!r}: exit status {done.returncode}. Mend it and "
                f"run again; finished batches are kept.{stderr}"
            )
        lines = done.stdout.decode(errors="replace").removesuffix("\n").split("\n")
        if len(lines) != len(sentences):
            raise ValueError(
                f"--command {self.name!r}: {len(lines)} lines for {len(sentences)} "
                f"sentences. It must write one line for each, in order.{stderr}"
            )
        return lines


@dataclass(frozen=True)
class ModelTranslator:
    """A Hugging Face sequence-to-sequence model: NLLB, M2M100, Marian and the like.

    Attributes:
        name: Name on the hub, or a directory made by ``save_pretrained``.
        batch_size: Sentences translated at once.
        source_lang: Code in the model's own writing; unused by two-language models.
        target_lang: The same for the target.
        num_beams: Width of the beam search.
        max_length: Most tokens of a source and of its translation. A longer source is
            not translated: half a translation would be a wrong target.
        device: ``auto``, ``cpu`` or ``cuda``.
        dtype: ``float32``, ``bfloat16`` or ``float16``.
    """

    name: str
    batch_size: int
    source_lang: str
    target_lang: str
    num_beams: int
    max_length: int
    device: str
    dtype: str

    def identity(self) -> dict:
        """What the translations depend on."""
        names = ("source_lang", "target_lang", "num_beams", "max_length", "dtype")
        options = {name: getattr(self, name) for name in names}
        return {"backend": "transformers", "model": self.name} | {
            "revision": self._revision,
            "options": options,
        }

    def translate(self, sentences: list[str]) -> list[str]:
        """Translate sentences in one batch; a source that is too long gives "".

        Raises:
            ValueError: The GPU's memory is too small for the batch.
        """
        import torch

        tokenizer, model, language = self._loaded
        limit = min(
            self.max_length,
            tokenizer.model_max_length,
            getattr(model.config, "max_position_embeddings", self.max_length),
        )
        fits = [len(tokens) <= limit for tokens in tokenizer(sentences).input_ids]
        sources = [sentence for sentence, fit in zip(sentences, fits) if fit]
        if not sources:
            return [""] * len(sentences)
        batch = tokenizer(sources, return_tensors="pt", padding=True).to(model.device)
        options = {"num_beams": self.num_beams, "max_length": limit}
        try:
            with torch.inference_mode():
                tokens = model.generate(**batch, **language, **options)
        except torch.OutOfMemoryError as error:
            raise ValueError(
                f"--batch-size {self.batch_size}: out of memory. Run again with a "
                "smaller one; finished batches are kept."
            ) from error
        # Without the start and the language, which is not special to every tokenizer.
        tokens = tokens[:, 1 + len(language) :]
        made = iter(tokenizer.batch_decode(tokens, skip_special_tokens=True))
        return [next(made) if fit else "" for fit in fits]

    @cached_property
    def _revision(self) -> str:
        """Commit on the hub, or a digest of the weights in a directory."""
        folder = Path(self.name)
        if not folder.is_dir():
            cached_file = _transformers().utils.cached_file
            config = self._or_explain(lambda: cached_file(self.name, "config.json"))
            return Path(config).parent.name  # .../snapshots/COMMIT/config.json
        digest = hashlib.sha256()
        files = [*folder.glob("*.json"), *folder.glob("*.spm"), *folder.glob("*.model")]
        files += [*folder.glob("*.safetensors"), *folder.glob("*.bin")]
        for path in sorted(files):
            with open(path, "rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return f"sha256:{digest.hexdigest()[:16]}"

    @cached_property
    def _loaded(self) -> tuple:
        """Tokenizer, model, and the options of ``generate`` that name the languages."""
        import torch

        has_gpu = torch.cuda.is_available()
        if self.device == "cuda" and not has_gpu:
            raise ValueError("--device cuda: no GPU is seen. Use --device cpu.")
        device = (
            ("cuda" if has_gpu else "cpu") if self.device == "auto" else self.device
        )
        library = _transformers()
        dtype = getattr(torch, self.dtype)
        tokenizer = self._or_explain(
            lambda: library.AutoTokenizer.from_pretrained(self.name)
        )
        model = self._or_explain(
            lambda: library.AutoModelForSeq2SeqLM.from_pretrained(
                self.name, dtype=dtype
            )
        )
        return tokenizer, model.to(device).eval(), self._set_languages(tokenizer)

    def _set_languages(self, tokenizer: Any) -> dict[str, int]:
        """Tell a many-language tokenizer the source; return the target's option."""
        if not hasattr(tokenizer, "src_lang"):  # Marian: one pair of languages
            return {}
        token_of = getattr(tokenizer, "lang_code_to_token", None)  # M2M100: __ko__
        known = token_of or {t: t for t in tokenizer.all_special_tokens}
        for option in ("source_lang", "target_lang"):
            code = getattr(self, option)
            if code not in known:
                raise ValueError(
                    f"--{option.replace('_', '-')} {code}: {self.name} does not know "
                    f"it. Some that it knows: {' '.join(sorted(known)[:20])}."
                )
        tokenizer.src_lang = self.source_lang
        target = tokenizer.convert_tokens_to_ids(known[self.target_lang])
        return {"forced_bos_token_id": target}

    def _or_explain(self, load: Callable[[], Any]) -> Any:
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Recommended: pip install sacremoses")
                return load()
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(
                f"--model {self.name}: cannot be loaded as a sequence-to-sequence "
                "model. Give a name on the Hugging Face hub, or a directory made by "
                f"save_pretrained. transformers: {error}"
            ) from error


def _transformers() -> ModuleType:
    try:
        import transformers
    except ImportError as error:
        raise ImportError(
            'a --model needs transformers: pip install "espnet-smoe[translate]"'
        ) from error
    transformers.logging.set_verbosity_error()
    return transformers


Translator = CommandTranslator | ModelTranslator
