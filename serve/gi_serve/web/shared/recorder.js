// `PlayRecorder`: a game of a page, recorded: a picture a tick and what was held, to POST /v1/recordings.
//
//     const recorder = await PlayRecorder.begin({ game, bindings, player, license, consent, ... });
//     each tick:  recorder.frame(t_us, canvas)     each change:  recorder.press(t_us, "KeyW") .release .move .wheel
//     at the end: await recorder.finish({ score })
//
// Times are of the game's clock, in whole microseconds. Only controls of the bindings are ever taken in. What was
// recorded goes out in chunks several times a second, each until the server says that it has it; a tab that closes sends
// the rest on its way out (a request that outlives the page: 64 KiB at most, so chunks are small). The server turns a
// recording that fell silent into clips, too.

const CHUNK_BYTES = 28 * 1024; // two may be under way when the page closes
const MOST_WAITING_BYTES = 64 * 1024 * 1024;
const RETRIES_MS = [250, 500, 1000, 2000, 4000];
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export class RecordingError extends Error {}

export class PlayRecorder {
  /** Ask the server to record. wish: as POST /v1/recordings takes it; key: an API key or client token, if it wants one. */
  static async begin(wish, { url = "", key = "", quality = 0.85, onStatus = () => {} } = {}) {
    const recorder = new PlayRecorder({ url, key, quality, onStatus, wish });
    const answer = await recorder.call("/v1/recordings", { method: "POST", body: JSON.stringify(wish), type: "application/json" });
    return Object.assign(recorder, { id: answer.id }).listen();
  }

  constructor(facts) {
    Object.assign(this, facts);
    const { digital, analogue } = this.wish.bindings;
    this.bound = new Set(Object.values(digital ?? {}));
    this.axes = new Set(Object.values(analogue ?? {}).map(({ axis }) => axis));
    this.surface = Object.assign(document.createElement("canvas"), { width: this.wish.width, height: this.wish.height });
    this.surface.getContext("2d", { alpha: false }).imageSmoothingQuality = "high";
    this.events = [];
    this.frames = [];
    this.held = new Set();
    this.from = { from_us: 0, held: [] }; // of the chunk that is being filled
    this.now_us = 0;
    this.waiting = []; // chunks the server does not have yet: {number, body}
    this.counts = { frames: 0, chunks: 0, bytes: 0, retries: 0 };
    this.encoded = Promise.resolve(); // pictures, in order
    this.numChunks = 0;
    this.isOver = this.isSending = false;
  }

  /** Send what there is when the page goes, or nobody looks at it. */
  listen() {
    this.listening = new AbortController();
    const { signal } = this.listening;
    addEventListener("pagehide", () => this.flush({ isLeaving: true }), { signal });
    document.addEventListener("visibilitychange", () => document.hidden && this.flush(), { signal });
    return this;
  }

  // ---------------------------------------------------------------- what happens

  press(t_us, control) {
    if (!this.bound.has(control)) return;
    this.held.add(control);
    this.note(t_us, "down", control);
  }

  release(t_us, control) {
    if (!this.bound.has(control)) return;
    this.held.delete(control);
    this.note(t_us, "up", control);
  }

  move(t_us, dx, dy) {
    const x = this.axes.has("motion.x") ? dx : 0, y = this.axes.has("motion.y") ? dy : 0;
    if (x || y) this.note(t_us, "move", x, y);
  }

  /** Notches. */
  wheel(t_us, dx, dy) {
    const x = this.axes.has("wheel.x") ? dx : 0, y = this.axes.has("wheel.y") ? dy : 0;
    if (x || y) this.note(t_us, "wheel", x, y);
  }

  note(t_us, ...event) {
    if (!this.isOver) this.events.push([t_us, ...event]);
    this.now_us = Math.max(this.now_us, t_us);
  }

  /** The picture that the player sees at t_us. Never waits; the picture is copied at once. */
  frame(t_us, canvas) {
    if (this.isOver) return;
    this.surface.getContext("2d").drawImage(canvas, 0, 0, this.surface.width, this.surface.height);
    const picture = new Promise((resolve) => this.surface.toBlob(resolve, "image/jpeg", this.quality));
    this.encoded = this.encoded.then(async () => {
      const blob = await picture;
      if (!blob) return;
      this.frames.push([t_us, new Uint8Array(await blob.arrayBuffer())]);
      this.counts.frames += 1;
      if (this.frames.reduce((sum, [, jpeg]) => sum + jpeg.length, 0) >= CHUNK_BYTES - 8192 || this.frames.length >= 10) this.flush();
    });
  }

  /** Everything recorded goes to the server, which makes clips of it. result: facts such as {score}. Its report. */
  async finish(result = {}) {
    this.isOver = true;
    await this.encoded;
    this.flush();
    while (this.waiting.length && !this.failure) await wait(20);
    this.listening.abort();
    return this.call(`/v1/recordings/${this.id}/finish`, { method: "POST", body: JSON.stringify(result), type: "application/json" }).catch((error) => {
      throw this.failure ?? error;
    });
  }

  /** Take it all back: the server deletes what it has of this recording. */
  async discard() {
    this.isOver = true;
    this.listening.abort();
    this.waiting = [];
    await this.call(`/v1/recordings/${this.id}`, { method: "DELETE" });
  }

  // ---------------------------------------------------------------- its way to the server

  /** Make a chunk of what there is, and send. isLeaving: the page goes, so do not wait for answers. */
  flush({ isLeaving = false } = {}) {
    const { events, frames } = this;
    if (events.length || frames.length) {
      [this.events, this.frames] = [[], []];
      this.waiting.push({ number: this.numChunks++, body: packChunk({ ...this.from, events }, frames) });
      this.from = { from_us: this.now_us, held: [...this.held] };
    }
    if (isLeaving) for (const chunk of this.waiting) this.post(chunk, { keepalive: true }).catch(() => {});
    else this.send();
  }

  async send() {
    if (this.isSending) return;
    this.isSending = true;
    for (let tries = 0; this.waiting.length && !this.failure; ) {
      try {
        await this.post(this.waiting[0]);
        this.counts.chunks += 1;
        this.counts.bytes += this.waiting.shift().body.length;
        if (tries) this.onStatus("playing", "connected again: nothing of the recording is lost");
        tries = 0;
      } catch (error) {
        if (error instanceof RecordingError && error.isFinal) this.fail(error);
        else if (this.waiting.reduce((sum, { body }) => sum + body.length, 0) > MOST_WAITING_BYTES)
          this.fail(new RecordingError("the server is away for too long: the recording ends here"));
        else {
          this.onStatus("waiting", "the server does not answer: the recording is kept here until it does");
          this.counts.retries += 1;
          await wait(RETRIES_MS[Math.min(tries++, RETRIES_MS.length - 1)]);
        }
      }
    }
    this.isSending = false;
  }

  fail(error) {
    this.failure = error;
    this.isOver = true;
    this.onStatus("failed", error.message);
  }

  post({ number, body }, options = {}) {
    const path = `/v1/recordings/${this.id}/chunks/${number}`;
    return this.call(path, { method: "POST", body, type: "application/octet-stream", ...options });
  }

  async call(path, { type, ...options }) {
    const headers = { ...(type && { "Content-Type": type }), ...(this.key && { Authorization: `Bearer ${this.key}` }) };
    const response = await fetch(`${this.url}${path}`, { ...options, headers });
    if (response.ok) return response.status === 204 ? null : response.json();
    const problem = await response.json().catch(() => ({}));
    const error = new RecordingError([problem.title ?? `the server answered ${response.status}`, problem.detail].filter(Boolean).join(": "));
    error.isFinal = response.status < 500 && ![408, 429].includes(response.status);
    throw error;
  }
}

/** u32 length of the head; the head, JSON, with frames: [[t_us, bytes], ...]; the JPEGs one after another. */
export function packChunk(facts, frames) {
  const head = new TextEncoder().encode(JSON.stringify({ ...facts, frames: frames.map(([t_us, jpeg]) => [t_us, jpeg.length]) }));
  const body = new Uint8Array(4 + head.length + frames.reduce((sum, [, jpeg]) => sum + jpeg.length, 0));
  new DataView(body.buffer).setUint32(0, head.length, true);
  body.set(head, 4);
  let at = 4 + head.length;
  for (const [, jpeg] of frames) {
    body.set(jpeg, at);
    at += jpeg.length;
  }
  return body;
}
