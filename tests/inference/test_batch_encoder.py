"""What a model says of an utterance does not depend on its batch."""

import numpy as np

from espnet_smoe.inference.batch_encoder import BatchEncoder
from espnet_smoe.inference.checkpoint import load_model, read_config
from tests.tiny import noise, save_experiment, tiny_ctc_config

TOKENS = ["<blank>", "<unk>", "hao3", "ma5", "ni3", "<sos/eos>"]


def test_log_probabilities_of_a_batch_are_those_of_each_alone(tmp_path):
    config, model = save_experiment(tmp_path, tiny_ctc_config(TOKENS))
    encoder = BatchEncoder(load_model(read_config(config), model))
    waves = [noise(0.5 + 0.2 * i, seed=i) for i in range(4)]
    together = encoder.log_probs(*encoder(waves))
    for wave, of_one in zip(waves, together):
        (alone,) = encoder.log_probs(*encoder([wave]))
        np.testing.assert_allclose(of_one, alone, atol=1e-4)
        assert (of_one.argmax(axis=1) == alone.argmax(axis=1)).all()
