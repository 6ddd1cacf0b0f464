"""`GraphedStep`: `Policy.step` on a GPU as one launch: CUDA graphs over fixed shapes, one a number of rows.

A step of one stream is a thousand small kernels; launched one by one they take longer than they run. Rows are padded to
the next power of two with copies of the last that play in a spare slot of the state, so a few graphs serve any batch.
What changes the kernels themselves, such as whether some row samples with top-p, is part of a graph's key: a graph is
captured when its kind of step is first asked for. Results are those of `Policy.step`.

B rows, K slots of an action.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

from gi_model.adapter_bank import AdapterBank
from gi_model.errors import ConfigError
from gi_model.policy import Policy, PolicyState
from gi_model.sampling import Draw

Outputs = tuple[Tensor, Tensor]  # tokens int64 (B, K) and their probabilities float (B, K)
Replay = Callable[[], Outputs]
Capture = Callable[[Callable[[], Outputs]], Replay]

WARM_UPS = 3  # runs before a capture, in which libraries choose kernels and allocate


@dataclass(frozen=True)
class StepInputs:
    """What a step reads, at addresses that stay: frames uint8 (B, 3, H, W), slots int64 (B,), and the rule.

    adapters: int64 (B,), of an `AdapterBank`; None: every row plays with the base.
    """

    frames: Tensor
    slots: Tensor
    rule: Draw
    adapters: Tensor | None = None


class GraphedStep:
    """Steps of one policy over one state, whose last slot is spare. bank: of the adapters that rows may play with."""

    def __init__(
        self,
        policy: Policy,
        state: PolicyState,
        *,
        bank: AdapterBank | None = None,
        fuse: bool = False,
        capture: Capture | None = None,
    ) -> None:
        """fuse: compile the step first (torch.compile, minutes). Raises ConfigError where there is no GPU."""
        if capture is None and state.ticks.device.type != "cuda":
            do = "Play without graphs there; on a CPU nothing is launched."
            raise ConfigError("CUDA graphs need a GPU", got=state.ticks.device, expected="cuda", do=do)
        self._state, self._capture, self._bank = state, capture or capture_cuda, bank or AdapterBank(policy)
        self._step = torch.compile(policy.step, dynamic=False) if fuse else policy.step
        self.is_fused = fuse
        self._graphs: dict[Hashable, tuple[StepInputs, Replay]] = {}

    @property
    def num_graphs(self) -> int:
        """Kinds of step captured so far."""
        return len(self._graphs)

    def __call__(self, frames: Tensor, *, slots: Tensor, rule: Draw, adapters: Tensor | None = None) -> Outputs:
        """Play one tick of the streams in `slots`, which are distinct and not the spare one; see `Policy.step`."""
        num_rows = len(frames)
        padded = self._padded(StepInputs(frames, slots, rule, adapters), num_rows)
        kind = kind_of(padded)
        if kind not in self._graphs:
            self._graphs[kind] = self._captured(padded)
        inputs, replay = self._graphs[kind]
        copy_tensors(padded, inputs)
        tokens, probs = replay()
        return tokens[:num_rows].clone(), probs[:num_rows].clone()

    def _padded(self, inputs: StepInputs, num_rows: int) -> StepInputs:
        """Filled up to a power of two: the last row again, in the spare slot."""
        num_more = (1 << (num_rows - 1).bit_length()) - num_rows
        spare = torch.full((num_more,), len(self._state.ticks) - 1, device=inputs.slots.device)
        slots = torch.cat([inputs.slots, spare])

        def repeat(tensor: Tensor) -> Tensor:
            return torch.cat([tensor, tensor[-1:].expand(num_more, *tensor.shape[1:])])

        adapters = None if inputs.adapters is None else repeat(inputs.adapters)
        return StepInputs(repeat(inputs.frames), slots, map_tensors(inputs.rule, repeat), adapters)

    def forget_adapters(self) -> None:
        """Drop the graphs of steps with adapters: the bank has moved what they read. Those of the base stay."""
        self._graphs = {kind: graph for kind, graph in self._graphs.items() if graph[0].adapters is None}

    def _captured(self, inputs: StepInputs) -> tuple[StepInputs, Replay]:
        """Capture over copies of `inputs`; warming up plays in the spare slot, so that no stream moves."""
        own: StepInputs = map_tensors(inputs, torch.clone)
        own.slots.fill_(len(self._state.ticks) - 1)

        def run() -> Outputs:
            with self._bank.playing(own.adapters):
                tokens, probs, _ = self._step(own.frames, self._state, slots=own.slots, rule=own.rule)
            return tokens, probs

        return own, self._capture(run)


def capture_cuda(run: Callable[[], Outputs]) -> Replay:
    """Record `run` as a CUDA graph. The replay leaves its results where `run` left them."""
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UPS):
            run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # other models go on meanwhile, in their threads
        outputs = run()

    def replay() -> Outputs:
        graph.replay()
        return outputs

    return replay


# ---------------------------------------------------------------------- dataclasses of tensors


def kind_of(value: Any) -> Hashable:
    """Everything of `value` that is not a tensor's content: shapes, types, flags, what is None."""
    if isinstance(value, Tensor):
        return tuple(value.shape), value.dtype
    return tuple(kind_of(getattr(value, field.name)) for field in fields(value)) if is_dataclass(value) else value


def map_tensors(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """A copy of a dataclass with every tensor in it changed."""
    if isinstance(value, Tensor):
        return change(value)
    if not is_dataclass(value) or isinstance(value, type):
        return value
    return type(value)(**{field.name: map_tensors(getattr(value, field.name), change) for field in fields(value)})


def copy_tensors(source: Any, target: Any) -> None:
    """Copy every tensor of `source` into that of `target`, which is of the same kind."""
    if isinstance(source, Tensor):
        target.copy_(source, non_blocking=True)
    elif is_dataclass(source):
        for field in fields(source):
            copy_tensors(getattr(source, field.name), getattr(target, field.name))
