"""The corpus: play, record, shard, index, read."""
