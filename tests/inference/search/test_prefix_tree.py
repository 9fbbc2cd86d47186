"""A tree of prefixes is decoded as each of its texts would be."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from espnet_smoe.decoder.transformer import SMoETransformerDecoder
from espnet_smoe.inference.search.prefix_tree import PrefixTree, decode_trees

V, D, SOS = 12, 16, 11
texts = st.lists(st.lists(st.integers(1, 3), max_size=6).map(tuple), max_size=6)


@given(texts)
def test_there_is_one_node_a_prefix_and_its_path_is_the_prefix(texts):
    tree = PrefixTree.of(texts)
    prefixes = {text[:n] for text in texts for n in range(len(text) + 1)} | {()}
    assert len(tree) == len(prefixes)
    paths = tree.paths(len(tree) + 2)
    assert paths[len(tree) :].sum() == 2  # padding sees itself: no row is empty
    for text, end in zip(texts, tree.ends, strict=True):
        nodes = paths[end].nonzero()[0]  # parents come before their children
        assert [tree.depths[node] for node in nodes] == list(range(len(text) + 1))
        assert tuple(tree.tokens[node] for node in nodes[1:]) == text


@pytest.mark.parametrize("normalize_before", [True, False])
@pytest.mark.parametrize("concat_after", [True, False])
@pytest.mark.parametrize("moe", [None, {"gate": "topk", "num_experts": 3}])
def test_every_kind_of_layer_decodes_a_tree(normalize_before, concat_after, moe):
    torch.manual_seed(0)
    decoder = SMoETransformerDecoder(
        V,
        D,
        attention_heads=2,
        linear_units=32,
        num_blocks=2,
        normalize_before=normalize_before,
        concat_after=concat_after,
        qk_norm=True,
        moe=moe,
    ).eval()
    lists = [[(5, 6, 7), (5, 8), (5, 6, 9, 9)], [(3,)]]
    x, lengths = torch.randn(2, 9, D), torch.tensor([9, 4])
    trees = [PrefixTree.of(texts) for texts in lists]
    with torch.no_grad():
        hidden = decode_trees(decoder, x, lengths, trees, SOS)
        for b, (texts, tree) in enumerate(zip(lists, trees)):
            for text, end in zip(texts, tree.ends):
                ys = torch.tensor([[SOS, *text]])
                sizes = lengths[b, None], torch.tensor([ys.size(1)])
                heard = x[b, None, : lengths[b]]
                out, _ = decoder(heard, sizes[0], ys, sizes[1], return_hs=True)
                torch.testing.assert_close(hidden[b, end], out[1][0, -1])
