// REST of this server, with the key that the person typed: it lives in this object and nowhere else.

export class ApiError extends Error {}

export class Api {
  key = "";

  /** What a route answers. Throws ApiError in words, with `status`; 0: the server cannot be reached. */
  async get(path) {
    const headers = this.key ? { Authorization: `Bearer ${this.key}` } : {};
    let response;
    try {
      response = await fetch(path, { headers, cache: "no-store" });
    } catch {
      throw Object.assign(new ApiError("The server cannot be reached. Is it still running?"), { status: 0 });
    }
    const body = await response.json().catch(() => ({}));
    if (response.ok) return body;
    const words = [body.title ?? `The server answered ${response.status}`, body.detail].filter(Boolean).join(": ");
    throw Object.assign(new ApiError(words), { status: response.status });
  }

  /** A WebSocket of this server. */
  connect(path) {
    const address = new URL(path, location.href);
    address.protocol = address.protocol.replace("http", "ws");
    return new WebSocket(address, this.key ? ["gi.v1.json", `gi.auth.${this.key}`] : ["gi.v1.json"]);
  }
}
