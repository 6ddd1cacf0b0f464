"""Kubeflow Trainer's status server, as far as a trainer meets it: TLS, a token, the schema of what is posted."""

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import trustme
from kubeflow_trainer_api.models import (  # type: ignore[import-untyped]
    TrainerV1alpha1UpdateTrainJobStatusRequest as UpdateRequest,
)

PATH = "/apis/trainer.kubeflow.org/v1alpha1/namespaces/gi/trainjobs/pretrain/status"


@dataclass
class StatusServer:
    """What it got, and the variables it gives a pod. answer: the status code it will answer with."""

    url: str
    ca_file: Path
    token_file: Path
    answer: int = 200
    got: list[UpdateRequest] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        names = {"URL": self.url, "CA_CERT": self.ca_file, "TOKEN": self.token_file}
        return {f"KUBEFLOW_TRAINER_SERVER_{name}": str(value) for name, value in names.items()}

    @property
    def progress(self) -> list[int | None]:
        return [each.trainer_status.progress_percentage for each in self.got if each.trainer_status]


@contextmanager
def status_server(folder: Path) -> Iterator[StatusServer]:
    """A server on a free port; files for its clients in `folder`."""
    authority = trustme.CA()
    ca_file, token_file = folder / "ca.crt", folder / "token"
    authority.cert_pem.write_to_path(str(ca_file))
    token_file.write_text("first\n")
    server: StatusServer

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            code = self.judge(body)
            self.send_response(code)
            self.end_headers()

        def judge(self, body: bytes) -> int:
            if self.path != PATH:
                return self.refuse(404, self.path)
            if self.headers["Authorization"] != f"Bearer {token_file.read_text().strip()}":
                return self.refuse(403, "token")
            if server.answer != 200:
                return self.refuse(server.answer, "as asked")
            request = UpdateRequest.from_dict(json.loads(body))
            if request is None or request.to_dict() != UpdateRequest.model_validate_json(body).to_dict():
                return self.refuse(422, "schema")
            server.got.append(request)
            return 200

        def refuse(self, code: int, why: str) -> int:
            server.refused.append(why)
            return code

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the parent's name
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    http.socket = context.wrap_socket(http.socket, server_side=True)
    server = StatusServer(f"https://127.0.0.1:{http.server_address[1]}{PATH}", ca_file, token_file)
    thread = threading.Thread(target=http.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        thread.join()
        http.server_close()
