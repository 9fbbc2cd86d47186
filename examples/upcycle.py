"""A dense encoder becomes a mixture that computes the same, until it is trained."""

import torch

from espnet_smoe.encoder.transformer import SMoETransformerEncoder
from espnet_smoe.moe.upcycle import upcycle

SIZES = {
    "output_size": 32,
    "attention_heads": 2,
    "linear_units": 64,
    "num_blocks": 2,
    "input_layer": "linear",
}
LABELS = ["<wb>", "<nb>"]


def main() -> None:
    """Copy the weights and compare the outputs."""
    torch.manual_seed(0)
    dense = SMoETransformerEncoder(20, **SIZES).eval()
    mixture = SMoETransformerEncoder(
        20, **SIZES, moe={"gate": "label", "labels": LABELS}
    ).eval()
    result = upcycle(dense.state_dict(), mixture.state_dict())
    mixture.load_state_dict(result.state)
    print(result.describe())

    labels = mixture.labels.bind(LABELS)  # where they are in the list of tokens
    x, lengths = torch.randn(3, 40, 20), torch.tensor([40, 30, 20])
    with torch.inference_mode():
        before, _, _ = dense(x, lengths)
        routing = labels.route(torch.tensor([0, 1, 0]), lengths=lengths)
        after, _, _ = mixture(x, lengths, routing=routing)
    print(f"largest difference: {(after - before).abs().max():.1e}")


if __name__ == "__main__":
    main()
