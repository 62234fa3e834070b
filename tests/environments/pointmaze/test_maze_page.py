"""A maze as the page draws it: a line becomes what the ball does that follows it."""

import numpy as np
import pytest

from refusals import refused
from trailward.environments import find_environment
from trailward.environments.page import levels_of
from trailward.environments.pointmaze.environment import PointMaze
from trailward.environments.pointmaze.page import MazeGround

GROUND = MazeGround(PointMaze("umaze"))


def test_the_ball_follows_a_line_to_its_end() -> None:
    followed = GROUND.follow(np.array([(-1, -1), (1, -1), (1, 1.0)]))
    assert (followed.why, followed.at) == (None, None)
    assert followed.episode.observations.shape == (301, 4)
    assert np.abs(followed.episode.observations[-1, :2] - [1, 1]).max() < 0.35


def test_a_line_through_a_wall_is_followed_up_to_it() -> None:
    followed = GROUND.follow(np.array([(1, -1), (-1, -1), (-1, 1.0)]))
    assert followed.why is not None
    assert "runs into a wall" in followed.why
    assert followed.at is not None
    assert followed.at == pytest.approx([-1, -0.6], abs=0.15)


@pytest.mark.parametrize(
    ("line", "value", "remedy"),
    [
        ([(-1, 0), (1, 0)], (-1, 0), "free place"),
        ([(1, -1), (1, -0.9)], pytest.approx(0.1), "at least half a cell"),
    ],
)
def test_a_line_that_cannot_be_followed_is_refused(
    line: list[tuple[float, float]], value: object, remedy: str
) -> None:
    with refused(place="line", value=value, remedy=remedy):
        GROUND.follow(np.array(line, dtype=float))


def test_nothing_starts_inside_a_wall_and_places_are_told_by_cell() -> None:
    assert GROUND.start(np.array([1.0, 0.0])).tolist() == [1, 0, 0, 0]
    for place in [(-1.0, 0.0), (9.0, 0.0)]:
        with refused(place="place", value=place, remedy="free place"):
            GROUND.start(np.array(place))
    assert GROUND.say_where(np.array([1.0, 0.0])) == "row 2, column 3"
    paths = np.array([[(-1, -1), (1, -1)], [(-1, -1), (-1, 1)]], dtype=float)
    assert GROUND.touches(paths).tolist() == [False, True]


def test_what_the_page_can_show_is_known_by_the_contract() -> None:
    painted = PointMaze("11111/10001/10101/11111").ground()
    assert (painted.model, painted.name, painted.episode_steps) == (None, "maze", 160)
    with refused(place="maze", value=(5, 26), remedy="at most 24 by 24"):
        PointMaze("/".join(["1" * 26, *["1" + "0" * 24 + "1"] * 3, "1" * 26])).ground()
    assert find_environment("maze").exhibit() is None
    assert find_environment("HalfCheetah-v5").ground() is None
    exhibit = find_environment("HalfCheetah-v5").exhibit()
    assert exhibit is not None
    assert exhibit.model == "halfcheetah_mixture"


def test_levels_go_from_1_to_255_and_are_0_where_a_map_is_blank() -> None:
    import base64

    found = levels_of(np.array([[0.0, np.nan], [1.0, 2.0]]), (0, 1, 0, 1))
    assert list(base64.b64decode(found["levels"])) == [1, 0, 128, 255]
    assert (found["low"], found["high"]) == (0, 2)
