"""`python -m gi_serve.bench_serve_echo JOB`: the plain server that ours is measured beside: one policy a process.

What most policy servers are: a WebSocket on asyncio, each message decoded, put through the policy, and answered, one
after another on the event loop. It speaks the same bytes as ours, so the same generator measures it. Nothing else: no
sessions, no batches, no deadlines, no limits.
"""

import asyncio
import json
import struct
import sys
import time
from typing import Any, Final

import numpy as np
import simplejpeg
from websockets.asyncio.server import ServerConnection, serve

from gi_serve.bench_serve_stepper import Answer, see, to_state
from gi_serve.controls import pack_state

_HEADER: Final = struct.Struct("<BBBBIQqHH")
_JPEG: Final = 2


def main() -> None:
    """Serve until killed."""
    asyncio.run(_serve(json.loads(sys.argv[1])))


async def _serve(job: dict[str, Any]) -> None:
    async def play(connection: ServerConnection) -> None:
        async for message in connection:
            assert isinstance(message, bytes)
            await connection.send(answer(message, job["base_s"] + job["per_session_s"]))

    async with serve(play, "127.0.0.1", 0, compression=None, max_size=None) as server:
        print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)  # noqa: T201
        await asyncio.Future()


def answer(message: bytes, seconds: float) -> bytes:
    """The binary action for a binary frame, from a policy that takes `seconds`."""
    _kind, version, codec, _flags, stream_id, seq, capture_ns, width, height = _HEADER.unpack_from(message)
    body = message[_HEADER.size :]
    if codec == _JPEG:
        frame = simplejpeg.decode_jpeg(body, colorspace="RGB")
    else:
        frame = np.frombuffer(body, np.uint8).reshape(height, width, 3)
    if seconds:
        time.sleep(seconds)
    state = pack_state(to_state(Answer(int(see(frame[None])[0]), is_own=True, is_first=False)))
    header = struct.pack("<BBBBIQqIIHBB", 2, version, 0, 0, stream_id, seq, capture_ns, 0, 0, 0, 1, 0)
    return header + state


if __name__ == "__main__":
    main()
