"""`Stop`: SIGTERM or Ctrl-C asks for it, all ranks agree on it, and nobody leaves alone.

A rank that left by itself would hang the others in their next collective. Its flag rides on the sum that every step
makes anyway (`gi_train.pretrain`), and is agreed on between batches of an evaluation.
"""

import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

import torch

from gi_model.batch import Batch
from gi_train.parallel import Parallel


@dataclass
class Stop:
    """Finish the step, save, leave."""

    asked: bool = False  # on this rank
    agreed: bool = False  # on all
    signals: tuple[int, ...] = field(default=(signal.SIGTERM, signal.SIGINT))

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Catch the signals inside; a second one of a kind acts as it always did."""
        before = {number: signal.getsignal(number) for number in self.signals}

        def ask(number: int, frame: FrameType | None) -> None:
            del frame
            self.asked = True
            signal.signal(number, before[number])

        for number in self.signals:
            signal.signal(number, ask)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def before_each(self, batches: Iterable[Batch], parallel: Parallel) -> Iterator[Batch]:
        """The batches, on the device, until a stop is agreed on."""
        for batch in batches:
            self.agreed = bool(parallel.sum(torch.tensor(float(self.asked))) > 0)
            if self.agreed:
                return
            yield batch.to(parallel.device, non_blocking=True)
