// The game's clock: steps of 1/60 s, a tick every three of them, in real time or as fast as the machine can.
//
//     tick: draw, tell whoever watches (recorder), ask whoever plays, then three steps
//
// What is recorded is what the steps took in, at the game's own time: a frame and the inputs after it cannot drift apart,
// and a pause leaves no gap.

import { STEPS_A_SECOND } from "./world.js";

export const STEPS_A_TICK = 3;
export const TICKS_A_SECOND = STEPS_A_SECOND / STEPS_A_TICK;
const MOST_STEPS = 9; // a frame that took longer slows the game down instead of skipping play
const breathe = () => new Promise((resolve) => setTimeout(resolve));

export class Loop {
  /** onTick(): after a tick's picture was drawn; onStep(taken): before the world takes it; onOver(). */
  constructor({ renderer, controls, onTick, onStep, onOver }) {
    Object.assign(this, { renderer, controls, onTick, onStep, onOver });
    this.world = null;
    this.isRunning = false;
  }

  /** Play `world` from where it is. isFast: not in real time (programs only). */
  run(world, { isFast = false } = {}) {
    this.world = world;
    this.isRunning = true;
    this.controls.isOn = true;
    this.serial = (this.serial ?? 0) + 1;
    if (isFast) this.hurry(this.serial);
    else this.follow(this.serial);
  }

  pause() {
    this.isRunning = false;
    this.controls.isOn = false;
    this.controls.letGo();
  }

  step() {
    const { world } = this;
    if (world.step % STEPS_A_TICK === 0) {
      this.renderer.draw(world);
      this.onTick();
    }
    const taken = this.controls.take();
    this.onStep(taken);
    world.advance(taken.input);
    if (world.isOver) {
      this.pause();
      this.renderer.draw(world);
      this.onOver();
    }
  }

  follow(serial) {
    let before, owed = 0;
    const frame = (now) => {
      if (!this.isRunning || serial !== this.serial) return;
      owed = Math.min(MOST_STEPS, owed + ((now - (before ?? now)) / 1000) * STEPS_A_SECOND);
      before = now;
      for (; owed >= 1 && this.isRunning; owed--) this.step();
      if (this.isRunning) this.renderer.draw(this.world);
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  }

  async hurry(serial) {
    for (let steps = 0; this.isRunning && serial === this.serial; steps++) {
      this.step();
      if (steps % STEPS_A_TICK === 0) await breathe();
    }
  }
}
