import { Session } from "../client/gi-client.js";

/** grab() gives { data: RGB bytes, width, height }, null at the end; press(state) holds what it is given. */
export async function playGame(grab, press) {
  const session = await new Session("http://127.0.0.1:8000", { seed: 1, onStatus: (kind, words) => console.error(kind, words) }).open();
  for (let frame; !session.isClosed && (frame = await grab()); ) {
    session.send(frame);
    const state = session.due();
    if (state) press(state);
  }
  session.close();
  press(session.state); // nothing is held any more
}
