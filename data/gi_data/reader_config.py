"""`ReaderConfig`: how a corpus is read, and which of it fixes the order of windows."""

import math
from dataclasses import dataclass

from gi_data.order import LANES
from gi_model.actions.inputs import MAX_COMMANDS
from gi_model.errors import ConfigError

TRAIN = "train"


@dataclass(frozen=True, slots=True)
class ReaderConfig:
    """How to read. batch_size: windows of a global batch, over all ranks. block_mb: decoded RGB shuffled together.

    num_commands: how many commands of direct actuators each tick is to bring; 0: batches carry none.
    temperature: games and corpora share windows by hours^(1 / temperature), infinity: alike (see `Blend`).

    Split "train" is endless, shifted, and shared out; any other is one pass in a fixed order, its last batch padded
    with windows of which nothing is known. Size, window, split, seed, block_mb, temperature, and the corpora's weights
    fix the order; the rest may change between a stop and a resume.
    """

    height: int
    width: int
    window_ticks: int = 8
    batch_size: int = 20
    split: str = "train"
    seed: int = 0
    rank: int = 0
    world_size: int = 1
    temperature: float = math.inf
    block_mb: int = 384
    cache_mb: int = 1024
    max_bad_clips: int = 16
    decode_threads: int = 2
    prefetch_batches: int = 4
    num_commands: int = 0

    def __post_init__(self) -> None:
        positive = ("height", "width", "window_ticks", "batch_size", "block_mb", "decode_threads", "prefetch_batches")
        for name in positive:
            if getattr(self, name) < 1:
                raise ConfigError(f"reader's {name} out of range", got=getattr(self, name), expected="1 or more")
        if not 0 <= self.num_commands <= MAX_COMMANDS:
            raise ConfigError("number of commands", got=self.num_commands, expected=f"0 to {MAX_COMMANDS}")
        if self.seed < 0:
            raise ConfigError("seed out of range", got=self.seed, expected="0 or more")
        if not 0 <= self.rank < self.world_size:
            raise ConfigError("no such rank", got=self.rank, expected=f"0 to {self.world_size - 1}")
        if self.batch_size % self.world_size:
            expected, do = f"a multiple of {self.world_size} ranks", "Change --batch-size."
            raise ConfigError("batch cannot be shared equally", got=self.batch_size, expected=expected, do=do)
        if not self.temperature > 0:
            raise ConfigError("temperature out of range", got=self.temperature, expected="above 0; inf: all alike")
        if self.cache_mb < 2 * self.block_mb // math.gcd(self.world_size, LANES):
            got, expected = f"{self.cache_mb} MB for blocks of {self.block_mb} MB", "room for this rank's part of two"
            raise ConfigError("cache is too small", got=got, expected=expected, do="Raise cache_mb or lower block_mb.")
