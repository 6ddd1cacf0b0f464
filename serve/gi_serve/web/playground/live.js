// The tab of live sessions: a list that stays fresh, and one of them in the viewer.

const REFRESH_MS = 2000;
const element = (id) => document.getElementById(id);

export class Live {
  constructor(api, viewer, onProblem) {
    Object.assign(this, { api, viewer, onProblem, tag: null, socket: null });
    setInterval(() => document.hidden || this.isShown === false || this.refresh(), REFRESH_MS);
    document.addEventListener("visibilitychange", () => (document.hidden ? this.rest() : this.wake()));
  }

  /** Ask who plays. */
  async refresh() {
    if (!this.isUnlocked) return;
    try {
      const sessions = await this.api.get("/v1/sessions");
      this.onProblem("");
      this.list(sessions);
    } catch (error) {
      this.onProblem(error.message, error.status);
    }
  }

  list(sessions) {
    element("live-hint").textContent = sessions.length
      ? "Sessions that are played now, as their model sees them."
      : "Nobody plays at the moment. Start a game, for example Drone Arena with the server's policy.";
    const rows = sessions.map((session) => {
      const row = document.createElement("li"), button = document.createElement("button"), facts = document.createElement("span");
      button.type = "button";
      button.ariaPressed = String(session.tag === this.tag);
      button.append(Object.assign(document.createElement("b"), { textContent: session.tag }), facts);
      facts.textContent = `${session.model}${session.is_yours ? "" : " (another key's)"} · ${session.num_answers} answers`;
      button.addEventListener("click", () => this.watch(session.tag));
      row.append(button);
      return row;
    });
    const focused = document.activeElement?.closest("#sessions button")?.querySelector("b").textContent;
    element("sessions").replaceChildren(...rows);
    rows.find((row) => row.querySelector("b").textContent === focused)?.querySelector("button").focus({ preventScroll: true });
  }

  /** Look over the shoulder of one. */
  watch(tag) {
    this.leave();
    this.tag = tag;
    const socket = (this.socket = this.api.connect(`/v1/sessions/${tag}/watch`));
    let words = "The session cannot be watched: it ended, or the server is gone.";
    socket.onmessage = ({ data }) => {
      const message = JSON.parse(data);
      if (message.type === "watch.started") {
        words = "The connection to the server is lost.";
        this.viewer.clear(`Session ${tag}, ${message.model}`, { factors: message.factors, deadlineMs: message.deadline_ms });
        this.say(`Watching ${tag}.`);
      } else if (message.type === "watch.update") this.show(message);
      else if (message.type === "watch.ended") words = `${message.reason[0].toUpperCase()}${message.reason.slice(1)}.`;
    };
    socket.onclose = () => {
      if (socket !== this.socket) return;
      this.leave();
      this.say(words);
      this.refresh();
    };
    this.refresh();
  }

  show({ frame, answers }) {
    if (frame) {
      const image = new Image();
      image.onload = () => this.viewer.show(image, image.naturalWidth, image.naturalHeight);
      image.src = `data:image/jpeg;base64,${frame.jpeg}`;
    }
    for (const answer of answers)
      this.viewer.hear({ ...answer, ageMs: answer.age_us / 1000, isLate: answer.is_late, numDropped: answer.num_dropped });
  }

  /** Stop watching. */
  leave() {
    const socket = this.socket;
    this.socket = this.tag = null;
    socket?.close();
  }

  /** The tab is hidden: nobody looks, so nothing need be sent. */
  rest() {
    this.resting = this.tag;
    this.leave();
  }

  wake() {
    if (this.resting && this.isShown !== false) this.watch(this.resting);
    this.resting = null;
  }

  say(words) {
    element("watching").textContent = words;
  }
}
