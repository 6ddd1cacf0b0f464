"""What a policy of each size weighs and costs an action: counted for all, timed on one CPU thread where that is sane.

Every size is timed three ways in the same run: streaming over its cache, the window again from tokens that were kept of
its frames, and the window again from pixels, which is what a server without sessions computes. The weights are random:
nothing here depends on what was learned, except that a trained policy holds few keys and so draws fewer tokens.
Process CPU time, best of several; beside it what this machine's one thread reaches in a plain matrix product and in
reading weights once, the two things a step is made of.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from gi_model.config import PRESETS, PolicyConfig
from gi_model.errors import ConfigError
from gi_model.flops import Flops, count
from gi_model.policy import Policy
from gi_model.sampling import Draw
from gi_model.stepper import Sampling

MAX_TIMED: Final = 250_000_000  # parameters; above, a repetition takes long and weights alone gigabytes
PEER_183M, PEER_71M = "183M", "71M"
SIZES: Final[Mapping[str, PolicyConfig]] = {
    **PRESETS,
    # The sizes at which public peers state their costs, cut as `base` is.
    PEER_71M: PRESETS["base"].replace(
        encoder_dim=384, encoder_layers=2, dim=768, num_layers=9, num_heads=6, num_kv_heads=2
    ),
    PEER_183M: PRESETS["base"].replace(num_layers=14),
}


@dataclass(frozen=True)
class Timing:
    """CPU milliseconds of one action, one thread."""

    stream_ms: float
    from_tokens_ms: float  # the backbone over the whole window, the encoder over the new frame
    from_pixels_ms: float  # both over the whole window


@dataclass(frozen=True)
class SizeCost:
    """One size."""

    name: str
    parameters: dict[str, int]
    gflop: dict[str, float]  # of one step with a full cache, by part
    gflop_critical: float  # from the frame's arrival to the action's tokens
    gflop_all: float
    gflop_training: float  # of one tick, forward and backward, in a window of the model's length
    window_s: float
    cache_mb: float  # keys and values of a session's window in bf16
    timing: Timing | None
    not_timed: str = ""


@dataclass(frozen=True)
class Machine:
    """What one thread reached in the same run."""

    matmul_gflops: float
    read_gb_per_s: float


@dataclass(frozen=True)
class Bar:
    """A public reference, the bar we set ourselves beside it, and where we are. Lower is better."""

    what: str
    reference: str
    limit: float
    ours: float | None

    @property
    def is_met(self) -> bool | None:
        """None: not measured."""
        return None if self.ours is None else self.ours <= self.limit


@dataclass(frozen=True)
class ModelBench:
    """All of it."""

    machine: Machine
    sizes: tuple[SizeCost, ...]
    bars: tuple[Bar, ...]


def run(names: tuple[str, ...] = (), *, timed: bool = True) -> ModelBench:
    """Count, and time, the sizes `names`; all of them if none is named. Raises ConfigError on an unknown one."""
    if unknown := set(names) - set(SIZES):
        raise ConfigError("unknown size", got=", ".join(sorted(unknown)), expected=" | ".join(SIZES))
    with _one_thread():
        machine = _measure_machine()
        sizes = tuple(_cost(name, timed) for name in names or SIZES)
    return ModelBench(machine, sizes, _bars({size.name: size for size in sizes}))


def _cost(name: str, timed: bool) -> SizeCost:
    config = SIZES[name]
    counted = count(config)
    not_timed = _why_not_timed(counted, timed)
    total = counted.streaming.total
    return SizeCost(
        name=name,
        parameters=counted.parameters,
        gflop={part: value / 1e9 for part, value in asdict(counted.streaming).items()},
        gflop_critical=total / 1e9,  # all of it: no work is put off until after the action
        gflop_all=total / 1e9,
        gflop_training=counted.training(config.window_ticks) / 1e9,
        window_s=config.window_ticks / config.fps,
        cache_mb=counted.cache_bytes() / 1e6,
        timing=None if not_timed else _time(config),
        not_timed=not_timed,
    )


def _why_not_timed(counted: Flops, timed: bool) -> str:
    if not timed:
        return "not asked for"
    is_big = counted.num_parameters > MAX_TIMED
    return f"more than {MAX_TIMED / 1e6:.0f} M parameters: minutes and gigabytes" if is_big else ""


def _bars(sizes: Mapping[str, SizeCost]) -> tuple[Bar, ...]:
    """DESIGN.md's numbers to beat."""

    def ours(name: str, number: Callable[[SizeCost], float | None]) -> float | None:
        return number(sizes[name]) if name in sizes else None

    critical = ours(PEER_183M, lambda size: size.gflop_critical)
    return (
        Bar("GFLOP an action, critical path, 183 M", "open-p2p 7.12", 2.3, critical),
        Bar("GFLOP an action, all, 183 M", "open-p2p 9.5, attention in", 4.3, ours(PEER_183M, lambda s: s.gflop_all)),
        Bar("MB of keys and values, 10 s, bf16, 183 M", "open-p2p 98", 25.0, ours(PEER_183M, lambda s: s.cache_mb)),
        Bar(
            "CPU ms an action, one thread, 71 M",
            "VPT-1x 93",
            60.0,
            ours(PEER_71M, lambda size: size.timing.stream_ms if size.timing else None),
        ),
    )


# ---------------------------------------------------------------------- clocks


def _time(config: PolicyConfig) -> Timing:
    torch.manual_seed(0)
    policy = Policy(config).eval()
    window = config.window_ticks
    pixels = torch.randint(0, 256, (window, 3, config.height, config.width), dtype=torch.uint8)
    actions = torch.zeros(window, policy.space.num_tokens, dtype=torch.long)
    known = torch.ones(window, dtype=torch.bool)
    noise = np.random.default_rng(0).random((1, policy.space.num_tokens), dtype=np.float32)
    rule = Draw.of([Sampling()], noise, torch.device("cpu"))
    state, slots = policy.empty_state(1), torch.tensor([0])
    state.ticks.fill_(window)  # from here on every step sees a whole window
    for cache in state.caches:
        cache.keys.normal_(), cache.values.normal_()
    with torch.inference_mode():
        kept = policy.encoder(pixels)

        def again(tokens: Tensor) -> None:
            past = 0 if policy.past is None else policy.past(actions, known)[:, None]
            features = policy.backbone((tokens + past)[None])[:, -1].mean(dim=1)
            policy.decoder.sample(features, rule)

        return Timing(
            stream_ms=_best_ms(lambda: policy.step(pixels[:1], state, slots=slots, rule=rule), 12),
            from_tokens_ms=_best_ms(lambda: again(torch.cat([kept[1:], policy.encoder(pixels[:1])])), 3),
            from_pixels_ms=_best_ms(lambda: again(policy.encoder(pixels)), 2),
        )


def _measure_machine() -> Machine:
    """A product of two squares of 1024, and 400 MB of weights times one vector. float32."""
    square = torch.randn(1024, 1024)
    weights, vector = torch.randn(50, 2048, 1024), torch.randn(1, 1024)
    matmul_ms = _best_ms(lambda: square @ square, 10)
    read_ms = _best_ms(lambda: [F.linear(vector, weight) for weight in weights], 4)
    return Machine(2 * 1024**3 / matmul_ms / 1e6, weights.nbytes / read_ms / 1e6)


def _best_ms(work: Callable[[], object], repetitions: int) -> float:
    """Process CPU time of the best of so many runs, after one that warms up."""
    work()
    times = []
    for _ in range(repetitions):
        start = time.process_time_ns()
        work()
        times.append(time.process_time_ns() - start)
    return min(times) / 1e6


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
