"""Laws of the offline figures: ranks that add up see what one would, and baselines are what they say they are."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gi_model.actions import ActionSpace, InputState
from gi_model.actions.inputs import Gamepad
from gi_model.batch import Batch
from gi_model.decoder import DecoderScore
from gi_train.metrics import evaluate_offline
from gi_train.offline_sums import BINS, OfflineSums, _hash
from tests.model.factories import DEBUG, SPACE, cut, make_policy, random_batch


def states_batch(states: Sequence[InputState], known: Sequence[bool] | None = None) -> Batch:
    """One window that plays `states`."""
    batch = random_batch(1, len(states))
    actions = torch.from_numpy(SPACE.encode_all(states))[None]
    flags = torch.tensor([known]) if known else torch.ones(1, len(states), dtype=torch.bool)
    return replace(batch, actions=actions, known=flags)


def answer(batch: Batch, said: Tensor) -> DecoderScore:
    """A score whose likeliest tokens are `said`, int64 (N, K), each with probability 1/2, of the known ticks."""
    log_probs = torch.full((*said.shape, SPACE.vocabulary_size), -9.0)
    log_probs.scatter_(-1, said[..., None], math.log(0.5))
    nll = -log_probs.gather(-1, batch.actions[batch.known][..., None]).squeeze(-1)
    return DecoderScore(log_probs, nll, nll.sum(-1))


def play(batch: Batch, said: Tensor) -> dict[str, float]:
    sums = OfflineSums(SPACE)
    sums.add(answer(batch, said), batch)
    return sums.values()


def keys(*names: str) -> InputState:
    return InputState(keys=frozenset(names))


W, WA, NONE = keys("KeyW"), keys("KeyW", "KeyA"), keys()


def test_ranks_that_add_up_see_what_one_would() -> None:
    policy, batch = make_policy(), random_batch(6, 5)
    alone = evaluate_offline(policy, [batch])
    ranks = []
    for rows in (slice(0, 1), slice(1, 4), slice(4, 6)):
        sums = OfflineSums(SPACE)
        part = cut(batch, rows)
        with torch.no_grad():
            sums.add(policy.decoder.score(policy.features(part)[part.known], part.actions[part.known]), part)
        ranks.append(sums)
    vectors: list[Tensor] = []
    for sums in ranks:
        sums.reduce(lambda vector: vectors.append(vector) or vector)  # type: ignore[func-returns-value]
    total = torch.stack(vectors).sum(0)
    for sums in ranks:
        sums.reduce(lambda _: total)
        assert sums.values() == pytest.approx(alone, rel=1e-5)


def test_evaluation_leaves_the_policy_as_it_was() -> None:
    policy = make_policy().train()
    evaluate_offline(policy, [random_batch(2, 3)])
    assert policy.training


def test_without_ticks_there_are_no_figures() -> None:
    assert OfflineSums(SPACE).values() == {}
    batch = states_batch([W, W], known=[False, False])
    assert play(batch, batch.actions[batch.known]) == {}


def test_a_perfect_answer_is_perfect_and_copies_nothing() -> None:
    batch = states_batch([W, WA, WA, NONE, W])
    values = play(batch, batch.actions[0])
    assert all(value == 1.0 for name, value in values.items() if name.startswith(("accuracy/", "f1/")))
    assert values["copycat/keys"] == 0.0
    assert values["repeat/keys"] == 1 / 4


def test_a_copycat_is_named() -> None:
    batch = states_batch([W, WA, WA, NONE, W])
    said = torch.cat([batch.actions[0, :1], batch.actions[0, :-1]])
    values = play(batch, said)
    assert values["copycat/keys"] == 1.0
    assert "copycat/wheel" not in values  # the wheel never changed
    assert values["f1/transitions"] == 0.0
    assert values["f1/keys"] == pytest.approx(2 * 4 / (6 + 6))


def test_transitions_count_single_keys() -> None:
    """Pressed A, then released both; the answer only sees W go."""
    batch = states_batch([W, WA, NONE])
    said = torch.from_numpy(SPACE.encode_all([W, W, keys("KeyA")]))
    values = play(batch, said)
    assert values["f1/transitions"] == pytest.approx(2 * 1 / (3 + 1))


def test_pads_and_triggers_are_no_keys() -> None:
    pad = InputState(gamepad=Gamepad(buttons=frozenset({"GamepadEast"}), triggers=(1.0, 0.5)))
    batch = states_batch([pad, pad])
    assert play(batch, batch.actions[0])["f1/keys"] == 1.0
    released = InputState(gamepad=Gamepad(triggers=(1.0, 0.5)))
    assert play(batch, torch.from_numpy(SPACE.encode_all([released, released])))["f1/keys"] == 0.0


def test_unknown_ticks_count_nowhere() -> None:
    batch = states_batch([W, NONE, W, W], known=[True, False, True, True])
    values = play(batch, batch.actions[batch.known])
    assert values["majority/keys"] == 1.0
    assert values["repeat/keys"] == 1.0  # of the one tick whose past is known


@settings(deadline=None, max_examples=25)
@given(plays=st.lists(st.sampled_from([W, WA, NONE]), min_size=1, max_size=40))
def test_majority_and_marginal_are_those_of_the_counts(plays: list[InputState]) -> None:
    batch = states_batch(plays)
    values = play(batch, batch.actions[0])
    counts = Counter(state.keys for state in plays)
    shares = [count / len(plays) for count in counts.values()]
    assert values["majority/keys"] == pytest.approx(max(shares))
    assert values["marginal/keys"] == pytest.approx(-sum(share * math.log(share) for share in shares), abs=1e-9)
    assert values["marginal"] == pytest.approx(values["marginal/keys"], abs=1e-9)  # nothing else ever changes


def test_no_fixed_distribution_has_a_lower_nll_than_the_marginal() -> None:
    rng = np.random.default_rng(0)
    plays = [[W, WA, NONE][index] for index in rng.choice(3, size=200, p=[0.6, 0.3, 0.1])]
    values = play(states_batch(plays), states_batch(plays).actions[0])
    assert values["marginal/keys"] <= -sum(math.log({W: 0.6, WA: 0.3, NONE: 0.1}[state]) for state in plays) / 200


def test_values_of_motion_rarely_share_a_place() -> None:
    """A thousand pairs of motion bins: about as many places as chance leaves."""
    ids = ActionSpace().motion_ids
    pairs = torch.tensor([(ids[x], ids[y]) for x in range(0, 64, 2) for y in range(32)])
    places = _hash(pairs)
    assert 0 <= int(places.min()) <= int(places.max()) < BINS
    assert len(set(places.tolist())) > 0.95 * len(pairs)


def test_figures_of_a_policy_agree_with_its_loss() -> None:
    policy, batch = make_policy(DEBUG.replace(motion_smoothing_bins=0.0)), random_batch(4, 5)
    values = evaluate_offline(policy, [batch])
    with torch.no_grad():
        loss, logs = policy(batch)
    assert values["loss"] == pytest.approx(float(loss), rel=1e-5)
    for name in ("nll", "nll/keys", "nll/motion"):
        assert values[name] == pytest.approx(float(logs[name]), rel=1e-5)
