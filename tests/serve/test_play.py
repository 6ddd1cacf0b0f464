"""Playing through a server: the game does not wait, and whatever happens to the server, no key stays down."""

import signal
import threading
import time
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from gi_data.envs.realtime import RealTimeEnvironment
from gi_model.actions import NEUTRAL
from gi_model.errors import ConfigError, ServeError
from gi_model.stepper import Steps
from gi_serve.client import Client, ConnectionLostError, SessionConfig
from gi_serve.play import play_episode
from gi_serve.remote_agent import make_remote_agent
from tests.serve.fake_game import CountingGame
from tests.serve.fake_steppers import EchoStepper
from tests.serve.pictures import paint, read_identity
from tests.serve.serving import serving, serving_elsewhere, wait_until


def test_in_lockstep_every_frame_is_answered_before_the_next() -> None:
    game = CountingGame()
    with serving(EchoStepper()) as running, running.session() as session:
        for seed in (3, 4):
            played = play_episode(game, session, seed=seed)
            assert (played.score, played.ticks, played.num_dropped, session.seed) == (30.0, 30, 0, seed)
            assert [read_identity(state) for state in game.held] == [tick // 2 for tick in range(60)]
            assert len(played.latencies_ms) == 30


class SlowStart(EchoStepper):
    """Three ticks too late with its first answer, quick from then on."""

    def step(self, frames: NDArray[np.uint8], slots: Sequence[int]) -> Steps:
        """Sleep before the first."""
        if not self.batches:
            time.sleep(0.15)
        return super().step(frames, slots)


def test_in_real_time_a_quick_server_plays_the_lockstep_game() -> None:
    game = CountingGame()
    with serving(EchoStepper()) as running, running.session() as session:
        played = play_episode(RealTimeEnvironment(game), session, seed=3)
    assert (played.score, played.ticks) == (30.0, 30)
    assert played.seconds > 1.3
    assert len(played.latencies_ms) + played.num_dropped == 30
    assert game.last_held.keys == {"KeyW"}


def test_in_real_time_one_late_answer_does_not_put_all_later_ones_a_frame_behind() -> None:
    game = CountingGame()
    with serving(SlowStart()) as running, running.session() as session:
        played = play_episode(RealTimeEnvironment(game), session, seed=3)
    assert max(played.latencies_ms) >= 150.0
    seen = [read_identity(state) for state in game.held]
    in_time = [seen[2 * tick + 1] == tick for tick in range(10, 30)]  # held in its tick's second half
    assert sum(in_time) >= 10


def test_in_real_time_a_slow_server_costs_frames_not_time() -> None:
    game = CountingGame()
    with serving(EchoStepper(seconds=0.12)) as running, running.session() as session:
        played = play_episode(RealTimeEnvironment(game), session, seed=3)
    assert played.ticks == 30
    assert 1 <= len(played.latencies_ms) <= 18  # 12 or so if nothing else runs here
    assert min(played.latencies_ms) >= 120.0
    assert len(played.latencies_ms) + played.num_dropped == 30


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_a_server_that_goes_in_the_middle_leaves_no_key_down(end: signal.Signals) -> None:
    game = CountingGame(num_ticks=900)
    clock = RealTimeEnvironment(game)
    with (
        serving_elsewhere() as (process, url),
        Client(url).session(SessionConfig(on_late="hold", resume_s=0.3)) as session,
    ):

        def end_the_server() -> None:
            wait_until(lambda: game.last_held.keys == {"KeyW"})
            process.send_signal(end)

        ending = threading.Thread(target=end_the_server)
        ending.start()
        with pytest.raises(ConnectionLostError, match="released"):
            play_episode(clock, session, seed=1)
        ending.join()
        assert process.wait(10) == (0 if end == signal.SIGTERM else -signal.SIGKILL)
        num_substeps = len(game.held)
        wait_until(lambda: len(game.held) > num_substeps + 1)  # the game goes on
        assert game.last_held == NEUTRAL
        clock.close()


def test_a_server_that_falls_silent_leaves_no_key_down() -> None:
    game, stepper = CountingGame(num_ticks=40), EchoStepper()
    with serving(stepper) as running, running.session(SessionConfig(patience_s=0.2)) as session:

        def fall_silent() -> None:
            wait_until(lambda: game.tick >= 8)
            stepper.seconds = 1.0

        silencing = threading.Thread(target=fall_silent)
        silencing.start()
        clock = RealTimeEnvironment(game)
        play_episode(clock, session, seed=1)
        silencing.join()
    assert game.held[14].keys == {"KeyW"}
    assert NEUTRAL in game.held[20:]


def test_a_server_is_an_agent_of_the_harness() -> None:
    game = CountingGame()
    with serving(EchoStepper()) as running:
        agent = make_remote_agent(running.url, game)
        agent.reset(seed=5)
        assert agent.confidence is None
        assert read_identity(agent.act(paint(77))) == 77
        assert agent.confidence == {"buttons": 0.5, "motion": 0.5, "wheel": 0.5, "keys": 0.5}
        agent.close()
        agent.close()
        with pytest.raises(ServeError):
            agent.act(paint(1))
        wait_until(lambda: not running.engine.sessions)
        game.fps = 35.0
        with pytest.raises(ConfigError, match="rate"):
            make_remote_agent(running.url, game)
        wait_until(lambda: not running.engine.sessions)
    with pytest.raises(ServeError, match="gi serve"):
        make_remote_agent(running.url, game)
