"""`python play_openpi.py HOST PORT KEY HEIGHT WIDTH`, with the Python that has openpi-client: what it gets."""

import sys

import numpy as np
from openpi_client.websocket_client_policy import WebsocketClientPolicy  # type: ignore[import-not-found]

host, port, key, height, width = sys.argv[1:]
policy = WebsocketClientPolicy(host=host, port=int(port), api_key=key or None)
metadata = policy.get_server_metadata()
print(metadata["model"])  # noqa: T201
names = metadata["action_names"]
for number in (3, 500, 77):
    picture = np.zeros((int(height), int(width), 3), np.uint8)
    picture[...] = number // 32 * 8, number % 32 * 8, 100
    actions = policy.infer({"observation/image": picture, "observation/state": np.zeros(8), "prompt": "go"})["actions"]
    row = dict(zip(names, actions[0].tolist(), strict=True))
    print(actions.shape, actions.dtype, int(row["motion.x"] + 16 + 33 * (row["motion.y"] + 16)))  # noqa: T201
try:
    policy.infer({"observation/state": np.zeros(8)})
except RuntimeError as error:
    print(type(error).__name__)  # noqa: T201
