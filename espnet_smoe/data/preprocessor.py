"""Preprocessor `smoe`: a line of a data directory to what the model takes."""

from pathlib import Path
from typing import Any

import numpy as np

from espnet_smoe.compat import CommonPreprocessor, TextCleaner
from espnet_smoe.data.data_dir import NO_TRANSLATION
from espnet_smoe.data.speech.effects import Effects
from espnet_smoe.data.speech.random_channel import RandomChannel
from espnet_smoe.data.speech.resample import SAMPLE_RATE
from espnet_smoe.data.task_table import token_of
from espnet_smoe.data.text.tokenizer import is_special, load_tokenizer
from espnet_smoe.data.text.tokens import read_token_list
from espnet_smoe.data.text.unicode_text import normalize_unicode
from espnet_smoe.moe import label_ids

BANDWIDTH, LANGUAGE = "bandwidth", "lang"
PROMPT = "_prompt"


class SMoEPreprocessor(CommonPreprocessor):
    """Tokens of every target, prompts and the bandwidth label.

    What it makes of an utterance's fields:

    - ``speech``: as ESPnet's preprocessor does (volume, noise, reverberation);
    - ``text``, ``text_st``, ...: ids of the pieces; a text that is ``<na>`` becomes
      the single id -1, which means that there is none;
    - ``text_prompt``, ``text_st_prompt``, ... (optional): special tokens that take
      the place of the task's own prompt for this utterance;
    - ``bandwidth``: the label ``nb`` becomes the id of ``<nb>``, a token or one behind
      them, see `espnet_smoe.moe.label_ids`;
    - ``lang``: the language ``es`` becomes that of ``<es>`` or ``<|es|>``.

    Args:
        train: Training rather than inference; needed for noise and reverberation.
        token_list: File with a token a line, or the tokens.
        bpemodel: Tokenizer, see `load_tokenizer`.
        text_names: Targets; None for every field that holds a text and is no label or
            prompt, whatever the tasks are.
        label_names: Fields that hold a label, beside ``lang``.
        text_cleaner: ESPnet's ``--cleaner``, applied to every target.
        token_type: Not read; the tokenizer's file tells its kind.
        channel: Options of `RandomChannel`. In training, a random share of the
            utterances passes one of the conditions, anew in each epoch,
            and ``bandwidth`` becomes its label; needs the field ``bandwidth``. It
            comes after noise and reverberation, as in a telephone. Validation and
            inference, where ``train`` is false, take what is in the files.
        fs: Sampling rate of the audio in Hz.
        **kwargs: Options of ESPnet's ``CommonPreprocessor``.

    Raises:
        ValueError: A label or token that is not in the token list, an empty text, an
            empty or broken waveform; each with the name of the utterance. An unknown
            option of `channel`.
        ImportError: A condition needs a codec and imageio-ffmpeg is not installed.
    """

    def __init__(
        self,
        train: bool,
        token_list: Any = None,
        bpemodel: str | None = None,
        text_names: tuple[str, ...] | list[str] | None = None,
        label_names: tuple[str, ...] | list[str] = (BANDWIDTH,),
        text_cleaner: Any = None,
        token_type: str | None = None,
        channel: dict[str, Any] | None = None,
        fs: int = SAMPLE_RATE,
        **kwargs: Any,
    ):
        if token_list is None or bpemodel is None:
            raise ValueError(
                "preprocessor smoe needs --token_list and --bpemodel; stage 5 of the "
                "recipe makes both"
            )
        super().__init__(train, fs=fs, **kwargs)
        if self.data_aug is not None:
            given = kwargs["data_aug_effects"], kwargs.get("data_aug_num", [1, 1])
            self.data_aug = Effects(*given)
        if isinstance(token_list, (str, Path)):
            token_list = read_token_list(token_list)
        self.token_ids = {token: i for i, token in enumerate(token_list)}
        self.label_ids = label_ids(token_list)
        self.text_names = None if text_names is None else tuple(text_names)
        self.label_names = (*label_names, LANGUAGE)
        self.tokenizer = load_tokenizer(bpemodel)
        normalize_unicode("é")  # makes its table once, not in each epoch's workers
        self.text_cleaner = TextCleaner(text_cleaner)
        self.channel = None
        if channel is not None:
            place = "preprocessor_conf.channel"
            options = RandomChannel.from_options(channel, place)
            if train:
                options.require_codecs()
                self.channel = options

    def __call__(self, uid: str, data: dict[str, Any]) -> dict[str, np.ndarray]:
        """Process the fields of utterance ``uid``."""
        if self.speech_name in data:
            _check_speech(uid, data[self.speech_name])
        data = self._speech_process(data)
        if self.channel is not None and self.speech_name in data:
            self._transmit(uid, self.channel, data)
        for name in [name for name, value in data.items() if isinstance(value, str)]:
            if name in self.label_names:
                label = token_of(data[name].strip(), self.label_ids)
                data[name] = self._specials(uid, name, [label], self.label_ids)
            elif self._is_target(name):
                data[name] = self._text(uid, name, data[name])
            elif name.endswith(PROMPT) and self._is_target(name.removesuffix(PROMPT)):
                data[name] = self._specials(
                    uid, name, data[name].split(), self.token_ids
                )
        return data

    def _is_target(self, name: str) -> bool:
        if self.text_names is None:
            return not name.endswith(PROMPT)
        return name in self.text_names

    def _transmit(self, uid: str, channel: RandomChannel, data: dict[str, Any]) -> None:
        if BANDWIDTH not in data:
            raise ValueError(
                f"utterance {uid}: preprocessor_conf.channel needs its {BANDWIDTH}, "
                "since narrowband cannot become wideband; add utt2bandwidth,bandwidth,"
                "text to --train_data_path_and_name_and_type"
            )
        # ESPnet seeds this generator with --seed, the epoch and the number of the
        # loader's worker: a run can be repeated, and each epoch draws anew. (Without
        # workers the seed counts once, at the start of the run.)
        uniform = np.random.random_sample
        if uniform() >= channel.share:
            return
        condition = channel.draw(data[BANDWIDTH].strip(), uniform)
        if condition is None:
            return
        try:
            data[self.speech_name] = condition(data[self.speech_name])
        except ValueError as error:
            raise ValueError(f"utterance {uid}: {error}") from error
        data[BANDWIDTH] = condition.bandwidth

    def _text(self, uid: str, name: str, text: str) -> np.ndarray:
        text = self.text_cleaner(normalize_unicode(text))
        if text == NO_TRANSLATION:
            return np.array([-1])
        if not text:
            raise ValueError(
                f"utterance {uid}: empty {name}; write {NO_TRANSLATION} where there is "
                "none, or leave the utterance out"
            )
        pieces = self.tokenizer.encode(text)
        unknown = self.token_ids.get("<unk>")
        ids = [self.token_ids.get(piece, unknown) for piece in pieces]
        if None in ids:
            raise ValueError(
                f"utterance {uid}: {name} has {pieces[ids.index(None)]!r}, which is "
                "not in the token list; give the token list of the tokenizer"
            )
        return np.array(ids, dtype=np.int64)

    def _specials(
        self, uid: str, name: str, tokens: list[str], ids: dict[str, int]
    ) -> np.ndarray:
        unknown = [t for t in tokens if t not in ids]
        if unknown:
            known = [t for t in ids if is_special(t)]
            raise ValueError(
                f"utterance {uid}: {name} {unknown[0]} is not in the token list; known "
                f"special tokens: {' '.join(known)}"
            )
        return np.array([ids[t] for t in tokens], dtype=np.int64)


def _check_speech(uid: str, speech: np.ndarray) -> None:
    if speech.shape[0] == 0:
        raise ValueError(f"utterance {uid}: zero-length audio; leave it out")
    if not np.isfinite(speech).all():
        raise ValueError(f"utterance {uid}: the audio holds NaN or infinite samples")
