import { Session, play } from "../client/gi-client.js";

const canvas = document.getElementById("game"), words = document.getElementById("words");
const say = (kind, text) => (words.textContent = `${kind}: ${text}`);

try {
  const session = await new Session("http://127.0.0.1:8000", { seed: 1 }).open();
  play(session, { source: canvas, target: canvas, onStatus: say });
} catch (error) {
  say("closed", error.message);
}
