import numpy as np
import pytest
from diffusers import DDPMScheduler

from refusals import refused
from trailward.diffusion.schedule import Move, NoiseSchedule, cosine_schedule
from trailward.errors import SettingsError


@pytest.mark.parametrize("num_steps", [4, 20, 64, 256])
def test_the_cosine_schedule_equals_that_of_diffusers(num_steps: int) -> None:
    theirs = DDPMScheduler(num_steps, beta_schedule="squaredcos_cap_v2").alphas_cumprod
    ours = cosine_schedule(num_steps).alpha_bars
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-5, atol=1e-7)


def test_signal_falls_from_almost_one_to_almost_nothing() -> None:
    signals = np.array(cosine_schedule(64).alpha_bars)
    assert (np.diff(signals) < 0).all()
    assert signals[0] > 0.99
    assert 0 < signals[-1] < 1e-3


def test_a_schedule_of_one_step_is_allowed() -> None:
    assert cosine_schedule(1).num_steps == 1


def test_a_schedule_without_steps_is_refused() -> None:
    with refused(SettingsError, place="num_steps", value=0, remedy="at least 1"):
        cosine_schedule(0)


@pytest.mark.parametrize("num_moves", [1, 2, 3, 7, 19, 20])
def test_moves_go_from_the_noisiest_step_to_the_clean_end_without_a_gap(num_moves: int) -> None:
    schedule = cosine_schedule(20)
    moves = schedule.moves(num_moves)
    steps = [move.step for move in moves]
    assert len(moves) == num_moves
    assert steps[0] == 19
    assert steps == sorted(set(steps), reverse=True)
    assert moves[-1].alpha_bar_next == 1
    assert [m.alpha_bar for m in moves] == [schedule.alpha_bars[step] for step in steps]
    assert [m.alpha_bar_next for m in moves[:-1]] == [m.alpha_bar for m in moves[1:]]


def test_as_many_moves_as_steps_visit_every_step() -> None:
    assert [move.step for move in cosine_schedule(9).moves(9)] == [8, 7, 6, 5, 4, 3, 2, 1, 0]


@pytest.mark.parametrize("num_moves", [0, -1, 21])
def test_a_number_of_moves_outside_the_schedule_is_refused(num_moves: int) -> None:
    with refused(SettingsError, place="num_moves", value=num_moves, remedy="1 to 20"):
        cosine_schedule(20).moves(num_moves)


def test_the_powers_of_a_move_are_those_of_the_paper() -> None:
    betas = [0.1, 0.3, 0.5]
    schedule = NoiseSchedule((0.9, 0.9 * 0.7, 0.9 * 0.7 * 0.5))
    for step, move in enumerate(reversed(schedule.moves(3))):
        before = schedule.alpha_bars[step - 1] if step else 1.0
        variance = (1 - before) / (1 - schedule.alpha_bars[step]) * betas[step]
        assert move.beta == pytest.approx(betas[step])
        assert move.posterior_variance == pytest.approx(variance)


def test_the_last_move_adds_no_noise() -> None:
    assert Move(0, 0.99, 1.0).posterior_variance == 0
