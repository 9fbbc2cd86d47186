"""Which experts a result tells of: as the gates chose, whatever the batch."""

import threading

import pytest
import torch

from espnet_smoe.inference import load
from espnet_smoe.inference.streaming.options import StreamOptions
from espnet_smoe.serve.models import streams_of
from tests.inference.tiny_u2pp import tiny_u2pp_config
from tests.tiny import noise, save_experiment, tiny_config, tiny_ctc_config

LENGTHS = (1.0, 2.0, 1.5)  # seconds


@pytest.fixture(scope="module")
def smoe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("smoe")
    save_experiment(folder / "exp", tiny_config(folder))
    return load(folder / "exp").watching_experts()


@pytest.fixture(scope="module")
def u2pp(tmp_path_factory):
    folder = tmp_path_factory.mktemp("u2pp")
    save_experiment(folder / "exp", tiny_u2pp_config())
    return load(folder / "exp").watching_experts()


def waves():
    return [noise(seconds) for seconds in LENGTHS]


def test_a_label_chooses_an_expert_for_all_layers_and_a_task_its_own(smoe):
    found = smoe.recognize(waves(), ["wb", "nb", "wb"], ["asr", "st"], list("abc"))
    for results, expert, label in zip(found, (0, 1, 0), ("wb", "nb", "wb")):
        encoder, decoder = results["asr"].experts
        assert (encoder.layer, encoder.chosen, encoder.label) == (
            *("encoder", (expert,), label),
        )
        assert (decoder.task, decoder.chosen, decoder.label) == (
            *("asr", (1,), "transcribe"),
        )
        assert results["st"].experts[1].label == "translate"
        assert results["st"].experts[1].chosen == (0,)


def test_a_router_chooses_one_for_each_frame_of_each_layer(u2pp):
    (results,) = u2pp.recognize([noise(1)], ["wb"], ["asr"], ["a"])
    chosen = {}

    def see(mixture, given, _):
        x, routing = given
        logits = mixture.gate.logits(x.flatten(0, 1), routing)
        chosen[mixture.name] = logits.argmax(1).tolist()

    layers = [m for m in u2pp.model.encoder.modules() if hasattr(m, "gate")]
    hooks = [layer.register_forward_hook(see) for layer in layers]
    u2pp.recognize([noise(1)], ["wb"], ["asr"], ["a"])
    for hook in hooks:
        hook.remove()
    told = {use.layer: list(use.chosen) for use in results["asr"].experts}
    assert told == chosen and len(told) == 4
    assert all(use.experts == 8 for use in results["asr"].experts)


@pytest.mark.parametrize("kind", ["smoe", "u2pp", "ctc"])
def test_a_batch_tells_what_each_utterance_tells_alone(kind, request, tmp_path):
    if kind == "ctc":
        tokens = ["<blank>", "<unk>", "ni3", "hao3", "<sos/eos>"]
        save_experiment(tmp_path / "exp", tiny_ctc_config(tokens))
        plain = load(tmp_path / "exp")
        recognizer = plain.watching_experts()
        (told,) = plain.recognize([noise(1)], ["nb"], plain.tasks, ["a"])
        assert told["units"].experts == ()  # nobody has asked
    else:
        recognizer = request.getfixturevalue(kind)
    task, labels = recognizer.tasks[0], ["nb", "wb", "nb"]
    together = recognizer.recognize(waves(), labels, [task], list("abc"))
    alone = [
        recognizer.recognize([wave], [label], [task], ["a"])[0]
        for wave, label in zip(waves(), labels)
    ]
    experts = [results[task].experts for results in together]
    assert experts == [results[task].experts for results in alone]
    assert all(experts) and len({*experts}) == (2 if kind == "smoe" else 3)


def test_streams_and_other_threads_are_not_taken_for_the_recording(u2pp):
    (alone,) = u2pp.recognize([noise(1)], ["wb"], ["asr"], ["a"])
    stream = streams_of(u2pp, StreamOptions(chunk_size=4))
    encode = u2pp.model.encode

    def disturbed(*args, **options):
        """Another thread uses the same layers in the meantime."""

        def use():
            with torch.inference_mode():
                running = stream.create_stream()
                running.accept_waveform(noise(2))
                stream.decode_streams([running])

        thread = threading.Thread(target=use)
        thread.start()
        thread.join()
        return encode(*args, **options)

    u2pp.model.encode = disturbed
    try:
        (beside,) = u2pp.recognize([noise(1)], ["wb"], ["asr"], ["a"])
    finally:
        del u2pp.model.encode
    assert beside["asr"].experts == alone["asr"].experts
