"""What a model says of an utterance does not depend on its batch."""

import torch

from espnet_smoe.inference.batch_encoder import BatchEncoder
from espnet_smoe.inference.checkpoint import load_model, read_config
from tests.tiny import noise, save_experiment, tiny_ctc_config

TOKENS = ["<blank>", "<unk>", "hao3", "ma5", "ni3", "<sos/eos>"]


def test_a_batch_is_encoded_as_each_alone(tmp_path):
    config, model = save_experiment(tmp_path, tiny_ctc_config(TOKENS))
    encoder = BatchEncoder(load_model(read_config(config), model))
    waves = [noise(0.5 + 0.2 * i, seed=i) for i in range(4)]
    together, frames = encoder(waves)
    for wave, encoded, size in zip(waves, together, frames):
        (alone,), (alone_size,) = encoder([wave])
        assert size == alone_size
        torch.testing.assert_close(encoded[:size], alone, atol=1e-4, rtol=0)
