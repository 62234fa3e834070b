"""The verb ``report``: an evaluation as a page."""

from dataclasses import dataclass
from pathlib import Path

from trailward.cli.flags import Say
from trailward.folders import own_folder, run_of
from trailward.report.page import write_report


@dataclass(frozen=True)
class Report:
    """Turn an evaluation into one HTML page and its pictures."""

    evaluation: Path
    """Folder with evaluation.json and evaluation.npz."""
    out: Path
    """Folder of index.html and the PNG files."""
    reward: Path | None = None
    """The learnt reward's folder, for the loss curve."""

    def run(self, say: Say) -> Path:
        """Write the page and its pictures."""
        with own_folder(self.out, "report", run={"evaluation": run_of(self.evaluation)}):
            page = write_report(self.evaluation, self.out, reward_folder=self.reward)
        say(f"report -> {page}")
        return page
