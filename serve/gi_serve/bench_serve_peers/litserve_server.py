"""Serves the benchmark's policy with LitServe, as its documentation shows: a LitAPI, JSON in and out, batches.

Job: {"port", "base_s", "per_session_s", "batch"}. A request is {"data": base64 of a binary frame}, its answer the same
of a binary action. Ends with a line on stderr where the package is not there.
"""

import base64
import json
import struct
import sys
import time
from typing import Any

import numpy as np

try:
    import litserve  # type: ignore[import-not-found]
    import simplejpeg
except ImportError as error:
    sys.exit(f"litserve_server: {error}")

HEADER = struct.Struct("<BBBBIQqHH")
JPEG, BITS, BLOCK = 2, 18, 8


class Api(litserve.LitAPI):  # type: ignore[misc]
    """A policy that looks whose frame it is."""

    base_s, per_session_s = 0.0, 0.0

    def setup(self, device: str) -> None:
        """Nothing to load."""

    def decode_request(self, request: dict[str, str]) -> tuple[Any, ...]:
        """JSON to header and pixels."""
        message = base64.b64decode(request["data"])
        header = HEADER.unpack_from(message)
        body = message[HEADER.size :]
        if header[2] == JPEG:
            return *header, simplejpeg.decode_jpeg(body, colorspace="RGB")
        return *header, np.frombuffer(body, np.uint8).reshape(header[8], header[7], 3)

    def batch(self, inputs: list[Any]) -> list[Any]:
        """Leave the list as it is."""
        return list(inputs)

    def predict(self, batch: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        """One step for all."""
        if self.base_s or self.per_session_s:
            time.sleep(self.base_s + self.per_session_s * len(batch))
        return [(*each[:-1], see(each[-1])) for each in batch]

    def unbatch(self, output: list[Any]) -> list[Any]:
        """Leave the list as it is."""
        return output

    def encode_response(self, output: tuple[Any, ...]) -> dict[str, str]:
        """A binary action in JSON."""
        _kind, version, _codec, _flags, stream_id, seq, capture_ns, _width, _height, player = output
        header = struct.pack("<BBBBIQqIIHBB", 2, version, 0, 0, stream_id, seq, capture_ns, 0, 0, 0, 1, 0)
        dx, dy, rest = player % 33 - 16, player // 33 % 33 - 16, player // 33**2
        state = struct.pack("<BBBx8s2h2hI6f", 0, 1, 0, b"", dx, dy, rest % 19 - 9, rest // 19 - 9, 0, *[0.0] * 6)
        return {"data": base64.b64encode(header + state).decode()}


def see(frame: Any) -> int:
    """The number painted in a frame."""
    columns = frame.shape[1] // BLOCK
    return sum(
        int(frame[bit // columns * BLOCK + BLOCK // 2, bit % columns * BLOCK + BLOCK // 2, 1] > 127) << bit
        for bit in range(BITS)
    )


def main() -> None:
    """Serve until killed."""
    job = json.loads(sys.argv[1])
    api = Api(max_batch_size=job["batch"], batch_timeout=0.002)
    api.base_s, api.per_session_s = job["base_s"], job["per_session_s"]
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=job["port"], log_level="error", generate_client_file=False)


if __name__ == "__main__":
    main()
