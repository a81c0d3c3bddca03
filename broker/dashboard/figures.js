// Numbers as people read them.

import { dollars } from "./money.js"; // the panel in notebooks has it, too

export { dollars };

/** An amount in front, and what stands apart: simulated dollars are in no total. */
export function money({ real, simulated }) {
  if (simulated && !real) return [dollars(simulated), "simulated"];
  return [dollars(real), simulated ? `and ${dollars(simulated)} simulated` : ""];
}

/** All users' amounts together. */
export function sum(byUser = {}) {
  const amounts = Object.values(byUser);
  const total = (name) => amounts.reduce((so_far, amount) => so_far + amount[name], 0);
  return { real: total("real"), simulated: total("simulated") };
}

/** "23 ms", "3.4 s", "12 s", "2 min 5 s", "3 h 12 min". */
export function duration(seconds) {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

/** In GiB, as drivers' tools do. */
export function bytes(count) {
  const gib = count / 2 ** 30;
  return gib >= 1 ? `${gib.toFixed(gib >= 100 ? 0 : 1)} GiB` : `${Math.round(count / 2 ** 20)} MiB`;
}
