"""Sounds that are no speech, and one that passes for it."""

import numpy as np

from tests.tiny import talk

RATE = 16000


def time(seconds: float) -> np.ndarray:
    return np.arange(int(seconds * RATE)) / RATE


def pink(seconds: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    spectrum = np.fft.rfft(rng.standard_normal(int(seconds * RATE)))
    spectrum /= np.sqrt(np.maximum(np.arange(len(spectrum)), 1))
    wave = np.fft.irfft(spectrum)
    return wave / np.abs(wave).max()


def clicks(seconds: float, a_second: int, seed: int = 0) -> np.ndarray:
    wave = np.zeros(int(seconds * RATE))
    burst = np.random.default_rng(seed).uniform(-1, 1, 400) * np.exp(
        -np.arange(400) / 80
    )
    for start in range(0, len(wave) - len(burst), RATE // a_second):
        wave[start : start + len(burst)] = burst
    return wave


def not_speech(seconds: float = 4.0) -> dict[str, np.ndarray]:
    """Name -> wave ``(samples,)`` float32, full scale 1."""
    t, rng = time(seconds), np.random.default_rng(0)
    white = rng.uniform(-1, 1, len(t))
    on = (t % 1) < 0.4
    sounds = {
        "white": white,
        "pink": pink(seconds),
        "white bursts": white * on,
        "white that begins": white * (t > seconds / 2),
        "white that swells": white * np.abs(np.sin(t)),
        "hum": sum(np.sin(2 * np.pi * 60 * k * t) / k for k in range(1, 12)) / 3,
        "tone 50": np.sin(2 * np.pi * 50 * t),
        "tone 440": np.sin(2 * np.pi * 440 * t),
        "tone 3000": np.sin(2 * np.pi * 3000 * t),
        "beeps": np.sin(2 * np.pi * 1000 * t) * on,
        "siren": np.sin(2 * np.pi * 700 * t + 100 * np.sin(2 * np.pi * t)),
        "clicks": clicks(seconds, 4),
        "many clicks": clicks(seconds, 10),
    }
    found = {
        f"{name} at {db} dB": wave * 10 ** (db / 20)
        for name, wave in sounds.items()
        for db in (-60, -30, -3)
    }
    found["digital zeros"] = np.zeros(len(t))
    found["dither"] = rng.integers(-1, 2, len(t)) / 32768
    found["offset"] = np.full(len(t), 0.3)
    return {name: wave.astype(np.float32) for name, wave in found.items()}


def talks_with_pauses(lengths: list[float], pause: float) -> np.ndarray:
    """Talks with digital silence behind each."""
    parts = []
    for seed, seconds in enumerate(lengths):
        parts += [talk(seconds, seed), np.zeros(int(pause * RATE), np.float32)]
    return np.concatenate(parts)
