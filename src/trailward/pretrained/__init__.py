"""Models that come with the package, so that nobody has to train for an hour before a first plan.

Each folder's ``config.json`` holds the command, the seed and the versions it was made with.

- ``umaze``, ``large``: diffusers of the mazes' play data, of the presets of these names, the demo
  and the page (``make pretrained``);
- ``halfcheetah_mixture``, ``halfcheetah_play``: diffusers of roll-outs with the demonstrator's and
  without them, of the preset ``halfcheetah`` and of both regimes without a demonstrator in play
  (``make pretrained-halfcheetah``);
- ``halfcheetah_policies``: the policies those roll-outs are by (``make pretrained-policies``).
"""

import json
from importlib.resources import files
from pathlib import Path

from trailward.checkpoint import CONFIG, CheckpointError

_HERE = Path(str(files(__name__)))


def packaged(kind: str = "diffuser") -> list[str]:
    """Names of the diffusers in the package, or of models of another kind."""
    configs = {
        path.parent.name: path.read_text(encoding="utf-8") for path in _HERE.glob(f"*/{CONFIG}")
    }
    return sorted(name for name, text in configs.items() if json.loads(text)["kind"] == kind)


def model_folder(name_or_folder: str, kind: str = "diffuser") -> Path:
    """The folder of a model: a path that exists, or the name of a packaged one.

    Args:
        name_or_folder: a path or a name.
        kind: of the packaged model; a folder's is checked when it is loaded.

    Raises:
        CheckpointError: if it is neither.
    """
    folder = Path(name_or_folder).expanduser()
    if (folder / CONFIG).is_file():
        return folder
    if name_or_folder in packaged(kind):
        return _HERE / name_or_folder
    msg = f"'{name_or_folder}' is neither a model folder nor packaged"
    remedy = f"give a folder, or one of {', '.join(packaged(kind))}"
    raise CheckpointError(msg, place=name_or_folder, remedy=remedy)
