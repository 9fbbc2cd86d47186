"""Train a tiny U2++ model with experts on tones, each of which is a letter."""

import argparse

import torch
from espnet2.tasks.asr import ASRTask

import espnet_smoe

TOKENS = ["<blank>", "<unk>", *"abcd", "<sos/eos>"]
WORDS = ("abc", "dab", "cad", "bcd")
EXPERTS = {"gate": "topk", "num_experts": 4, "top_k": 2, "balance_weight": 0.01}
SIZE = {"attention_heads": 2, "linear_units": 32, "num_blocks": 1, "moe": EXPERTS}
CONFIG = {  # as in a YAML file
    "token_list": TOKENS,
    "frontend_conf": {"n_fft": 512, "hop_length": 160, "n_mels": 40},
    "normalize": "utterance_mvn",
    "encoder": "u2pp_conformer",
    "encoder_conf": SIZE | {"output_size": 32},
    "decoder": "u2pp_transformer",
    "decoder_conf": SIZE | {"r_num_blocks": 1},
    "model": "u2pp",
    "model_conf": {"ctc_weight": 0.3, "report_wer": False},
}


def sound(word: str) -> torch.Tensor:
    """A quarter of a second of a tone for each letter, ``(samples,)``."""
    time = torch.arange(4000) / 16000
    tones = [torch.sin(2000 * TOKENS.index(letter) * time) for letter in word]
    return torch.cat(tones)


def main() -> None:
    """Train, then print what CTC finds."""
    espnet_smoe.register()
    torch.manual_seed(0)
    options = ASRTask.get_default_config() | CONFIG
    model = ASRTask.build_model(argparse.Namespace(**options))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    speech = torch.stack([sound(word) for word in WORDS])  # (B, samples)
    text = torch.tensor([[TOKENS.index(letter) for letter in w] for w in WORDS])
    batch = {"speech": speech, "text": text}  # (B, 3)
    batch |= {f"{k}_lengths": torch.full((4,), v.shape[1]) for k, v in batch.items()}
    for step in range(151):
        loss, stats, _ = model(**batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 50 == 0:
            print(f"step {step}: loss {loss.item():.2f}, {stats['acc'].item():.0%}")
    with torch.inference_mode():
        encoded, _ = model.eval().encode(speech, batch["speech_lengths"])
        for word, ids in zip(WORDS, model.ctc.argmax(encoded)):
            print(f"{word}:", "".join(TOKENS[i] for i in ids.unique_consecutive() if i))


if __name__ == "__main__":
    main()
