"""Packaging. TensorFlow is an extra: requiring it would replace the one that a TPU VM or a Kaggle image already has."""

import re
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
version = re.search(r'__version__ = "(.+)"', (here / "melanoma_tf" / "__init__.py").read_text()).group(1)

EXTRAS = {
    "tf": ["tensorflow>=2.15.1,<2.22"],
    "cpu": ["tensorflow-cpu>=2.15.1,<2.22"],
    "gpu": ["tensorflow[and-cuda]>=2.16,<2.22"],
    "tpu": ["tensorflow-tpu==2.20.0", "libtpu>=0.0.20,<0.0.22"],
    "efficientnet": ["efficientnet==1.1.1"],
    # tensorflow-addons 0.23.0 declares no upper bound, so that pip would pair it with a TensorFlow it cannot import.
    "addons": [
        "tensorflow==2.15.1; python_version < '3.12'",
        "tensorflow-addons==0.23.0; python_version < '3.12'",
        "efficientnet==1.1.1",
    ],
    # One decoder a syntax, all with permissive licences: CharLS, OpenJPEG, GDCM for JPEG of more than 8 bits,
    # libjpeg-turbo 3 for lossless JPEG of 8.
    "dicom": ["pydicom>=3", "pyjpegls>=1.4", "pylibjpeg-openjpeg>=2.3", "python-gdcm>=3.0.24", "simplejpeg>=1.9"],
    "plots": ["matplotlib>=3.7"],
    "beam": ["apache-beam>=2.69"],  # the first one for Python 3.13; with [gcp] of its own for Dataflow and gs://
    # pylibjpeg-libjpeg is under the GPL; the tests alone ask it for a second opinion.
    "dev": [
        "hypothesis>=6", "ipykernel>=6", "jupytext>=1.16", "mypy>=1.10", "nbclient>=0.10",
        "opencv-python-headless>=4.8", "pandas-stubs", "pylibjpeg-libjpeg>=2.2", "pytest>=8", "pytest-cov>=5",
        "pytest-xdist>=3.6", "ruff>=0.6", "types-protobuf",
    ],
}  # fmt: skip

setup(
    name="melanoma_tf",
    version=version,
    description="TensorFlow training for the SIIM-ISIC 2020 melanoma task, with honest intervals",
    long_description=(here / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["melanoma_tf", "melanoma_tf.*", "tfrecord_tools", "tfrecord_tools.*"]),
    install_requires=[
        "absl-py>=1.4", "google-crc32c>=1.5", "numpy>=1.23", "pandas>=1.5", "pillow>=9.5", "protobuf>=4.22",
        "scikit-learn>=1.2", "scipy>=1.9", "simplejpeg>=1.9",
    ],
    extras_require=EXTRAS,
    entry_points={
        "console_scripts": ["melanoma-tf=melanoma_tf.__main__:main", "tfrecord-tools=tfrecord_tools.__main__:main"]
    },
)  # fmt: skip
