"""The verb ``report``: an evaluation as a page."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from trailward.checkpoint import read_json, readable
from trailward.cli.flags import Say
from trailward.environments import DEFAULT_ENVIRONMENT, find_environment
from trailward.report.page import write_report
from trailward.running.folders import own_folder, run_of


@dataclass(frozen=True)
class Report:
    """Turn an evaluation into one HTML page and its pictures."""

    evaluation: Path
    """Folder with evaluation.json and evaluation.npz."""
    out: Path
    """Folder of index.html and the PNG files."""
    reward: Path | None = None
    """The learnt reward's folder, for the loss curve."""
    environment: Annotated[str | None, tyro.conf.arg(name="env", aliases=["--environment"])] = None
    """The environment, if the evaluation names code of yours ('module:Name'); naming it here allows
    the import of its module."""

    def run(self, say: Say) -> Path:
        """Write the page and its pictures."""
        path = self.evaluation / "evaluation.json"
        if not path.is_file():
            msg = f"{self.evaluation} holds no evaluation.json; make one with 'trailward evaluate'"
            raise FileNotFoundError(msg)
        again = "make it again with 'trailward evaluate'"
        with readable(path, again, wrong="this is no whole evaluation"):
            figures = read_json(path, remedy=again)
            name = self.environment or str(figures.get("environment", DEFAULT_ENVIRONMENT))
        environment = None
        if name != "none":
            environment = find_environment(name, may_import=self.environment is not None)
        with own_folder(self.out, "report", run={"evaluation": run_of(self.evaluation)}):
            page = write_report(
                self.evaluation, self.out, environment=environment, reward_folder=self.reward
            )
        say(f"report -> {page}")
        return page
