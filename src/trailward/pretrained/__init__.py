"""Diffusers that come with the package: small safetensors made by commands of this project."""

from importlib.resources import files
from pathlib import Path

from trailward.checkpoint import CONFIG, CheckpointError

_HERE = Path(str(files(__name__)))


def packaged() -> list[str]:
    """Names of the diffusers in the package."""
    return sorted(path.parent.name for path in _HERE.glob(f"*/{CONFIG}"))


def model_folder(name_or_folder: str) -> Path:
    """The folder of a model: a path that exists, or the name of a packaged diffuser.

    Raises:
        CheckpointError: if it is neither.
    """
    if (Path(name_or_folder) / CONFIG).is_file():
        return Path(name_or_folder)
    if name_or_folder in packaged():
        return _HERE / name_or_folder
    msg = f"'{name_or_folder}' is neither a model folder nor packaged ({', '.join(packaged())})"
    raise CheckpointError(msg)
