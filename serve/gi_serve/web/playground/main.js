// The playground: who may look, at which of the three tabs, and what is wrong.

import { Api } from "./api.js";
import { CodeTab } from "./code.js";
import { Live } from "./live.js";
import { VideoTab } from "./video.js";
import { Viewer } from "./viewer.js";

const RETRY_MS = 2000;
const element = (id) => document.getElementById(id);
const api = new Api(), viewer = new Viewer();
const live = new Live(api, viewer, complain), video = new VideoTab(api, viewer), code = new CodeTab();
let models = [], retry = 0;

/** Ask for the models: that tells whether the server is there, and whether it knows us. */
async function enter() {
  clearTimeout(retry);
  try {
    models = await api.get("/v1/models");
    element("unlock").hidden = true;
    element("main").hidden = false;
    live.isUnlocked = true;
    complain("");
    describe();
    await live.refresh();
  } catch (error) {
    complain(error.message, error.status);
  }
}

/** Say what is wrong; ask for a key where that is it; come back by ourselves where the server is away. */
function complain(words, status) {
  const needsKey = status === 401 || status === 403;
  element("problem").textContent = needsKey && !api.key ? "" : words;
  element("problem").hidden = !element("problem").textContent;
  if (!words) return;
  if (needsKey) {
    live.isUnlocked = false;
    element("server").textContent = "This server has keys.";
    element("unlock").hidden = false;
    element("main").hidden = true;
    element("key").focus();
  } else {
    element("server").textContent = status === 0 ? "The server is away; trying again." : "The server has a problem.";
    clearTimeout(retry);
    retry = setTimeout(enter, RETRY_MS);
  }
}

function describe() {
  const plural = models.length === 1 ? "" : "s";
  element("server").textContent = models.length
    ? `${models.length} model${plural}: ${models.map(({ name, fps }) => `${name} at ${fps} fps`).join(", ")}`
    : "No model is loaded.";
  const chosen = element("model").value;
  element("model").replaceChildren(...models.map(({ name }) => new Option(name)));
  if (models.some(({ name }) => name === chosen)) element("model").value = chosen;
  offerAdapters();
}

/** Adapters of the chosen model; nothing about them where there are none. */
function offerAdapters() {
  const adapters = models.find(({ name }) => name === element("model").value)?.adapters ?? [];
  const names = adapters.map((each) => each.name ?? each);
  element("adapter").replaceChildren(new Option("none, the base", ""), ...names.map((name) => new Option(name)));
  for (const part of document.querySelectorAll(".adapted")) part.hidden = !names.length;
}

// ---------------------------------------------------------------- tabs

const tabs = [...document.querySelectorAll('[role="tab"]')];

function choose(tab) {
  for (const each of tabs) {
    const isChosen = each === tab;
    each.ariaSelected = String(isChosen);
    each.tabIndex = isChosen ? 0 : -1;
    element(each.getAttribute("aria-controls")).hidden = !isChosen;
  }
  live.isShown = tab.id === "tab-live";
  if (live.isShown) {
    video.stop();
    live.refresh();
  } else live.leave();
  if (tab.id === "tab-code" && !code.examples) code.load().catch(() => complain("The examples cannot be loaded."));
}

for (const [i, tab] of tabs.entries()) {
  tab.addEventListener("click", () => choose(tab));
  tab.addEventListener("keydown", ({ key }) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[key];
    if (!step) return;
    const next = tabs[(i + step + tabs.length) % tabs.length];
    next.focus();
    choose(next);
  });
}

element("unlock").addEventListener("submit", (event) => {
  event.preventDefault();
  api.key = element("key").value.trim();
  element("key").value = "";
  enter();
});
element("model").addEventListener("change", offerAdapters);
addEventListener("error", (event) => complain(`The page failed: ${event.message}`));

await enter();
window.playground = { viewer, live, video, isReady: true };
