/**
 * gi-client: frames in, actions out, for browsers and node; no dependencies. docs/protocol.md is what it speaks.
 *
 *     const session = new Session("http://127.0.0.1:8000", { seed: 1 });
 *     await session.open();
 *     const player = play(session, { source: canvas, target: canvas, onStatus: (kind, words) => show(words) });
 *
 * `Session` is the protocol alone: send() frames, hold what due() gives. `play` does both for a page. While no action is
 * fresh the session holds what `onLate` says; while the connection is down, nothing. A lost connection is resumed.
 */
import { GiError, NEUTRAL, OTHER_VERSION, readAction } from "./gi-protocol.js";

export { Camera, resize } from "./gi-capture.js";
export { Inputs } from "./gi-inputs.js";
export { play } from "./gi-play.js";
export { GiError, KEYS, MOUSE_BUTTONS, NEUTRAL } from "./gi-protocol.js";

const BINARY = "gi.v1.bin";
const CODECS = { raw: 1, jpeg: 2, png: 3 };
const FIRST_RETRY_MS = 50, LAST_RETRY_MS = 2000, OPEN_MS = 10000, SILENCE_MS = 10000;
const DEFAULTS = { onLate: "neutral", patienceMs: 500, resumeMs: 30000 };
const WISHES = { seed: "seed", model: "model", adapter: "adapter", fps: "fps", sampling: "sampling", deadlineMs: "deadline_ms" };
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/**
 * One player's stream. options: `token` (a client token of your backend: POST /v1/tokens; or a function that gives one, for
 * it is asked again when a connection is resumed), what the session wants (`seed`, `model`, `adapter`, `fps`, `sampling`,
 * `deadlineMs`), `onLate` ("neutral" | "hold" | "stop"), `patienceMs`, `resumeMs`
 * (0: never resume), `WebSocket` (where it is not global), `onAction(action)`, `onStatus(kind, words)` with kind one of
 * "open", "down", "resumed", "lost", "stopped", "closed", "error", "going away", and words that a player understands. At
 * "down" every key is up until "resumed"; at "lost", "stopped", and "closed" for good.
 */
export class Session {
  constructor(url, options = {}) {
    this.options = { ...DEFAULTS, ...options };
    if (!["neutral", "hold", "stop"].includes(this.options.onLate)) throw new GiError(`unknown onLate: ${this.options.onLate}`);
    this.url = String(url).replace(/^ws/, "http").replace(/\/+$/, "");
    this.counts = { sent: 0, answered: 0, dropped: 0, late: 0, lost: 0, resumed: 0 };
    this.model = null; // as the server describes it: fps, observation_space, factors, ...
    this.isDown = this.isStopped = this.isClosed = false;
    this.#waiting = new Map();
  }
  #socket = null; #waiting; #seq = -1; #firstSeq = 0; #newestSeq = -1; #held = null; #shown = ""; #since = 0; #heard = 0;
  #frame = null; #executed = null; #resetting = null; #goodbye = ""; #id = ""; #resume = null;

  /** Connect and open the stream. Throws GiError in words for a player: no server, no free place, another version. */
  async open() {
    const wanted = Object.entries(WISHES).filter(([name]) => this.options[name] !== undefined);
    const fields = Object.fromEntries(wanted.map(([name, field]) => [field, this.options[name]]));
    await this.#connect({ type: "session.update", resume: this.options.resumeMs > 0, ...fields }, "session.created");
    this.#tell("open", `${this.model.name} plays`);
    return this;
  }

  /** Send a frame: { data: bytes, width, height, codec: "raw" | "jpeg" | "png" }; raw is RGB. Its seq. Never waits. */
  send({ data, width = 0, height = 0, codec = "raw" }, captureMs = performance.now()) {
    const message = new Uint8Array(28 + data.length), view = new DataView(message.buffer);
    message.set([1, 1, CODECS[codec]]);
    view.setBigUint64(8, BigInt(++this.#seq), true);
    view.setBigInt64(16, BigInt(Math.round(captureMs * 1e6)), true);
    if (codec === "raw") { view.setUint16(24, width, true); view.setUint16(26, height, true); }
    message.set(data, 28);
    this.#frame = { seq: this.#seq, message };
    if (this.isDown || !this.#socket) return this.#seq; // the newest frame goes out once the connection is back
    if (this.#socket.bufferedAmount > message.length) return this.#seq; // a slow network: rarer, not older
    this.#socket.send(message);
    this.counts.sent++;
    return this.#seq;
  }

  /** What to hold from now on, once for each tick of an answer, and whenever the fail-safe says so; null: as before. */
  due(now = performance.now()) {
    if (!this.isDown && this.#socket && this.#frame?.seq > this.#newestSeq && now - this.#heard > SILENCE_MS) this.#drop("the server is silent");
    const [key, state] = this.#wanted(now);
    if (key === this.#shown) return null;
    this.#shown = key;
    return state;
  }

  /** What to hold right now. */
  get state() { return this.#wanted(performance.now())[1]; }

  /** Tell what was really held in the tick of frame `seq` (default: of the newest answer), before the next frame. */
  execute(action, seq = this.#newestSeq) {
    this.#executed = { type: "action.executed", seq, action };
    this.#say(this.#executed);
  }

  /** Forget all frames and start anew; frames sent before are never answered. */
  reset(seed) {
    this.#held = this.#frame = this.#executed = null;
    this.#firstSeq = this.#seq + 1;
    this.#resetting = { type: "session.reset", ...(seed === undefined ? {} : { seed }) };
    this.#say(this.#resetting);
    const done = this.#next("session.updated");
    done.catch(() => {}); // who does not wait for it need not catch it
    return done;
  }

  /** End the session: its place is free at once. */
  close(words = "the play is over") {
    if (this.isClosed) return;
    this.#say({ type: "session.close" });
    this.#end("closed", words);
  }

  // ---------------------------------------------------------------- what is held

  #wanted(now) {
    const held = this.#held, { onLate, patienceMs } = this.options;
    if (this.isDown || this.isStopped || this.isClosed || !this.#socket) return ["released", NEUTRAL];
    if (now - (held ? held.arrived : this.#since) > patienceMs) {
      if (onLate === "stop") { this.isStopped = true; this.#tell("stopped", "no action came for too long: every key is up"); }
      if (onLate !== "hold" || !held) return ["released", NEUTRAL];
      return [`late ${held.action.seq}`, { ...held.action.states.at(-1), motion: [0, 0], wheel: [0, 0] }];
    }
    if (!held) return ["released", NEUTRAL];
    const { states, captureMs, seq } = held.action, last = states.length - 1;
    const tick = last ? Math.min(last, Math.max(0, Math.floor(((now - captureMs) * this.model.fps) / 1000))) : 0;
    return [`${seq} ${tick}`, states[tick]];
  }

  #answer(data) {
    const action = readAction(data); // throws on another version
    const before = Math.max(this.#newestSeq, this.#firstSeq - 1);
    this.#newestSeq = Math.max(this.#newestSeq, action.seq);
    if (action.seq < this.#firstSeq) return; // of before the reset
    this.#held = { action, arrived: performance.now() };
    action.ageMs = this.#held.arrived - action.captureMs;
    this.counts.answered++; this.counts.late += action.isLate;
    this.counts.dropped += action.seq - before - 1; // whoever dropped them
    this.#call(this.options.onAction, action);
  }

  // ---------------------------------------------------------------- messages

  #say(event) { if (!this.isDown && this.#socket?.readyState === 1) this.#socket.send(JSON.stringify(event)); }
  #next(type) { return new Promise((resolve, reject) => this.#waiting.set(type, { resolve, reject })); }
  #tell(kind, words) { this.#call(this.options.onStatus, kind, words); }
  #call(act, ...about) { try { act?.(...about); } catch (error) { queueMicrotask(() => { throw error; }); } } // the page's own error

  #read(data) {
    this.#heard = performance.now();
    if (typeof data !== "string") return this.#answer(data);
    const event = JSON.parse(data);
    if (event.type === "session.created" || event.type === "session.resumed") {
      this.model = event.model; this.#id = event.session.id; this.#since = performance.now();
      if (event.resume) this.#resume = event.resume;
    }
    if (event.type === "session.updated") this.#resetting = null;
    if (event.type === "session.closed") this.#goodbye = `the server ended the session (${event.reason})`;
    if (event.type === "session.going_away") this.#tell("going away", `the server ends in ${event.grace_s} s`);
    if (event.type === "error" && event.error.type.endsWith("feedback-late")) return;
    const failed = new GiError(`the server answered: ${event.error?.title}. ${event.error?.detail ?? ""}`.trim());
    if (event.type === "error" && !this.#waiting.size) this.#tell("error", failed.message);
    for (const [type, { resolve, reject }] of this.#waiting) {
      if (event.type !== "error" && event.type !== type) continue;
      this.#waiting.delete(type);
      event.type === "error" ? reject(Object.assign(failed, { isRefusal: true })) : resolve(event);
    }
  }

  // ---------------------------------------------------------------- the connection

  async #connect(opening, answer) {
    const Socket = this.options.WebSocket ?? globalThis.WebSocket;
    if (!Socket) throw new GiError("no WebSocket here: pass one as options.WebSocket, or start node 20 with --experimental-websocket");
    const token = typeof this.options.token === "function" ? await this.options.token() : this.options.token;
    const protocols = token ? [BINARY, `gi.auth.${token}`] : [BINARY];
    const socket = new Socket(`${this.url.replace(/^http/, "ws")}/v1/realtime`, protocols);
    socket.binaryType = "arraybuffer";
    const answered = this.#next(answer);
    const fail = (words) => { const one = this.#waiting.get(answer); this.#waiting.delete(answer); one?.reject(new GiError(words)); };
    const timer = setTimeout(() => { fail("the server does not answer"); socket.close(); }, OPEN_MS);
    socket.onopen = () => {
      if (socket.protocol !== BINARY) { fail(OTHER_VERSION); socket.close(); return; }
      socket.send(JSON.stringify(opening));
    };
    socket.onerror = () => fail("");
    socket.onmessage = ({ data }) => {
      try { this.#read(data); } catch (error) {
        const words = error instanceof GiError ? error.message : OTHER_VERSION; // nothing else fails on a server of ours
        fail(words);
        this.#end("lost", words, socket);
      }
    };
    socket.onclose = ({ code }) => { fail(""); if (socket === this.#socket) this.#lose(code); };
    try {
      const event = await answered;
      this.#socket = socket;
      this.#heard = performance.now();
      return event;
    } catch (error) {
      socket.close();
      if (!error.message) error.message = await this.#explain();
      throw error;
    } finally { clearTimeout(timer); }
  }

  /** Why there is no connection, in words: a browser does not say. */
  async #explain() {
    try {
      const { status } = await fetch(`${this.url}/v1/health/ready`, { mode: "no-cors" });
      if (status === 503) return `the server ${this.url} takes nobody at the moment: try again later`;
      const why = "it speaks another version of the protocol, or needs a token, or this page is of another origin";
      return `the server ${this.url} refused the stream: ${why}`;
    } catch { return `cannot reach the server ${this.url}: is it running? (gi serve CHECKPOINT)`; }
  }

  #drop(words) { const socket = this.#socket; socket.onclose = null; socket.close(); this.#lose(0, words); }

  async #lose(code, words = "the connection to the server is lost") {
    this.#held = null; this.#socket = null; this.isDown = true; this.counts.lost++;
    if (this.isClosed) return;
    if (this.#goodbye || code === 1001 || !this.#resume || this.options.resumeMs <= 0) return this.#end("lost", this.#goodbye || words);
    this.#tell("down", `${words}: every key is up; trying again`);
    const giveUp = performance.now() + Math.min(this.options.resumeMs, this.#resume.timeout_s * 1000);
    for (let delay = FIRST_RETRY_MS; performance.now() < giveUp; delay = Math.min(LAST_RETRY_MS, 2 * delay)) {
      if (this.isClosed) return;
      const wanted = { type: "session.resume", session_id: this.#id, token: this.#resume.token, answered_seq: this.#newestSeq };
      try {
        return this.#resumed(await this.#connect(wanted, "session.resumed"));
      } catch (error) {
        words = error.message;
        if (error.isRefusal) break;
      }
      await wait(delay * (0.5 + Math.random()));
    }
    this.#end("lost", `${words}; the session is gone: start a new one`);
  }

  #resumed(event) {
    if (this.isClosed) { this.#socket.send(JSON.stringify({ type: "session.close" })); this.#socket.close(1000); return; }
    this.isDown = false; this.counts.resumed++;
    this.#tell("resumed", "connected again");
    if (this.#resetting) return this.#say(this.#resetting);
    if (this.#executed?.seq === event.last_seq && event.last_seq > event.executed_seq) this.#say(this.#executed);
    if (this.#frame?.seq > event.last_seq) this.#socket.send(this.#frame.message);
  }

  #end(kind, words, socket = this.#socket) {
    if (this.isClosed) return;
    this.isClosed = this.isDown = true; this.#held = null; this.#socket = null;
    socket?.close(1000);
    for (const { reject } of this.#waiting.values()) reject(new GiError(words));
    this.#waiting.clear();
    this.#tell(kind, words);
  }
}
