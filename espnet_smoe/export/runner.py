"""How exported graphs are fed, in Python on onnxruntime: a pattern for other runtimes.

Nothing here needs PyTorch.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

Cache = dict[str, np.ndarray]  # input -> tensor, batch first


class OnnxModel:
    """The graphs that `espnet-smoe export` has written.

    Args:
        folder: With ``config.json``.
        threads: Of onnxruntime; 0 for one a core.

    Attributes:
        config: Content of ``config.json``.
        tokens: V.

    Raises:
        ValueError: There is no such export, or onnxruntime is missing.

    Example:
        model = OnnxModel("export")
        cache = model.new_cache()
        for chunk in chunks:  # (1, 64, 80) each
            encoded, lengths, cache = model.encode_chunk(chunk, cache)
            best = model.log_probs(encoded).argmax(axis=2)
    """

    def __init__(self, folder: str | Path, threads: int = 0):
        folder = Path(folder)
        self.config = read_description(folder)
        if self.config["format"] != "onnx":
            raise ValueError(
                f"{folder} holds {self.config['format']}; export with '--format onnx'"
            )
        self.tokens = (folder / self.config["tokens"]).read_text("utf-8").split("\n")
        self.tokens.pop()  # behind the last newline
        self._sessions = {
            name: _session(folder / graph["file"], threads)
            for name, graph in self.config["graphs"].items()
        }

    @property
    def width(self) -> int:
        """Feature frames a chunk."""
        return self.config["chunk_size"] * self.config["stride"]

    def new_cache(self, batch: int = 1) -> Cache:
        """The cache of streams that have not begun: zeros."""
        inputs = self.config["graphs"]["encoder_chunk"]["inputs"]
        return {
            name: np.zeros((batch, *inputs[name]["shape"][1:]), inputs[name]["type"])
            for name in self.config["cache"]
        }

    def encode_chunk(
        self, chunk: np.ndarray, cache: Cache, lengths: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, Cache]:
        """Encode the next chunk of B streams.

        Rows of caches may be joined and parted along the first axis: streams of any age
        go together.

        Args:
            chunk: ``(B, width, F)`` float32, not normalised.
            cache: From the chunk before, or `new_cache`.
            lengths: ``(B,)`` features that are not padding; fewer than there are only
                at the end of a stream. None: all count.

        Returns:
            ``(B, C, D)``; ``(B,)`` encoder frames that count; the new cache.
        """
        if lengths is None:
            lengths = np.full(len(chunk), chunk.shape[1], dtype=np.int64)
        out = self._run("encoder_chunk", chunk=chunk, lengths=lengths, **cache)
        after = {name: out[new] for name, new in self.config["cache"].items()}
        return out["encoded"], out["encoded_lengths"], after

    def encode(self, features: np.ndarray) -> np.ndarray:
        """Encode an utterance ``(T, F)`` chunk by chunk: ``(T // stride, D)``.

        The first frames of a model with ``lookahead`` go into the cache.
        """
        cache, ahead = self.new_cache(), self.config.get("lookahead", 0)
        if ahead and len(features) > ahead:
            cache["features"] = features[None, :ahead]
        features = features[ahead:]
        encoded = [np.zeros((0, self.config["size"]), np.float32)]
        for start in range(0, len(features), self.width):
            piece = features[start : start + self.width]
            chunk = np.zeros((1, self.width, features.shape[1]), np.float32)
            chunk[0, : len(piece)] = piece
            out, lengths, cache = self.encode_chunk(
                chunk, cache, np.array([len(piece)], dtype=np.int64)
            )
            encoded.append(out[0, : lengths[0]])
        return np.concatenate(encoded)

    def log_probs(self, encoded: np.ndarray) -> np.ndarray:
        """CTC log-probabilities ``(B, T, V)`` of ``(B, T, D)``."""
        return self._run("ctc", encoded=encoded)["log_probs"]

    def rescore(
        self, encoded: np.ndarray, texts: Sequence[Sequence[int]]
    ) -> dict[str, np.ndarray]:
        """Log-probabilities of texts of one utterance.

        Args:
            encoded: ``(T, D)``.
            texts: N, each of tokens without begin and end; there may be none.

        Returns:
            ``left_to_right`` ``(N,)``, and ``right_to_left`` where there is such a
            decoder.
        """
        if len(texts) == 0:
            outputs = self.config["graphs"]["rescorer"]["outputs"]
            return {name: np.zeros(0, np.float32) for name in outputs}
        counts = np.array([[len(text) for text in texts]], dtype=np.int64)  # (1, N)
        tokens = np.zeros((1, len(texts), max(1, counts.max())), dtype=np.int64)
        for row, text in zip(tokens[0], texts):
            row[: len(text)] = text
        out = self._run(
            "rescorer",
            encoded=encoded[None],
            lengths=np.array([len(encoded)], dtype=np.int64),
            tokens=tokens,
            token_lengths=counts,
        )
        return {name: scores[0] for name, scores in out.items()}

    def _run(self, graph: str, **inputs: np.ndarray) -> Mapping[str, np.ndarray]:
        outputs = self.config["graphs"][graph]["outputs"]
        return dict(zip(outputs, self._sessions[graph].run(outputs, inputs)))


def read_description(folder: Path) -> dict:
    """Read ``config.json``.

    Raises:
        ValueError: There is none.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise ValueError(f"{path} does not exist; 'espnet-smoe export' writes it")
    return json.loads(path.read_text(encoding="utf-8"))


def _session(path: Path, threads: int):
    try:
        import onnxruntime
    except ImportError as error:
        raise ValueError(
            "onnxruntime is missing; install espnet_smoe[export]"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(
        path, options, providers=["CPUExecutionProvider"]
    )
