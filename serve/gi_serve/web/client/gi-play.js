/** The loop of a page: a frame of `source` a tick to the session, what comes back to `target`, and every way it may end. */
import { Camera } from "./gi-capture.js";
import { Inputs } from "./gi-inputs.js";

const HOLD_MS = 8; // how often the ticks of an answer, and the fail-safe, are looked at

/**
 * Let `session`, which is open, play. source: a canvas or video element, or a Camera; target: the element that gets the
 * events, or anything with hold(state) and release(). fps: frames a second (default: the model's); takeBack: the `code`
 * of a key that gives control back to the person at once; onStatus(kind, words): as of Session, and "paused", "playing".
 *
 * While the tab is hidden, or the WebGL context is lost, every key is up and no frame is sent. Returns { stop(words), isPaused }.
 */
export function play(session, { source, target, fps = session.model.fps, takeBack = "Escape", onStatus = () => {} }) {
  const camera = typeof source.grab === "function" ? source : new Camera(source);
  const inputs = typeof target.hold === "function" ? target : new Inputs(target);
  const [height, width] = session.model.observation_space.shape;
  const reasons = new Set(), undo = [];
  let isOver = false, isBusy = false;

  const on = (where, type, act) => { where.addEventListener(type, act); undo.push(() => where.removeEventListener(type, act)); };
  const every = (ms, act) => { const timer = setInterval(act, ms); undo.push(() => clearInterval(timer)); };
  const pause = (why, words) => { reasons.add(why); inputs.release(); onStatus("paused", `${words}: every key is up`); };
  const resume = (why) => { if (reasons.delete(why) && !reasons.size && !isOver) onStatus("playing", "the play goes on"); };
  const hold = () => {
    const state = session.due();
    if (state && !reasons.size && !isOver) inputs.hold(state);
  };
  const stop = (words = "the play was stopped") => {
    if (isOver) return;
    isOver = true;
    undo.forEach((each) => each());
    inputs.release();
    session.close(words);
  };

  // The session's callbacks come first; the page's own, if any, after.
  const { onAction, onStatus: told } = session.options;
  session.options.onAction = (action) => { hold(); onAction?.(action); };
  session.options.onStatus = (kind, words) => {
    if (["down", "lost", "stopped", "closed"].includes(kind)) inputs.release();
    if (kind === "lost") stop(words);
    told?.(kind, words);
    onStatus(kind, words);
  };

  on(document, "visibilitychange", () => (document.hidden ? pause("hidden", "the tab is hidden") : resume("hidden")));
  on(window, "pagehide", () => stop("the page was left"));
  on(camera.source, "webglcontextlost", () => pause("context", "the game lost its WebGL context"));
  on(camera.source, "webglcontextrestored", () => resume("context"));
  on(camera.source, "ended", () => stop("the picture ended"));
  on(window, "keydown", (event) => { if (event.isTrusted && event.code === takeBack) stop("the person took control back"); });
  if (document.hidden) pause("hidden", "the tab is hidden");

  every(HOLD_MS, hold);
  // By a timer, then in the next animation frame: after the game drew, before a WebGL canvas is cleared.
  every(1000 / fps, () => {
    if (reasons.size || isBusy) return;
    isBusy = true;
    requestAnimationFrame(async (drawnMs) => {
      try {
        const frame = isOver || reasons.size ? null : await camera.grab(width, height);
        if (frame && !isOver && !reasons.size) session.send(frame, Math.min(drawnMs, performance.now()));
      } catch (error) {
        stop(`the picture cannot be read: ${error.message}`); // a canvas with images of another origin, above all
      } finally { isBusy = false; }
    });
  });
  return { stop, inputs, camera, get isPaused() { return reasons.size > 0; } };
}
