// Programs that play the game by the same events a person makes: one that reads the game's state, one that presses at
// random, one that does nothing. `act(world)` says what to hold during the next tick, as an input state.

import { DEGREES_A_COUNT } from "./world.js";
import { randomOf } from "./random.js";

const DEGREES = 180 / Math.PI;
const FASTEST = 10; // degrees a tick: what a wrist does
const ON_TARGET = 2.2; // degrees off at which it fires

/** Turns to the nearest drone it sees, walks up to it, fires when it is in the crosshair; else looks around. */
export class Demonstrator {
  reset(seed) {
    this.random = randomOf(seed + 77);
    this.drift = 1;
    this.strafe = "KeyD";
    this.ticks = 0;
  }

  act(world) {
    this.ticks += 1;
    if (this.ticks % 25 === 0) this.strafe = this.random() < 0.5 ? "KeyA" : "KeyD";
    const target = this.choose(world);
    return target ? this.hunt(world, target) : this.search(world);
  }

  /** The drone in sight that costs the least turning and walking, or undefined. */
  choose(world) {
    const { player } = world;
    return world.drones
      .filter((drone) => drone.respawn === 0 && world.sees(drone.x, drone.y))
      .map((drone) => {
        const dx = drone.x - player.x, dy = drone.y - player.y, distance = Math.hypot(dx, dy);
        const off = wrap(Math.atan2(dy, dx) - player.angle) * DEGREES;
        return { off, distance, cost: Math.abs(off) + 4 * distance };
      })
      .sort((a, b) => a.cost - b.cost)[0];
  }

  hunt(world, { off, distance }) {
    const counts = toCounts(off);
    const keys = distance > 4 ? ["KeyW"] : distance < 2 ? ["KeyS"] : [this.strafe];
    return { keys, buttons: world.aimedAt() || Math.abs(off) < ON_TARGET ? ["MouseLeft"] : [], motion: [counts, 0] };
  }

  search(world) {
    const { player } = world, ahead = world.look(player.x, player.y, Math.cos(player.angle), Math.sin(player.angle));
    if (ahead < 1.5 && this.random() < 0.2) this.drift = -this.drift;
    return { keys: ahead > 1.2 ? ["KeyW"] : [], buttons: [], motion: [toCounts(7 * this.drift), 0] };
  }
}

/** Holds something else every few ticks. */
export class RandomPlayer {
  reset(seed) {
    this.random = randomOf(seed + 99);
    this.state = {};
  }

  act() {
    if (!this.state.keys || this.random() < 0.2)
      this.state = {
        keys: ["KeyW", "KeyA", "KeyS", "KeyD"].filter(() => this.random() < 0.3),
        buttons: this.random() < 0.5 ? ["MouseLeft"] : [],
        motion: [Math.round((this.random() - 0.5) * 80), 0],
      };
    return this.state;
  }
}

export class IdlePlayer {
  reset() {}

  act() {
    return {};
  }
}

const toCounts = (degrees) => Math.round(Math.max(-FASTEST, Math.min(FASTEST, degrees * 0.6)) / DEGREES_A_COUNT);

/** An angle in [-pi, pi). */
const wrap = (angle) => ((((angle + Math.PI) % (2 * Math.PI)) + 2 * Math.PI) % (2 * Math.PI)) - Math.PI;
