"""Decoder smoe_transformer: ESPnet's decoder, that routes itself by its prompt."""

import pytest
import torch
from espnet2.asr.decoder.transformer_decoder import TransformerDecoder

from espnet_smoe.decoder.cache import gather
from espnet_smoe.decoder.transformer import SMoETransformerDecoder

SIZES = {"attention_heads": 2, "linear_units": 32, "num_blocks": 3}
TOKENS = ["<blank>", "<transcribe>", "<translate>", *"abcdefgh", "<sos/eos>"]
ASR, ST = 1, 2


def make(**options) -> SMoETransformerDecoder:
    torch.manual_seed(0)
    decoder = SMoETransformerDecoder(len(TOKENS), 16, **SIZES, **options).eval()
    if decoder.labels is not None:
        decoder.labels.bind(TOKENS)
    return decoder


def memory(*lengths: int) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.randn(len(lengths), max(lengths), 16), torch.tensor(lengths)


def prefixes(tasks: list[int], length: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(2)
    text = torch.randint(3, 11, (len(tasks), length - 1))
    ys = torch.cat([torch.tensor(tasks)[:, None], text], dim=1)
    return ys, torch.full((len(tasks),), length)


@pytest.mark.parametrize(
    "options",
    [{}, {"normalize_before": False}, {"concat_after": True}, {"qk_norm": True}],
)
def test_with_the_same_weights_it_is_espnets_own_decoder(options):
    ours = make(**options)
    theirs = TransformerDecoder(len(TOKENS), 16, **SIZES, **options).eval()
    theirs.load_state_dict(ours.state_dict())
    ys, n = prefixes([ASR, ST])
    out, _ = ours(*memory(9, 6), ys, n)
    expected, _ = theirs(*memory(9, 6), ys, n)
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)


def test_a_batch_of_both_tasks_equals_each_row_alone():
    decoder = make(moe={})
    ys, n = prefixes([ASR, ST, ASR, ST])
    hs, lengths = memory(9, 6, 7, 9)
    out, _ = decoder(hs, lengths, ys, n)
    for row in range(4):
        one = slice(row, row + 1)
        alone, _ = decoder(hs[one, : lengths[row]], lengths[one], ys[one], n[one])
        torch.testing.assert_close(out[one], alone, atol=1e-5, rtol=1e-5)


def test_the_task_token_chooses_the_expert():
    decoder = make(moe={})
    (first, n), called = prefixes([ASR]), []
    for number, expert in enumerate(decoder.decoders[0].feed_forward.experts):
        expert.register_forward_hook(lambda *_, e=number: called.append(e))
    decoder(*memory(4), first, n)
    decoder(*memory(4), prefixes([ST])[0], n)
    assert called == [1, 0]  # <translate> is expert 0 (S-MoE, Eq. 3)


def test_a_prompt_without_a_task_names_the_token_and_the_tasks():
    with pytest.raises(ValueError, match="row 0: a is not .*<translate>, <transcribe>"):
        make(moe={})(*memory(4), *prefixes([3]))


LEARNED = [
    {"gate": "topk", "num_experts": 4, "top_k": 2},
    {"gate": "label_topk", "num_experts": 4},
]


@pytest.mark.parametrize("moe", [None, {}, *LEARNED])
def test_kept_keys_and_values_score_as_the_whole_prefix_does(moe):
    decoder = make(moe=moe)
    hs, lengths = memory(9, 6)
    ys, n = prefixes([ASR, ST], 7)
    whole = decoder(hs, lengths, ys, n)[0].log_softmax(-1)
    states = [decoder.batch_init_state(hs, lengths)] * 2
    for length in range(3, 8):  # the first three tokens are a prompt
        scores, states = decoder.batch_score(ys[:, :length], states, hs)
        torch.testing.assert_close(scores, whole[:, length - 1], atol=1e-5, rtol=1e-5)


def test_reordered_hypotheses_keep_their_own_past():
    decoder = make(moe={})
    hs, lengths = memory(9, 6)
    ys, _ = prefixes([ASR, ASR, ST, ST], 4)  # two hypotheses an utterance
    state = [decoder.batch_init_state(hs, lengths)] * 4
    _, state = decoder.batch_score(ys, state, hs)
    vocabulary = len(TOKENS)
    best = torch.tensor([[1 * vocabulary + 5, 1 * vocabulary + 4], [0 + 3, vocabulary]])
    rows, new = [1, 1, 2, 3], torch.tensor([5, 4, 3, 0])
    longer = torch.cat([ys[rows], new[:, None]], dim=1)
    scores, _ = decoder.batch_score(longer, decoder.batch_select_state(state, best), hs)
    fresh = [decoder.batch_init_state(hs, lengths)] * 4
    expected, _ = decoder.batch_score(longer, fresh, hs)
    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=1e-5)
    picked = [decoder.select_state(state, row) for row in rows]
    torch.testing.assert_close(
        decoder.batch_score(longer, picked, hs)[0], expected, atol=1e-5, rtol=1e-5
    )


def test_states_in_their_order_are_not_copied():
    decoder = make()
    hs, lengths = memory(5)
    _, state = decoder.batch_score(
        prefixes([ASR, ASR])[0], [decoder.init_state(hs[0])] * 2, hs
    )
    assert gather([(state, 0), (state, 1)]) is state


def test_one_hypothesis_can_be_scored_on_its_own():
    decoder = make(moe={})
    hs, lengths = memory(6)
    ys, n = prefixes([ST])
    scores, state = decoder.score(ys[0, :4], decoder.init_state(hs[0]), hs[0])
    scores, state = decoder.score(ys[0], state, hs[0])
    expected = decoder(hs, lengths, ys, n)[0][0, -1].log_softmax(-1)
    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=1e-5)


def test_activation_checkpointing_changes_no_gradient():
    grads = []
    for layers in ([], [1, 2, 3]):
        decoder = make(
            moe={},
            gradient_checkpoint_layers=layers,
            dropout_rate=0.0,
            positional_dropout_rate=0.0,
        ).train()
        decoder(*memory(9, 6), *prefixes([ST, ASR]))[0].square().sum().backward()
        grads.append([p.grad for p in decoder.parameters()])
    for plain, recomputed in zip(*grads):
        torch.testing.assert_close(plain, recomputed)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"num_block": 2}, "decoder_conf: unknown key .* did you mean 'num_blocks'"),
        ({"input_layer": "conv2d"}, "decoder_conf.input_layer: 'conv2d'"),
    ],
)
def test_a_wrong_option_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SMoETransformerDecoder(12, 16, **options)
