"""Steps in captured graphs play what single steps play. The capture itself needs a GPU; all around it does not."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from gi_model.errors import ConfigError
from gi_model.graphed_step import GraphedStep, Outputs, Replay
from gi_model.policy import Policy
from gi_model.policy_stepper import PolicyStepper
from gi_model.sampling import Draw
from gi_model.stepper import Sampling
from tests.model.factories import DEBUG, SPACE, make_policy, random_frames


class RecordedCapture:
    """Stands in for a CUDA graph: warms up as one, then runs the same step over the same tensors at each replay."""

    def __init__(self) -> None:
        self.num_captures = 0

    def __call__(self, run: Callable[[], Outputs]) -> Replay:
        self.num_captures += 1
        tokens, probs = run()

        def replay() -> Outputs:
            for own, new in zip((tokens, probs), run(), strict=True):
                own.copy_(new)
            return tokens, probs

        return torch.inference_mode()(replay)


def draws(rules: list[Sampling], tick: int, device: str = "cpu") -> Draw:
    noise = np.random.default_rng(tick).random((len(rules), SPACE.num_tokens), dtype=np.float32)
    return Draw.of(rules, noise, torch.device(device))


PLAYS = [  # slots and rule of each tick: rows come, go, and change how they are drawn
    ([0], Sampling()),
    ([2, 0, 1], Sampling()),
    ([1, 2, 0], Sampling(temperature=2.0, top_p=0.8)),
    ([0, 1], Sampling(keys="mode")),
    ([2, 1, 0], Sampling()),
    ([1], Sampling()),
]


def assert_same_play(policy: Policy, graphed: GraphedStep, device: str = "cpu") -> None:
    state = policy.empty_state(3)
    for tick, (slots, rule) in enumerate(PLAYS):
        frames = random_frames(len(slots), seed=tick).to(device)
        index, rules = torch.tensor(slots, device=device), draws([rule] * len(slots), tick, device)
        tokens, probs, _ = policy.step(frames, state, slots=index, rule=rules)
        again, again_probs = graphed(frames, slots=index, rule=rules)
        assert (tokens == again).all()
        torch.testing.assert_close(again_probs, probs, atol=1e-4, rtol=1e-4)


def test_padded_steps_play_what_single_steps_play_and_kinds_are_captured_once() -> None:
    policy, capture = make_policy(), RecordedCapture()
    graphed = GraphedStep(policy, policy.empty_state(4), capture=capture)
    assert_same_play(policy, graphed)
    assert capture.num_captures == graphed.num_graphs == 4  # 1 row; 4 rows; 4 rows with top-p; 2 rows by mode


def test_results_are_the_callers_own() -> None:
    policy = make_policy()
    graphed = GraphedStep(policy, policy.empty_state(3), capture=RecordedCapture())
    first, _ = graphed(random_frames(1), slots=torch.tensor([0]), rule=draws([Sampling()], 0))
    kept = first.clone()
    graphed(random_frames(1, seed=9), slots=torch.tensor([1]), rule=draws([Sampling(motion="mode")], 5))
    assert (first == kept).all()


def test_without_a_gpu_it_says_so() -> None:
    policy = make_policy()
    with pytest.raises(ConfigError, match="CUDA graphs need a GPU"):
        GraphedStep(policy, policy.empty_state(2))
    with pytest.raises(ConfigError, match="CUDA graphs need a GPU"):
        PolicyStepper(policy, num_slots=2).use_graphs()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("fuse", [False, True])
def test_a_captured_step_plays_what_the_eager_one_plays(fuse: bool) -> None:
    policy = make_policy(DEBUG).to("cuda")
    graphed = GraphedStep(policy, policy.empty_state(4), fuse=fuse)
    assert_same_play(policy, graphed, "cuda")
