// Amounts as people read them, in pages and widgets; format_dollars in money.py says the same.

/** Nano-dollars: "$0.0039", "$12.34"; never a bare zero for a cost. */
export function dollars(nanodollars, { places = nanodollars >= 1e10 ? 2 : 4 } = {}) {
  if (nanodollars > 0 && nanodollars < 100_000) return "<$0.0001";
  const step = 10 ** (9 - places); // in whole numbers and half to even, as everywhere else
  let steps = Math.floor(nanodollars / step);
  const rest = nanodollars % step;
  if (rest * 2 > step || (rest * 2 === step && steps % 2 === 1)) steps += 1;
  const perDollar = 10 ** places;
  return `$${Math.floor(steps / perDollar).toLocaleString("en")}.${String(steps % perDollar).padStart(places, "0")}`;
}
