"""Streams of one model: equal to the whole, to each other, cut where speech ends."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_smoe.inference.search.ctc_align import align
from espnet_smoe.inference.search.ctc_prefix import prefix_beam
from espnet_smoe.inference.search.rescoring import rescore
from espnet_smoe.inference.streaming.recognizer import Event
from tests.inference.listening import (
    CUT,
    SMALL,
    UNCUT,
    LoudnessModel,
    events_of,
    finals,
    recognizer_of,
    same,
)
from tests.inference.tiny_u2pp import TOKENS, babble, tiny_u2pp
from tests.tiny import noise


@pytest.fixture(scope="module")
def model():
    return tiny_u2pp()


@pytest.mark.parametrize("chunk, left", [(1, 0), (4, 2), (16, -1)])
@pytest.mark.parametrize("rescoring", [False, True])
def test_a_stream_equals_the_masked_pass_over_the_whole(model, chunk, left, rescoring):
    wave = babble(3.21, seed=5)
    options = {"chunk_size": chunk, "left_chunks": left, "rescore": rescoring}
    *partials, final = events_of(recognizer_of(model, **options, **UNCUT), wave)
    with torch.inference_mode():
        lengths = torch.tensor([len(wave)])
        encoded, frames = model.encode(
            torch.from_numpy(wave)[None], lengths, chunk_size=chunk, left_chunks=left
        )
        log_probs = model.ctc.log_softmax(encoded)[0].numpy()
        nbest = prefix_beam(log_probs)
        assert partials[-1].text == "".join(TOKENS[t] for t in nbest[0].tokens)
        if rescoring:
            ids = {"sos": model.sos, "eos": model.eos}
            (nbest,) = rescore(model.decoder, encoded, frames, [nbest], **ids)
    assert [t.token for t in final.tokens] == [TOKENS[t] for t in nbest[0].tokens]
    assert len(final.tokens) > 20
    for token, span in zip(final.tokens, align(log_probs, nbest[0].tokens)):
        assert (token.start, token.end) == pytest.approx(
            (0.04 * span.start, 0.04 * span.end)
        )
        assert token.confidence == pytest.approx(span.confidence, abs=1e-4)
    assert (final.kind, final.start) == ("final", final.tokens[0].start)
    assert final.end == final.tokens[-1].end


def test_rescoring_may_change_the_choice(model):
    wave = babble(6.0, seed=1)
    options = {"rescore": False}, {"ctc_weight": 1e6}, {"ctc_weight": 0.0}
    by_ctc, mostly_ctc, by_decoders = (
        [e.text for e in finals(recognizer_of(model, **CUT, **changed), wave)]
        for changed in options
    )
    assert by_ctc == mostly_ctc != by_decoders


@settings(max_examples=8, deadline=None)
@given(pieces=st.lists(st.integers(0, 9000), max_size=12))
def test_how_the_audio_comes_changes_nothing(model, pieces):
    recognizer = recognizer_of(model, **CUT)
    wave = babble(3.3, seed=2)
    whole = events_of(recognizer, wave)
    assert sum(event.kind == "final" for event in whole) >= 2
    same(events_of(recognizer, wave, pieces), whole)


def test_streams_together_say_what_each_says_alone(model):
    recognizer = recognizer_of(model, **CUT)
    waves = [babble(s, seed) for seed, s in enumerate([2.9, 0.4, 4.6, 0.01, 3.3])]
    alone = [events_of(recognizer, wave) for wave in waves]
    assert sum(len(events) for events in alone) > 30
    rng = np.random.default_rng(0)
    waiting = list(enumerate(waves))
    open_ones, found = {}, {n: [] for n in range(len(waves))}
    while waiting or open_ones:
        if waiting and rng.random() < 0.5:
            number, wave = waiting.pop(0)
            open_ones[number] = [recognizer.create_stream(), wave]
        for of_one in open_ones.values():
            stream, wave = of_one
            cut = int(rng.integers(0, 6000))
            if len(wave):
                stream.accept_waveform(wave[:cut])
                of_one[1] = wave[cut:]
            elif not stream.ready:
                stream.finish()
        streams = [stream for stream, _ in open_ones.values()]
        for number, events in zip(list(open_ones), recognizer.decode_streams(streams)):
            found[number] += events
            if open_ones[number][0].done:
                del open_ones[number]
    for number, events in enumerate(alone):
        same(found[number], events)


def test_streams_together_keep_no_more_keys_than_each_alone(model):
    recognizer = recognizer_of(model, **CUT | {"left_chunks": -1})
    waves = [babble(4.0 - early, seed) for seed, early in enumerate([0.0, 0.7, 1.5])]

    def run(numbers):
        """Events of each, and keys after each of its steps."""
        streams = {n: recognizer.create_stream() for n in numbers}
        told = {n: [] for n in numbers}
        kept = {n: [] for n in numbers}
        for second in range(0, 64000, 6400):  # the second and third come later
            for n, stream in streams.items():
                late = 64000 - len(waves[n])
                stream.accept_waveform(
                    waves[n][max(0, second - late) : second + 6400 - late]
                )
            while ready := [n for n in numbers if streams[n].ready]:
                steps = recognizer.decode_streams([streams[n] for n in ready])
                for n, events in zip(ready, steps):
                    told[n] += events
                    kept[n].append(streams[n].utterance.cache.length)
        return told, kept

    told, kept = run([0, 1, 2])
    for n in told:
        told_alone, kept_alone = run([n])
        assert kept[n] == kept_alone[n]
        assert len(set(kept[n])) > 3 and kept[n].count(0) > 1  # utterances grow, end
        same(told[n], told_alone[n])


def test_probabilities_of_all_that_end_together_are_never_in_one_tensor(
    model, monkeypatch
):
    recognizer = recognizer_of(model, **SMALL, **UNCUT)
    streams = [recognizer.create_stream() for _ in range(3)]
    for seed, stream in enumerate(streams):
        stream.accept_waveform(babble(2.0, seed))
        stream.finish()
    sizes, log_softmax = [], model.ctc.log_softmax

    def noted(encoded):
        sizes.append(encoded.shape[:2].numel())
        return log_softmax(encoded)

    monkeypatch.setattr(model.ctc, "log_softmax", noted)
    while streams[0].ready:
        events = recognizer.decode_streams(streams)
    assert [e.kind for of_one in events for e in of_one] == ["final"] * 3
    assert max(sizes) == 50  # frames of one


def test_a_partial_is_told_only_when_the_text_changes(model):
    events = events_of(recognizer_of(model, **CUT), babble(6.0, seed=3))
    shown = ""
    for event in events:
        if event.kind == "partial":
            assert event.text != shown
            assert event.tokens == ()
        shown = "" if event.kind == "final" else event.text
    assert {event.kind for event in events} == {"partial", "final"}
    assert shown == ""  # what was shown at the end has become a final


def test_time_goes_on_from_utterance_to_utterance(model):
    recognizer = recognizer_of(model, **CUT)
    found = finals(recognizer, babble(8.0, seed=4))
    assert len(found) > 3
    for before, after in zip(found, found[1:]):
        assert before.start < before.end <= after.start
    assert 6.0 < found[-1].end <= 8.0


# A model that says a for soft and b for loud sounds, and nothing in silence.

LEVELS = {"a": 0.05, "b": 0.5}


def sound(*parts):
    """Noise of a token's level, or silence where there is none, for some seconds."""
    return np.concatenate(
        [LEVELS.get(token, 0.0) * noise(seconds) for token, seconds in parts]
    ).astype(np.float32)


def hear(wave, **options):
    defaults = {"rescore": False, "chunk_size": 4}
    return events_of(recognizer_of(LoudnessModel(), **defaults | options), wave)


def spoken(events):
    return [(e.kind, e.text) for e in events if e.kind == "final"]


def test_silence_ends_an_utterance_and_its_tokens_have_their_times():
    wave = sound(("", 1), ("a", 0.4), ("", 0.4), ("b", 0.4), ("", 1.2), ("a", 0.5))
    events = hear(wave)
    assert [(e.kind, e.text) for e in events] == [
        ("partial", "a"),
        ("partial", "ab"),
        ("final", "ab"),
        ("partial", "a"),
        ("final", "a"),
    ]
    first, second = (event for event in events if event.kind == "final")
    for token, start, end in zip(first.tokens, (1.0, 1.8), (1.4, 2.2)):
        assert (token.start, token.end) == pytest.approx((start, end), abs=0.05)
        assert token.confidence == pytest.approx(0.998, abs=1e-6)
    assert events[0].start == pytest.approx(1.0, abs=0.05)
    # the final came when 0.8 s of silence were over, and at most one chunk later
    assert (second.start, second.end) == pytest.approx((3.4, 3.9), abs=0.05)


def test_a_pause_shorter_than_the_silence_does_not_end():
    wave = sound(("a", 0.5), ("", 1.0), ("a", 0.5), ("", 1.0), ("a", 0.5))
    assert spoken(hear(wave, silence_seconds=1.3)) == [("final", "aaa")]
    assert spoken(hear(wave)) == [("final", "a")] * 3


def test_an_utterance_without_a_pause_ends_by_its_length():
    events = hear(sound(("a", 2.4), ("b", 2.4)), longest_seconds=1.6)
    assert spoken(events) == [("final", "a"), ("final", "ab"), ("final", "b")]


def test_silence_alone_says_nothing_and_begins_anew():
    model = LoudnessModel()
    recognizer = recognizer_of(model, rescore=False, chunk_size=4, start_seconds=2.0)
    stream = recognizer.create_stream()
    stream.accept_waveform(sound(("", 7.0)))
    begins = set()
    while stream.ready:
        assert recognizer.decode_streams([stream]) == [[]]
        begins.add(stream.utterance.begin)
    assert len(begins) == 4
    stream.accept_waveform(sound(("a", 1.0)))
    stream.finish()
    events = []
    while not stream.done:
        events += recognizer.decode_streams([stream])[0]
    assert spoken(events) == [("final", "a")]
    assert events[-1].tokens[0].start == pytest.approx(7.0, abs=0.05)


def test_streams_that_are_ready_make_one_batch():
    model = LoudnessModel()
    recognizer = recognizer_of(model, rescore=False, chunk_size=4)
    streams = [recognizer.create_stream() for _ in range(3)]
    for stream in streams[:2]:
        stream.accept_waveform(sound(("a", 0.3)))
    assert [s.ready for s in streams] == [True, True, False]
    events = recognizer.decode_streams(streams)
    assert model.encoder.batches == [2]
    assert [len(of_one) for of_one in events] == [1, 1, 0]
    assert streams[0].seconds == 0.3


@pytest.mark.parametrize("samples", [0, 5, 300, 700])
def test_a_stream_without_an_encoder_frame_ends_without_a_word(samples):
    assert hear(np.zeros(samples, np.float32)) == []


@pytest.mark.parametrize(
    "samples, message",
    [
        (np.zeros((10, 2), np.float32), r"got shape \(10, 2\)"),
        (np.zeros(10, np.int64), "no known full scale"),
        (b"\0\0", "got bytes"),
        (np.array([0.0, np.nan]), "NaN or infinite"),
        (np.array([0.0, 32767.0]), "samples reach 32767 where 1 is full scale"),
        (np.array([0.0, -1e300]), "full scale"),
    ],
)
def test_samples_that_are_none_are_refused_and_the_stream_lives_on(samples, message):
    recognizer = recognizer_of(LoudnessModel(), rescore=False)
    stream = recognizer.create_stream()
    stream.accept_waveform(sound(("a", 0.5)))
    with pytest.raises(ValueError, match=message):
        stream.accept_waveform(samples)
    assert stream.seconds == 0.5
    stream.finish()
    (events,) = recognizer.decode_streams([stream])
    assert spoken(events) == [("final", "a")]
    with pytest.raises(ValueError, match="finished; open another"):
        stream.accept_waveform(sound(("a", 0.5)))


def test_integers_are_heard_like_the_floats_they_stand_for():
    voice = sound(("a", 0.5))
    integers = np.round(voice * 32767).astype(np.int16)
    assert hear(integers) == hear(integers / np.float32(32768)) != []


def test_the_callers_buffer_may_be_used_again():
    recognizer = recognizer_of(LoudnessModel(), rescore=False)
    stream, buffer = recognizer.create_stream(), sound(("a", 0.5))
    stream.accept_waveform(buffer)
    buffer[:] = 0
    stream.finish()
    assert spoken(recognizer.decode_streams([stream])[0]) == [("final", "a")]


def test_an_event_is_a_record_of_json():
    (final,) = [e for e in hear(sound(("a", 0.5))) if e.kind == "final"]
    record = final.as_dict()
    assert list(record) == ["kind", "text", "start", "end", "tokens"]
    assert record["tokens"] == [
        {"token": "a", "start": 0.0, "end": record["end"], "confidence": 0.998}
    ]
    assert Event("partial", "x", 0.0, 1 / 3).as_dict()["end"] == 0.333
