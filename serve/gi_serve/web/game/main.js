// The page of the game: who plays, whether it is recorded, and what a person is told.
//
// ?seed=3 the arena · ?player=person|demonstrator|random|idle|server starts at once · ?fast programs play as fast as the
// machine can · ?episodes=8 as many in a row, seed after seed · ?seconds=10 shorter games · ?record records programs (a
// person ticks the box). `window.game` tells scripts the score.

import { Inputs, NEUTRAL, Session, play } from "../client/gi-client.js";
import { PlayRecorder } from "../shared/recorder.js";
import { Controls, BINDINGS } from "./controls.js";
import { Loop, TICKS_A_SECOND } from "./loop.js";
import { Demonstrator, IdlePlayer, RandomPlayer } from "./players.js";
import { Renderer } from "./renderer.js";
import { SECONDS, STEPS_A_SECOND, World } from "./world.js";

const GAME = "web/arena";
const RECORDED = { width: 160, height: 120 };
const PROGRAMS = { demonstrator: Demonstrator, random: RandomPlayer, idle: IdlePlayer };
const LABELS = { demonstrator: "The demonstrator", server: "The server's policy", random: "Random", idle: "Idle" };
const GOAL = "Hit as many drones as you can before the time is up.";
const wishes = new URLSearchParams(location.search);
const element = (id) => document.getElementById(id);
const seconds = Number(wishes.get("seconds")) || SECONDS;
const canvas = element("screen");

const controls = new Controls(canvas);
const renderer = new Renderer(canvas);
const loop = new Loop({ renderer, controls, onTick, onStep, onOver });
const inputs = new Inputs(canvas);

let state = "menu"; // menu, playing, paused, over
let player = "person", program = null, remote = null, recorder = null, pressed = new Set(), episodesLeft = 0;

// ---------------------------------------------------------------- a tick

const now_us = () => Math.round((loop.world.step * 1e6) / STEPS_A_SECOND);

function onTick() {
  recorder?.frame(now_us(), canvas);
  if (program) inputs.hold({ ...NEUTRAL, ...program.act(loop.world) });
  element("score").textContent = loop.world.score;
  element("clock").textContent = Math.ceil(loop.world.secondsLeft);
  element("clock").parentElement.classList.toggle("hurry", loop.world.secondsLeft <= 10);
}

/** What a step takes in, as changes: the recording holds what the game really got. */
function onStep({ held, turn }) {
  if (!recorder) return;
  for (const control of held) if (!pressed.has(control)) recorder.press(now_us(), control);
  for (const control of pressed) if (!held.has(control)) recorder.release(now_us(), control);
  if (turn) recorder.move(now_us(), turn, 0);
  pressed = held;
}

// ---------------------------------------------------------------- a game, from its start to its end

async function start({ seed = Number(element("seed").value) || 0, who = "person" } = {}) {
  quit();
  player = who;
  program = PROGRAMS[who] ? new PROGRAMS[who]() : null;
  program?.reset(seed);
  const world = new World(seed, seconds);
  renderer.draw(world);
  say("");
  try {
    if (wantsRecording()) recorder = await beginRecording(seed);
    if (who === "server") remote = await connect();
    if (who === "person") await lock();
  } catch (error) {
    quit();
    return complain(error.message);
  }
  pressed = new Set();
  state = "playing";
  element("cover").hidden = true;
  element("live").hidden = who === "person" && !recorder;
  element("live").textContent = [who === "person" ? "" : `${LABELS[who]} plays`, recorder ? "recording" : ""].filter(Boolean).join(" · ");
  loop.run(world, { isFast: program !== null && wishes.has("fast") });
}

function pause(words) {
  if (state !== "playing") return;
  state = "paused"; // first: what follows may end the pointer lock, which pauses, too
  loop.pause();
  inputs.release();
  recorder?.flush();
  show("Paused", words, [["Go on", resume, true], ["End", () => over("Ended")]]);
}

async function resume() {
  try {
    if (player === "person") await lock();
  } catch (error) {
    return say(error.message);
  }
  say("");
  state = "playing";
  element("cover").hidden = true;
  loop.run(loop.world, { isFast: program !== null && wishes.has("fast") });
}

function onOver() {
  over("Time is up");
}

async function over(title) {
  const { world } = loop, result = { player, seed: world.seed, score: world.score, shots: world.shots, digest: world.digest() };
  state = "over";
  loop.pause();
  dismiss("the game is over");
  inputs.release();
  if (document.pointerLockElement) document.exitPointerLock();
  const accuracy = world.shots ? `, ${Math.round((100 * world.score) / world.shots)} % of ${world.shots} shots` : "";
  show(title, `${world.score} hits${accuracy}.`, [["Play again", () => start({ who: player }), true]]);
  await endRecording(result);
  game.results.push(result);
  if (--episodesLeft > 0) start({ seed: world.seed + 1, who: player });
}

/** Leave whatever runs, without a word. */
function quit() {
  loop.pause();
  dismiss("another game began");
  inputs.release();
  if (recorder) recorder.finish().catch(() => {});
  recorder = null;
}

// ---------------------------------------------------------------- who plays

/** The person's pointer belongs to the game until Escape. */
async function lock() {
  if (!canvas.requestPointerLock) throw new Error("This browser cannot give the mouse to a game: play on a computer.");
  canvas.focus();
  try {
    const asked = canvas.requestPointerLock({ unadjustedMovement: true }); // older browsers promise nothing
    await asked?.catch(() => canvas.requestPointerLock()); // not every system can switch acceleration off
  } catch {
    throw new Error("The browser keeps the mouse for now: wait a second and click again."); // after Escape it does
  }
}

function dismiss(words) {
  const ended = remote;
  remote = null; // first: it is no news to us
  ended?.stop(words);
}

async function connect() {
  const session = new Session(location.origin, { token: element("key").value || undefined, fps: TICKS_A_SECOND, seed: 0 });
  await session.open();
  const tell = (kind, words) => {
    if (!remote) return; // this page ended it
    if (kind === "down") pause(words);
    else if (kind === "resumed" && state === "paused") resume();
    else if (["error", "going away"].includes(kind)) element("live").textContent = words;
    else if (["lost", "stopped", "closed"].includes(kind)) {
      quit();
      complain(words);
    }
  };
  return play(session, { source: canvas, target: inputs, fps: TICKS_A_SECOND, onStatus: tell }); // the rate it was recorded at
}

// ---------------------------------------------------------------- recording

let offer = null; // what the server says of recordings

async function askAboutRecording() {
  const response = await fetch("/v1/recordings").catch(() => null);
  offer = response?.ok ? await response.json() : null;
  if (!response) element("recording-state").textContent = "The server cannot be reached; you can play all the same.";
  else if (!offer?.is_on) element("recording-state").textContent = "This server does not record. One that does: gi record web/arena --browser";
  else element("recording-state").textContent = "Your play helps to train players. Nothing is recorded unless you tick the box.";
  element("consent-fields").disabled = element("consent-fields").hidden = !offer?.is_on;
  element("consent-text").textContent = offer?.consent_text ?? "";
  element("keyed").hidden = !offer?.needs_key;
}

/** A person ticks the box; a program records if the URL says so. */
const wantsRecording = () => offer?.is_on && (player === "person" ? element("agree").checked : program && wishes.has("record"));

function beginRecording(seed) {
  const wish = {
    ...RECORDED,
    game: GAME,
    fps: TICKS_A_SECOND,
    bindings: BINDINGS,
    seed,
    demonstrator: player === "person" ? "human" : player,
    player: player === "person" ? element("player").value.trim() : "",
    license: player === "person" ? element("license").value : "CC0-1.0",
    consent: true,
    consent_text: offer.consent_text,
  };
  const onStatus = (kind, words) => {
    element("live").hidden = false;
    element("live").textContent = words;
    if (kind === "failed") complain(words);
  };
  return PlayRecorder.begin(wish, { key: element("key").value, onStatus });
}

async function endRecording(result) {
  const ended = recorder;
  recorder = null;
  if (!ended) return;
  for (const control of pressed) ended.release(now_us(), control);
  try {
    const report = await ended.finish({ score: result.score, end_us: now_us() });
    Object.assign(result, { recording: report });
    element("receipt").textContent = `Recorded ${report.seconds.toFixed(0)} s. To take it back, name this: ${report.recording_id}`;
  } catch (error) {
    complain(`The recording could not be finished: ${error.message}`);
  }
}

// ---------------------------------------------------------------- words

function show(title, words, buttons) {
  element("title").textContent = title;
  element("words").textContent = words;
  element("buttons").replaceChildren(...buttons.map(([label, act, isPrimary]) => button(label, act, isPrimary)));
  element("cover").hidden = false;
  element("live").hidden = true;
  if (player === "person") element("buttons").firstElementChild?.focus();
}

function say(words) {
  element("problem").textContent = words;
  element("problem").hidden = !words;
}

function complain(words) {
  say(words);
  if (state !== "over") {
    state = "menu";
    show("Drone Arena", GOAL, menu());
  }
}

function button(label, act, isPrimary = false) {
  const made = Object.assign(document.createElement("button"), { type: "button", textContent: label });
  made.classList.toggle("primary", isPrimary);
  made.addEventListener("click", () => act());
  return made;
}

const menu = () => [["Play", () => start(), true]];

// ---------------------------------------------------------------- the page

document.addEventListener("visibilitychange", () => document.hidden && pause("The tab was hidden: every key is up."));
document.addEventListener("pointerlockchange", () => {
  if (player === "person" && !controls.isLocked) pause("The pointer is yours again: every key is up.");
});
canvas.addEventListener("contextlost", () => pause("The picture was lost: every key is up. Go on when it is back."));
addEventListener("error", (event) => complain(`The page failed: ${event.message}`));
for (const form of ["consent", "keyed"]) element(form).addEventListener("submit", (event) => event.preventDefault());
element("programs").append(...Object.entries(LABELS).map(([who, label]) => button(label, () => start({ who }))));
show("Drone Arena", GOAL, menu());

window.game = {
  start,
  results: [],
  get state() { return state; },
  get score() { return loop.world?.score ?? 0; },
  get shots() { return loop.world?.shots ?? 0; },
  get step() { return loop.world?.step ?? 0; },
  get seed() { return loop.world?.seed ?? 0; },
  get secondsLeft() { return loop.world?.secondsLeft ?? 0; },
  get held() { return [...controls.held].sort(); },
  get digest() { return loop.world?.digest() ?? ""; },
};

element("seed").value = Number(wishes.get("seed")) || 0;
renderer.draw(new World(Number(element("seed").value), seconds));
await askAboutRecording();
game.isReady = true;
if (wishes.get("player") in { ...LABELS }) {
  episodesLeft = Number(wishes.get("episodes")) || 1;
  start({ who: wishes.get("player") });
}
