"""The verb ``export``: a reward as one file for PyTorch alone."""

from dataclasses import dataclass
from pathlib import Path

from trailward.cli.flags import Say
from trailward.errors import DataError, SettingsError
from trailward.interop.exported import export_reward
from trailward.learning.learnt_reward import LearntReward
from trailward.running.folders import own_file


@dataclass(frozen=True)
class Export:
    """Write a learnt reward as one file that PyTorch runs without trailward."""

    reward: Path
    """The learnt reward's folder."""
    out: Path
    """The file, ending in .pt2."""
    pessimistic: bool = False
    """Write the form to train agents on: wherever there was no data, the least reward of it."""
    allow_import: bool = False
    """Whether a part named module:Name in a folder may import its module, which executes it."""

    def run(self, say: Say) -> Path:
        """Write a learnt reward as one file.

        Raises:
            SettingsError: if it cannot be told step by step.
            DataError: if it cannot be pessimistic, for no play data was there.
        """
        learnt = LearntReward.load(self.reward, allow_import=self.allow_import)
        try:
            learnt.check_of_transitions()
            learnt = learnt.pessimistic() if self.pessimistic else learnt
        except DataError as error:
            raise error.within(self.reward) from None
        except TypeError as error:
            msg = f"{self.reward}: {error}"
            raise SettingsError(msg, place="--reward", value=str(self.reward)) from None
        with own_file(self.out):
            path = export_reward(learnt, self.out)
        say(f"exported reward -> {path}")
        return path
