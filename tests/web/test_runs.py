"""Runs on the page: of any environment that renders, with a reward that was learnt before."""

import base64
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from refusals import refused
from tiny import tiny_diffuser, tiny_reward
from trailward.data.plan import PlanSpec
from trailward.web import running
from trailward.web.boards import SHOWN, Board
from trailward.web.worker import Control


class Dimmer(gymnasium.Env):
    """Two lights that actions dim; it renders how bright they are, and rewards the first."""

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012
    observation_space = gymnasium.spaces.Box(-9, 9, (2,))
    action_space = gymnasium.spaces.Box(-1, 1, (2,))

    def __init__(self, render_mode: str | None = None, height: int = 1, width: int = 1) -> None:
        self.render_mode, self.size, self.lights = render_mode, (height, width), np.zeros(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self.lights = np.zeros(2)
        return self.lights.astype(np.float32), {}

    def step(self, action: np.ndarray) -> Any:
        self.lights = np.clip(self.lights + 0.1 * action, -9, 9)
        return self.lights.astype(np.float32), float(self.lights[0]), False, False, {}

    def render(self) -> Any:
        return np.full((*self.size, 3), int(20 * abs(self.lights[0])), np.uint8)


gymnasium.register("Dimmer-v0", lambda **given: Dimmer(**given))


@pytest.fixture
def shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Control, Path]:
    """A server's folder that knows a reward of the dimmer."""
    monkeypatch.setattr(running, "_STEPS", 12)
    diffuser = tiny_diffuser(PlanSpec(4, 2, 2, 2, with_actions=False))
    diffuser.save(tmp_path / "diffuser")
    facts = {
        "demonstrations": {"environment": "Dimmer-v0"},
        "diffuser": str(tmp_path / "diffuser"),
    }
    replace(tiny_reward(diffuser), provenance=facts).save(tmp_path / "bright")
    root = tmp_path / "out"
    root.mkdir()
    (root / SHOWN).write_text(json.dumps({"bright": str(tmp_path / "bright")}))
    return Control(root, lambda message: None), root


def test_a_saved_reward_is_shown_where_its_environment_renders(shown: tuple[Control, Path]) -> None:
    control, root = shown
    board = Board(root, running.show(control, "", shown="bright")["board"])
    found = running.race(control, board.name)
    assert (found["of"], found["time_step"]) == ("Dimmer-v0", 0.1)
    assert [run["name"] for run in found["runs"]] == ["unguided", "learnt"]
    for run in found["runs"]:
        assert (len(run["frames"]), len(run["true"]), len(run["learnt"])) == (13, 12, 12)
        picture = run["frames"][-1]["picture"].partition(",")[2]
        assert base64.b64decode(picture)[:3] == b"\xff\xd8\xff"
    assert board.read("reward/page.json") == found


def test_only_what_the_server_was_given_is_shown(shown: tuple[Control, Path]) -> None:
    control, _ = shown
    for name in ("../bright", str(shown[1].parent / "bright"), "dark"):
        with refused(place="shown", value=name, remedy="serve --show"):
            running.show(control, "", shown=name)
    with refused(place="environment", value="Dimmer-v0"):
        running.show(control, "", environment="Dimmer-v0")


def test_a_reward_that_names_code_imports_nothing(shown: tuple[Control, Path]) -> None:
    control, root = shown
    config = root.parent / "bright" / "config.json"
    config.write_text(config.read_text().replace("Dimmer-v0", "antigravity:Dimmer-v0"))
    board = running.show(control, "", shown="bright")["board"]
    with refused(place="environment", value="antigravity:Dimmer-v0", remedy="trailward report"):
        running.race(control, board)
    assert "antigravity" not in sys.modules
