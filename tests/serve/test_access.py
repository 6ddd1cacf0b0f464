"""Who may do what, over real sockets: keys, scopes, tokens, revocation, other people's sessions and web pages."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from gi_model.errors import ConfigError
from gi_serve.access import Access, is_loopback
from gi_serve.client import Client
from gi_serve.keys import read_keys, write_keys
from gi_serve.limits import Limits
from gi_serve.protocol import Codec, FrameMessage, encode_frame
from tests.serve.fake_steppers import EchoStepper
from tests.serve.keyed import Keyed, serving_with_keys
from tests.serve.pictures import HEIGHT, WIDTH, paint, png_of, read_identity
from tests.serve.serving import serving, wait_until
from tests.serve.test_rest import check_problem, state_of

PNG = {"Content-Type": "image/png"}
FRAME = encode_frame(FrameMessage(0, 0, Codec.RAW, paint(1).tobytes(), WIDTH, HEIGHT))
ROUTES: list[tuple[str, str, str]] = [
    ("GET", "/v1/models", "play"),
    ("GET", "/v1/models/{model}", "play"),
    ("POST", "/v1/models", "admin"),
    ("DELETE", "/v1/models/{model}", "admin"),
    ("GET", "/v1/adapters", "play"),
    ("GET", "/v1/adapters/{adapter}", "play"),
    ("POST", "/v1/adapters", "admin"),
    ("DELETE", "/v1/adapters/{adapter}", "admin"),
    ("GET", "/v1/sessions", "play"),
    ("POST", "/v1/sessions", "play"),
    ("GET", "/v1/sessions/{session_id}", "play"),
    ("PATCH", "/v1/sessions/{session_id}", "play"),
    ("DELETE", "/v1/sessions/{session_id}", "play"),
    ("POST", "/v1/sessions/{session_id}/reset", "play"),
    ("POST", "/v1/sessions/{session_id}/fork", "play"),
    ("POST", "/v1/sessions/{session_id}/stop", "play"),
    ("POST", "/v1/sessions/{session_id}/release", "play"),
    ("POST", "/v1/sessions/{session_id}/frames", "play"),
    ("POST", "/v1/actions", "play"),
    ("POST", "/v1/tokens", "play"),
    ("POST", "/v1/recordings", "play"),
    ("POST", "/v1/recordings/{recording}/chunks/{number}", "play"),
    ("POST", "/v1/recordings/{recording}/finish", "play"),
    ("DELETE", "/v1/recordings/{recording}", "play"),
    ("GET", "/metrics", "metrics"),
]
FOR_ANYONE = {("GET", "/v1/health/live"), ("GET", "/v1/health/ready"), ("GET", "/v1/recordings")}


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    with serving_with_keys(tmp_path_factory.mktemp("keys"), EchoStepper()) as started:
        yield started


def stream(keyed: Keyed, *, subprotocols: list[str] | None = None, authorization: str = "") -> Any:
    names: Any = subprotocols or ["gi.v1.bin"]
    headers = {"Authorization": authorization} if authorization else {}
    return connect(
        keyed.running.stream_url, subprotocols=names, additional_headers=headers, compression=None, proxy=None
    )


def refusal(error: InvalidStatus) -> dict[str, Any]:
    assert error.response.headers["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = json.loads(bytes(error.response.body or b""))
    assert body["status"] == error.response.status_code
    return body


# ---------------------------------------------------------------------- keys and scopes


@pytest.mark.parametrize(("method", "path", "scope"), ROUTES)
def test_every_route_asks_for_its_scope(keyed: Keyed, method: str, path: str, scope: str) -> None:
    wrong = {"play": "scraper", "metrics": "alice", "admin": "alice"}[scope]
    with keyed.http() as stranger, keyed.http(wrong) as other:
        path = path.format(model="echo", adapter="x", session_id="x", recording="x", number=0)
        answer = stranger.request(method, path)
        check_problem(answer, 401, "unauthorized")
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        check_problem(other.request(method, path), 403, "forbidden")


def test_the_lists_above_are_all_routes(keyed: Keyed) -> None:
    with keyed.http() as stranger:
        paths = stranger.get("/openapi.json").json()["paths"]
        for method, path in FOR_ANYONE:
            assert stranger.request(method, path).status_code == 200
    served = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    locked = {(m.upper(), path) for path, methods in paths.items() for m, each in methods.items() if "security" in each}
    assert locked == {(method, path) for method, path, _scope in ROUTES}
    assert served == locked | FOR_ANYONE


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Basic YTpi",
        "Bearer gi-00000000-" + "A" * 43,
        "Bearer \xff",
        "bearer x",
        "Bearer " + "a" * 9000,
    ],
)
def test_what_is_no_key_opens_nothing(keyed: Keyed, header: str) -> None:
    with keyed.http() as stranger:
        answer = stranger.get("/v1/models", headers={b"Authorization": header.encode("latin-1")})
        check_problem(answer, 401, "unauthorized")


def test_a_key_plays_by_rest_and_by_stream(keyed: Keyed) -> None:
    with keyed.http("alice") as alice:
        where = alice.post("/v1/sessions").headers["Location"]
        assert read_identity(state_of(alice.post(f"{where}/frames", content=png_of(paint(5)), headers=PNG))) == 5
        alice.delete(where)
    with Client(keyed.running.url, key=keyed.keys["alice"]).session() as session:
        assert read_identity(session.act(paint(6)).state) == 6
    with keyed.http("scraper") as scraper:
        assert "gi_serve_answers_total" in scraper.get("/metrics").text


@pytest.mark.parametrize("name", ["", "scraper", "nobody"])
def test_a_stream_asks_for_play(keyed: Keyed, name: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        stream(keyed, authorization=f"Bearer {keyed.keys.get(name, 'gi-nothing')}" if name else "")
    assert refusal(refused.value)["status"] == (403 if name == "scraper" else 401)


def test_to_others_a_session_does_not_exist(keyed: Keyed) -> None:
    with keyed.http("alice") as alice, keyed.http("bob") as bob, keyed.http("root") as root:
        where = alice.post("/v1/sessions").headers["Location"]
        for other in (bob, root):
            check_problem(other.get(where), 404, "session-unknown")
            check_problem(other.delete(where), 404, "session-unknown")
            check_problem(other.post(f"{where}/reset"), 404, "session-unknown")
            check_problem(other.post(f"{where}/fork"), 404, "session-unknown")
            check_problem(other.post(f"{where}/frames", content=png_of(paint(5)), headers=PNG), 404, "session-unknown")
        assert alice.get(where).json()["num_frames"] == 0
        assert alice.delete(where).status_code == 204


# ---------------------------------------------------------------------- client tokens


def test_a_browser_plays_with_a_token_and_no_more(keyed: Keyed) -> None:
    with keyed.http("root") as root:
        made = root.post("/v1/tokens", json={"expires_in_s": 60}).json()
    with stream(keyed, subprotocols=["gi.v1.bin", made["subprotocol"]]) as connection:
        assert connection.subprotocol == "gi.v1.bin"
        connection.send('{"type": "session.update"}')
        assert json.loads(connection.recv(timeout=5))["type"] == "session.created"
    with keyed.http(Authorization=f"Bearer {made['token']}") as player:
        assert player.get("/v1/models").status_code == 200
        check_problem(player.post("/v1/tokens"), 403, "forbidden")  # no token from a token
        check_problem(player.delete("/v1/models/echo"), 403, "forbidden")  # though root may
        check_problem(player.get("/metrics"), 403, "forbidden")


@pytest.mark.parametrize("body", [{"expires_in_s": 0}, {"expires_in_s": 3601}, {"scopes": ["admin"]}, {"scopes": []}])
def test_tokens_are_short_and_small(keyed: Keyed, body: dict[str, Any]) -> None:
    with keyed.http("root") as root:
        check_problem(root.post("/v1/tokens", json=body), 422, "request-invalid")


def test_a_key_mints_only_what_it_has(keyed: Keyed) -> None:
    with keyed.http("alice") as alice:
        check_problem(alice.post("/v1/tokens", json={"scopes": ["metrics"]}), 403, "forbidden")


def test_a_wrong_token_opens_no_stream(keyed: Keyed) -> None:
    with pytest.raises(InvalidStatus) as refused:
        stream(keyed, subprotocols=["gi.v1.bin", "gi.auth.git-" + "A" * 60 + "." + "A" * 43])
    assert refusal(refused.value)["type"] == "urn:gi:problem:unauthorized"


def test_servers_that_share_a_secret_accept_each_others_tokens(tmp_path: Path) -> None:
    with serving_with_keys(tmp_path, EchoStepper()) as keyed:
        pass
    first, second = (Access(keyed.path, secret=b"s" * 32) for _ in range(2))
    text, _token = first.mint(first.identify(f"Bearer {keyed.keys['alice']}"), ["play"], seconds=60)
    assert second.identify(f"Bearer {text}").name == "alice"
    with pytest.raises(ConfigError, match="secret"):
        Access(keyed.path, secret=b"short")


# ---------------------------------------------------------------------- revocation


def test_a_revoked_key_ends_its_sessions_and_nobody_elses(tmp_path: Path) -> None:
    with serving_with_keys(tmp_path, EchoStepper()) as keyed, keyed.http("alice") as alice, keyed.http("bob") as bob:
        token = alice.post("/v1/tokens").json()["token"]
        mine, theirs = (each.post("/v1/sessions").headers["Location"] for each in (alice, bob))
        with stream(keyed, authorization=f"Bearer {keyed.keys['alice']}") as connection:
            connection.send('{"type": "session.update"}')
            assert json.loads(connection.recv(timeout=5))["type"] == "session.created"
            write_keys(keyed.path, [key for key in read_keys(keyed.path) if key.name != "alice"])
            assert json.loads(connection.recv(timeout=10))["reason"] == "key_revoked"
            with pytest.raises(ConnectionClosed) as closed:
                connection.recv(timeout=5)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 4401
        check_problem(alice.get(mine), 401, "unauthorized")
        with keyed.http(Authorization=f"Bearer {token}") as player:
            check_problem(player.get("/v1/models"), 401, "unauthorized")
        assert bob.get(theirs).status_code == 200
        keyed.path.write_text("{ half of what an editor saves")
        half = keyed.path.stat().st_mtime_ns
        wait_until(lambda: (keyed.running.service.access._seen or (0,))[0] == half)
        assert bob.get(theirs).status_code == 200


# ---------------------------------------------------------------------- limits


def test_a_key_has_so_many_sessions(tmp_path: Path) -> None:
    with (
        serving_with_keys(tmp_path, EchoStepper(), limits=Limits(sessions_per_key=2)) as keyed,
        keyed.http("alice") as alice,
        keyed.http("bob") as bob,
    ):
        opened = [alice.post("/v1/sessions").headers["Location"] for _ in range(2)]
        refused = alice.post("/v1/sessions")
        check_problem(refused, 429, "sessions-of-key")
        assert int(refused.headers["Retry-After"]) >= 1
        check_problem(alice.post(f"{opened[0]}/fork"), 429, "sessions-of-key")
        assert bob.post("/v1/sessions").status_code == 201
        alice.delete(opened[0])
        assert alice.post("/v1/sessions").status_code == 201


def test_frames_have_a_rate() -> None:
    with (
        serving(EchoStepper(), access=Access(limits=Limits(frames_per_s=0.1))) as running,
        httpx.Client(base_url=running.url, trust_env=False) as http,
    ):
        where = http.post("/v1/sessions").headers["Location"]
        assert read_identity(state_of(http.post(f"{where}/frames", content=png_of(paint(5)), headers=PNG))) == 5
        refused = http.post(f"{where}/frames", content=png_of(paint(5)), headers=PNG)
        assert check_problem(refused, 429, "rate-limited")["retry_after_s"] == int(refused.headers["Retry-After"]) > 5
        with connect(running.stream_url, compression=None, proxy=None) as connection:
            connection.send('{"type": "session.update"}')
            assert json.loads(connection.recv(timeout=5))["type"] == "session.created"
            connection.send(FRAME)
            assert json.loads(connection.recv(timeout=5))["seq"] == 0
            connection.send(FRAME)
            error = json.loads(connection.recv(timeout=5))["error"]
            assert (error["status"], error["type"]) == (429, "urn:gi:problem:rate-limited")


def test_requests_have_a_rate() -> None:
    with (
        serving(EchoStepper(), access=Access(limits=Limits(requests_per_s=0.05))) as running,
        httpx.Client(base_url=running.url, trust_env=False) as http,
    ):
        assert http.get("/v1/models").status_code == 200
        assert check_problem(http.get("/v1/models"), 429, "rate-limited")["retry_after_s"] > 10
        assert http.get("/v1/health/live").status_code == 200
        with pytest.raises(InvalidStatus) as handshake:
            connect(running.stream_url, compression=None, proxy=None)
        assert refusal(handshake.value)["type"] == "urn:gi:problem:rate-limited"


# ---------------------------------------------------------------------- URLs and web pages


@pytest.mark.parametrize("query", ["key=1", "a=b&token=x", "api_key=", "x=gi-0a0a0a0a-AAAA", "access%5Ftoken=1"])
def test_keys_in_urls_are_refused(keyed: Keyed, query: str) -> None:
    with keyed.http("alice") as alice:
        check_problem(alice.get(f"/v1/models?{query}"), 400, "credential-in-url")
    with pytest.raises(InvalidStatus) as refused:
        connect(f"{keyed.running.stream_url}?{query}", compression=None, proxy=None)
    assert refusal(refused.value)["status"] == 400


@pytest.mark.parametrize(
    ("origin", "host", "is_welcome"),
    [
        ("http://localhost:3000", "", True),
        ("http://127.0.0.1:1", "", True),
        ("http://[::1]:1", "", True),
        ("http://10.0.0.7:8000", "10.0.0.7:8000", True),
        ("https://evil.example", "", False),
        ("http://evil.example:8000", "evil.example:8000", False),  # a name made to resolve to this machine
        ("http://10.0.0.7", "10.0.0.8", False),
        ("null", "", False),
        ("http://[", "", False),
    ],
)
def test_without_keys_foreign_pages_are_refused(origin: str, host: str, is_welcome: bool) -> None:
    with serving(EchoStepper()) as running, httpx.Client(base_url=running.url, trust_env=False) as http:
        headers = {"Origin": origin} | ({"Host": host} if host else {})
        answer = http.get("/v1/models", headers=headers)
        assert answer.status_code == (200 if is_welcome else 403)
        if not is_welcome:
            check_problem(answer, 403, "origin-refused")
            with pytest.raises(InvalidStatus) as refused:
                connect(running.stream_url, additional_headers={"Origin": origin}, compression=None, proxy=None)
            assert refused.value.response.status_code == 403


@pytest.mark.parametrize(
    ("host", "is_local"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False)],
)
def test_loopback_is_known(host: str, is_local: bool) -> None:
    assert is_loopback(host) is is_local
    assert not is_loopback("example.com")
    assert not is_loopback("")
