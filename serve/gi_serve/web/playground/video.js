// The tab of a video: its frames to a session of one's own, a tick at a time, and what the policy would press.
//
// Frames are fetched by their time, not as they play: the policy sees every tick of its own rate, however slow the
// machine is, and the answer on the screen is the answer to the picture on the screen.

import { Session, resize } from "../client/gi-client.js";

const DECODE_MS = 10000, ANSWER_MS = 10000;
const element = (id) => document.getElementById(id);
/** The next event of a kind. Throws in words at an error, or when it takes too long. */
const nextOf = (target, type, ms) =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error("the browser takes too long to decode it")), ms);
    const end = (act) => () => {
      clearTimeout(timer);
      act();
    };
    target.addEventListener(type, end(resolve), { once: true });
    target.addEventListener("error", end(() => reject(new Error(whyNot(target.error)))), { once: true });
  });

const whyNot = (error) => {
  const isCodec = error?.code === MediaError.MEDIA_ERR_DECODE || error?.code === MediaError.MEDIA_ERR_SRC_NOT_SUPPORTED;
  return isCodec ? "this browser cannot decode it: try MP4 with H.264, or WebM" : "it cannot be read";
};

export class VideoTab {
  constructor(api, viewer) {
    Object.assign(this, { api, viewer, run: null, file: null, actions: [] });
    const drop = element("drop");
    for (const type of ["dragenter", "dragover"]) drop.addEventListener(type, () => drop.classList.add("over"));
    for (const type of ["dragleave", "drop"]) drop.addEventListener(type, () => drop.classList.remove("over"));
    addEventListener("dragover", (event) => event.preventDefault());
    addEventListener("drop", (event) => {
      event.preventDefault();
      this.take(event.dataTransfer?.files[0]);
    });
    element("file").addEventListener("change", (event) => this.take(event.target.files[0]));
    element("pause").addEventListener("click", () => this.toggle());
    element("again").addEventListener("click", () => this.start());
    element("save").addEventListener("click", () => this.save());
    for (const id of ["model", "adapter", "temperature", "keys", "motion", "video-seed"])
      element(id).addEventListener("change", () => this.file && this.start());
    element("temperature").addEventListener("input", ({ target }) => {
      element("temperature-shown").textContent = Number(target.value).toFixed(1);
    });
    document.addEventListener("visibilitychange", () => {
      if (document.hidden && this.run && !this.run.isPaused) this.toggle("Paused: the tab was hidden.");
    });
  }

  /** Begin with a file. */
  take(file) {
    if (!file) return;
    this.file = file;
    element("tab-video").click();
    this.start();
  }

  /** What the person chose. */
  get wishes() {
    const value = (id) => element(id).value;
    const sampling = { temperature: Number(value("temperature")), keys: value("keys"), motion: value("motion") };
    return { model: value("model"), adapter: value("adapter") || undefined, seed: Number(value("video-seed")) || 0, sampling };
  }

  /** From the first frame, with a session of its own. Choosing anything else begins anew: a policy remembers. */
  async start() {
    this.stop();
    const run = (this.run = { isPaused: false, isOver: false });
    this.actions = [];
    element("player").hidden = false;
    element("save").disabled = true;
    element("pause").textContent = "Pause";
    this.say(`Opening ${this.file.name}…`);
    try {
      await this.play(run);
      if (!run.isOver) this.say(`Done: ${this.actions.length} ticks.`);
    } catch (error) {
      if (!run.isOver) this.say(`${this.file.name}: ${error.message}.`.replace("..", "."));
    } finally {
      run.isOver = true;
      run.session?.close();
      if (run.video) URL.revokeObjectURL(run.video.src);
      element("save").disabled = !this.actions.length;
    }
  }

  stop() {
    if (!this.run) return;
    this.run.isOver = true;
    this.run.wake?.();
    this.run.session?.close();
    this.run = null;
  }

  toggle(words = "Paused.") {
    const { run } = this;
    if (!run || run.isOver) return;
    run.isPaused = !run.isPaused;
    element("pause").textContent = run.isPaused ? "Go on" : "Pause";
    this.say(run.isPaused ? words : "");
    if (!run.isPaused) run.wake?.();
  }

  async play(run) {
    const video = (run.video = await openVideo(this.file)), session = (run.session = await this.open(run));
    const { fps, name, factors, observation_space: { shape } } = session.model, num = Math.max(1, Math.floor(video.duration * fps));
    const surface = Object.assign(document.createElement("canvas"), { width: video.videoWidth, height: video.videoHeight });
    const context = surface.getContext("2d", { willReadFrequently: true, alpha: false });
    this.viewer.clear(`${this.file.name}, ${name}`, { factors, deadlineMs: 1000 / fps });
    this.say("");
    for (let tick = 0; tick < num && !run.isOver; tick++) {
      const began = performance.now();
      while (run.isPaused && !run.isOver) await new Promise((resolve) => (run.wake = resolve));
      await seek(video, Math.min((tick + 0.5) / fps, video.duration));
      if (run.isOver) return;
      context.drawImage(video, 0, 0);
      const { data } = context.getImageData(0, 0, surface.width, surface.height);
      const [height, width] = shape, pixels = resize(data, surface.width, surface.height, width, height);
      const answer = await this.ask(run, { data: pixels, width, height });
      if (run.isOver) return;
      this.viewer.show(surface, surface.width, surface.height);
      this.viewer.hear({ ...answer, action: answer.states[0], confidence: answer.confidence[0] });
      this.actions.push({ tick, t_s: tick / fps, ...answer.states[0] });
      element("progress").value = (tick + 1) / num;
      await new Promise((resolve) => setTimeout(resolve, Math.max(0, 1000 / fps - (performance.now() - began))));
    }
  }

  async open(run) {
    const session = new Session(location.origin, { ...this.wishes, token: this.api.key || undefined, deadlineMs: 1000 });
    session.options.onAction = (action) => run.hear?.(action);
    session.options.onStatus = (kind, words) => {
      if (["down", "resumed", "going away", "error"].includes(kind)) this.say(words);
      if (kind === "lost" || (kind === "closed" && !run.isOver)) run.fail?.(new Error(words));
    };
    return session.open();
  }

  /** Send a frame and wait for its own answer. */
  ask(run, frame) {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error("the server does not answer")), ANSWER_MS + 30000 * Number(run.session.isDown));
      const end = (act) => (value) => { clearTimeout(timer); run.hear = run.fail = null; act(value); };
      const seq = run.session.send(frame);
      run.hear = (action) => action.seq === seq && end(resolve)(action);
      run.fail = end(reject);
    });
  }

  /** The actions as a file. */
  save() {
    const blob = new Blob([JSON.stringify({ video: this.file.name, ...this.wishes, actions: this.actions }, null, 1)], { type: "application/json" });
    const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: `${this.file.name}.actions.json` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href));
  }

  say(words) {
    element("video-state").textContent = words;
  }
}

/** A video element that can be asked for any frame. Throws in words. */
async function openVideo(file) {
  const video = Object.assign(document.createElement("video"), { muted: true, preload: "auto", playsInline: true });
  const ready = nextOf(video, "loadeddata", DECODE_MS);
  video.src = URL.createObjectURL(file);
  await ready;
  if (!video.videoWidth) throw new Error("there is no picture in it");
  if (!Number.isFinite(video.duration)) await seek(video, 1e7); // recorded live: its length is known once its end was seen
  if (!Number.isFinite(video.duration)) throw new Error("it does not say how long it is");
  return video;
}

async function seek(video, seconds) {
  if (Math.abs(video.currentTime - seconds) < 1e-6) return;
  const there = nextOf(video, "seeked", DECODE_MS);
  video.currentTime = seconds;
  await there;
}
