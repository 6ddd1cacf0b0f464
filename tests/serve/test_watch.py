"""Watching sessions: right frames and answers, for who may see them only, at no cost to whoever plays."""

import asyncio
import base64
import json
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import simplejpeg
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from gi_model.stepper import Sampling
from gi_serve.access import ANYONE
from gi_serve.client import Client, SessionConfig
from gi_serve.keys import make_key, read_keys, write_keys
from gi_serve.logs import tag_of
from gi_serve.rest_watch import MAX_WATCHERS, MAX_WATCHERS_OF_KEY, show
from gi_serve.service import Service, ServiceConfig
from gi_serve.sessions import Nobody, SessionOptions
from gi_serve.watch import ANSWERS_KEPT, Watch, Watcher
from tests.serve.fake_steppers import FACTORS, EchoStepper
from tests.serve.keyed import Keyed, serving_with_keys
from tests.serve.pictures import HEIGHT, WIDTH, paint, see_identity
from tests.serve.serving import Running, serving, wait_until


def watch(running: Running, tag: str, key: str = "", **settings: Any) -> ClientConnection:
    protocols = [Subprotocol("gi.v1.json"), *([Subprotocol(f"gi.auth.{key}")] if key else [])]
    settings.setdefault("subprotocols", protocols)
    url = f"ws://127.0.0.1:{running.port}/v1/sessions/{tag}/watch"
    connection: ClientConnection = connect(url, compression=None, proxy=None, **settings)
    return connection


def next_of(connection: ClientConnection, kind: str, where: Callable[[dict[str, Any]], Any] = lambda _: True) -> Any:
    """The next message of a kind that is as wanted."""
    while True:
        message = json.loads(connection.recv(timeout=10))
        if message["type"] == kind and where(message):
            return message


def only_session(running: Running) -> Any:
    (session,) = running.engine.sessions.values()
    return session


def test_a_watcher_sees_the_frame_and_the_answer_to_it() -> None:
    with serving(EchoStepper()) as running, running.session(seed=1) as player:
        (listed,) = sessions_of(running)
        with watch(running, listed["tag"]) as watcher:
            started = next_of(watcher, "watch.started")
            assert started["factors"] == list(FACTORS)
            assert started["shape"] == [HEIGHT, WIDTH, 3]
            for identity in (7, 300, 999):
                action = player.act(paint(identity))
                update = next_of(watcher, "watch.update", lambda message: message["frame"] and message["answers"])
                shown = simplejpeg.decode_jpeg(base64.b64decode(update["frame"]["jpeg"]))
                assert see_identity(shown) == identity
                (answer,) = update["answers"]
                assert answer["seq"] == update["frame"]["seq"]
                assert answer["action"] == action.state.to_dict()
                assert answer["confidence"] == [0.5] * len(FACTORS)
            assert update["counts"]["num_answers"] == 3


def sessions_of(running: Running, key: str = "") -> list[dict[str, Any]]:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    answer = httpx.get(f"{running.url}/v1/sessions", headers=headers, trust_env=False)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()
    return found


def test_the_list_names_sessions_by_tags_that_open_nothing() -> None:
    with serving(EchoStepper()) as running, running.session(seed=1), running.session(seed=2):
        text = json.dumps(sessions_of(running))
        for session in running.engine.sessions.values():
            assert session.id not in text
            assert session.resume_token not in text
            assert tag_of(session.id) in text


def test_nobody_watches_nothing_is_kept() -> None:
    with serving(EchoStepper()) as running, running.session(seed=1) as player:
        session: Any = only_session(running)
        player.act(paint(1))
        assert session.watch is None
        with watch(running, tag_of(session.id)) as one, watch(running, tag_of(session.id)) as two:
            next_of(one, "watch.started")
            next_of(two, "watch.started")
            assert only_session(running).watch.num_watchers == 2
            two.close()
            wait_until(lambda: only_session(running).watch.num_watchers == 1)
        wait_until(lambda: only_session(running).watch is None)


def test_what_is_kept_for_watchers_is_bounded() -> None:
    kept: Any = Watch()
    frame = np.zeros((4, 4, 3), np.uint8)
    for seq in range(10 * ANSWERS_KEPT):
        kept.see(frame, seq)
        kept.hear(seq)  # what it is does not matter
    assert kept.since(0) == list(range(9 * ANSWERS_KEPT, 10 * ANSWERS_KEPT))
    assert kept.since(10 * ANSWERS_KEPT - 2) == [10 * ANSWERS_KEPT - 2, 10 * ANSWERS_KEPT - 1]
    assert kept.since(10 * ANSWERS_KEPT) == []


class StuckSocket:
    """A watcher's connection that takes one message and no more."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    async def send_text(self, text: str) -> None:
        self.sent.append(text)
        if len(self.sent) > 1:
            await asyncio.Event().wait()

    async def receive(self) -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError


def test_a_watcher_that_does_not_read_keeps_nothing_and_holds_up_nobody() -> None:
    """What happens while it is stuck costs two references and a queue of fixed length."""

    async def scenario() -> None:
        service = Service([EchoStepper()])
        engine = service.find_engine(None)
        session = service.open_session(engine, SessionOptions(Sampling(seed=1), 0.05), Nobody())
        socket = StuckSocket()
        stuck = asyncio.create_task(show(socket, Watcher(service, engine, session, ANYONE)))  # type: ignore[arg-type]
        while len(socket.sent) < 2:
            if session.watch is not None:
                session.watch.see(paint(1), 0)
            await asyncio.sleep(0.01)
        kept = session.watch
        assert isinstance(kept, Watch)
        for seq in range(1, 1000):
            kept.see(paint(seq), seq)
            kept.hear(seq)  # type: ignore[arg-type]
        assert (len(kept.answers), kept.seq, len(socket.sent)) == (ANSWERS_KEPT, 999, 2)
        stuck.cancel()
        await asyncio.wait([stuck])
        assert session.watch is None

    asyncio.run(scenario())


def test_it_ends_with_the_session() -> None:
    with (
        serving(EchoStepper()) as running,
        running.session(seed=1) as player,
        watch(running, tag_of(only_session(running).id)) as watcher,
    ):
        next_of(watcher, "watch.started")
        player.act(paint(1))
        player.close()
        assert next_of(watcher, "watch.ended")["reason"] == "the session ended"
        with pytest.raises(ConnectionClosed):
            watcher.recv(timeout=5)


def test_so_many_watch_and_no_more() -> None:
    with serving(EchoStepper()) as running, running.session(seed=1):
        tag = tag_of(only_session(running).id)
        with ExitStack() as held:
            for _ in range(MAX_WATCHERS):
                held.enter_context(watch(running, tag))
            assert status_of(running, tag) == 503
        wait_until(lambda: only_session(running).watch is None)
        with watch(running, tag) as again:
            next_of(again, "watch.started")


# ---- who may --------------------------------------------------------------------------------------------------------


def play(keyed: Keyed, name: str) -> AbstractContextManager[Any]:
    return Client(keyed.running.url, key=keyed.keys[name]).session(SessionConfig(), seed=1)


def status_of(running: Running, tag: str, key: str = "", **settings: Any) -> int:
    """How a handshake is refused."""
    with pytest.raises(InvalidStatus) as refused, watch(running, tag, key, **settings):
        pass
    return int(refused.value.response.status_code)


def test_a_key_sees_its_own_sessions_and_the_scope_watch_sees_all(tmp_path: Path) -> None:
    with serving_with_keys(tmp_path, EchoStepper()) as keyed, play(keyed, "alice"):
        running, tag = keyed.running, tag_of(only_session(keyed.running).id)
        key, overseer = make_key("overseer", ["play", "watch"])
        write_keys(keyed.path, [*read_keys(keyed.path), key])
        wait_until(lambda: running.service.access.knows(key.id))
        assert [each["tag"] for each in sessions_of(running, keyed.keys["alice"])] == [tag]
        assert sessions_of(running, keyed.keys["bob"]) == []
        assert [each["is_yours"] for each in sessions_of(running, overseer)] == [False]
        assert status_of(running, tag) == 401
        assert status_of(running, tag, keyed.keys["bob"]) == 404
        assert status_of(running, tag, keyed.keys["scraper"]) == 403
        for allowed in (keyed.keys["alice"], overseer):
            with watch(running, tag, allowed) as watcher:
                next_of(watcher, "watch.started")


def test_one_key_takes_its_share_of_the_places_and_the_scope_watch_what_is_left(tmp_path: Path) -> None:
    key, overseer = make_key("overseer", ["play", "watch"])
    with serving_with_keys(tmp_path, EchoStepper()) as keyed, play(keyed, "alice"), ExitStack() as held:
        running, alice, tag = keyed.running, keyed.keys["alice"], tag_of(only_session(keyed.running).id)
        write_keys(keyed.path, [*read_keys(keyed.path), key])
        wait_until(lambda: running.service.access.knows(key.id))
        first, *_others = [held.enter_context(watch(running, tag, alice)) for _ in range(MAX_WATCHERS_OF_KEY)]
        assert status_of(running, tag, alice) == 503
        for _ in range(MAX_WATCHERS - MAX_WATCHERS_OF_KEY):
            held.enter_context(watch(running, tag, overseer))
        assert status_of(running, tag, overseer) == 503
        first.close()
        wait_until(lambda: only_session(running).watch.num_watchers == MAX_WATCHERS - 1)
        next_of(held.enter_context(watch(running, tag, alice)), "watch.started")


def test_a_revoked_key_watches_no_longer(tmp_path: Path) -> None:
    with serving_with_keys(tmp_path, EchoStepper()) as keyed, play(keyed, "alice"):
        tag, key = tag_of(only_session(keyed.running).id), make_key("overseer", ["play", "watch"])
        kept = read_keys(keyed.path)
        write_keys(keyed.path, [*kept, key[0]])
        wait_until(lambda: keyed.running.service.access.knows(key[0].id))
        with watch(keyed.running, tag, key[1]) as watcher:
            next_of(watcher, "watch.started")
            write_keys(keyed.path, kept)
            assert next_of(watcher, "watch.ended")["reason"] == "your key was revoked"


def test_pages_of_other_origins_see_nothing() -> None:
    with serving(EchoStepper()) as running, running.session(seed=1):
        assert status_of(running, tag_of(only_session(running).id), origin="https://example.com") == 403


def test_without_the_playground_nobody_watches() -> None:
    config = ServiceConfig(has_pages=False)
    with serving(EchoStepper(), config=config) as running, running.session(seed=1):
        assert status_of(running, tag_of(only_session(running).id)) in (403, 404)
        assert httpx.get(f"{running.url}/v1/sessions", trust_env=False).status_code == 405  # only POST is left


def test_another_subprotocol_is_refused() -> None:
    with serving(EchoStepper()) as running, running.session(seed=1):
        assert status_of(running, tag_of(only_session(running).id), subprotocols=[Subprotocol("x")]) == 422
