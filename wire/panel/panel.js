// The panel in a notebook's output. The model's "now" is what was true as of a moment (snapshot.py); bill and countdown
// run on from there by this clock, for as long as there is news. Nothing is fetched from anywhere: what dollars() is,
// stands in front of this (wire/money.js, which the broker's page has, too).

const KEPT = 120;
const TICK_MS = 1000;
const SILENT_MS = 6_000; // with samples, which come once a second
const SILENT_WITHOUT_SAMPLES_MS = 15_000; // a lease is renewed every 5 s, and that is news
const CHARTS = [
  { name: "GPU", place: 1, top: () => 100, text: (gpu) => percent(gpu.utilization) },
  { name: "Memory", place: 2, own: 3, top: (gpu) => gpu.memory_total, text: memory },
  { name: "Power", place: 4, top: (gpu) => gpu.power_limit, text: power },
  { name: "Temperature", place: 5, top: () => 100, text: (gpu) => (gpu.temperature === null ? "" : `${gpu.temperature} °C`) },
];
const STATES = { detached: "no GPU", queued: "waiting", starting: "attaching", attached: "", suspended: "released", frozen: "out of contact", saved: "released", terminated: "ended" };
const SCOPES = { kernel: "this kernel", user: "all that you use", month: "this month" };
const views = new Map(); // model → its views on this page, oldest first

// figures -------------------------------------------------------------------------------------------------------------

function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

const percent = (value) => (value === null ? "" : `${Math.round(value)} %`);
const gib = (bytes) => (bytes / 2 ** 30).toFixed(bytes >= 100 * 2 ** 30 ? 0 : 1);
const clock = (iso) => new Date(iso).toLocaleTimeString("en-GB");

function memory(gpu) {
  if (gpu.memory === null) return "";
  const total = gpu.memory_total ? ` of ${Math.round(gpu.memory_total / 2 ** 30)}` : "";
  return `${gib(gpu.memory)}${total} GiB`;
}

function power(gpu) {
  if (gpu.power === null) return "";
  return `${Math.round(gpu.power / 1000)}${gpu.power_limit ? ` of ${Math.round(gpu.power_limit / 1000)}` : ""} W`;
}

// elements ------------------------------------------------------------------------------------------------------------

function make(tag, className, ...children) {
  const svg = tag === "svg" || tag === "polyline";
  const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  if (className) element.setAttribute("class", className);
  element.append(...children);
  return element;
}

/** Set a text only where it differs: what is selected or being read out is left alone. */
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function show(element, shown) {
  if (element.hidden === shown) element.hidden = !shown;
}

// what the model knows ------------------------------------------------------------------------------------------------

/** The charts' past is the model's, so that each view of it, and one that is made anew, begins with all of it. */
function remember(model) {
  const now = model.get("now");
  const history = model.get("history");
  const sample = now.sample;
  if (!sample || (history.length && history[history.length - 1][0] >= sample.at)) return;
  const gpus = sample.gpus.map((gpu) => [gpu.uuid, gpu.utilization, gpu.memory, gpu.own_memory, gpu.power, gpu.temperature]);
  history.push([sample.at, sample.cpu, gpus]);
  history.splice(0, Math.max(0, history.length - KEPT));
}

function points(history, uuid, place, top) {
  const drawn = [];
  history.forEach(([, , gpus], index) => {
    const value = gpus.find((gpu) => gpu[0] === uuid)?.[place];
    if (value !== null && value !== undefined && top) {
      const y = 1 - Math.min(1, value / top);
      drawn.push(`${KEPT - history.length + index},${(2 + y * 96).toFixed(1)}`);
    }
  });
  return drawn.join(" ");
}

// a view --------------------------------------------------------------------------------------------------------------

class View {
  constructor(model, element) {
    this.model = model;
    this.root = make("div", "perijove-panel");
    this.root.setAttribute("role", "group");
    this.heardAt = performance.now();
    this.state = make("span", "state");
    this.title = make("strong");
    this.simulated = make("span", "tag", "simulated");
    this.cost = make("strong");
    this.rate = make("span", "quiet");
    this.toggle = this.button("", () => this.fold(!this.root.classList.contains("small")), "plain");
    this.gpus = make("div", "gpus");
    this.lines = { told: make("p"), warning: make("p", "warning"), use: make("p", "quiet"), bill: make("p", "quiet") };
    this.budgets = make("div");
    this.interrupt = this.button("Interrupt", () => this.wish("interrupt"));
    this.release = this.button("Release now", () => this.releaseAsked());
    this.keep = this.button("Keep 10 min more", () => this.wish("keep"));
    this.attach = this.button("Resume", () => this.wish("attach"));
    this.sure = make("span", "", this.button("Yes, release", () => this.wish("release")), " ", this.button("No", () => this.ask(false)));
    this.question = make("span", "warning");
    this.asOf = make("span", "asof");
    this.heard = make("span", "heard"); // for screen readers: changes of state, never figures
    this.heard.setAttribute("aria-live", "polite");
    this.said = make("p");
    this.said.setAttribute("role", "status");
    const price = make("span", "price", this.cost, this.rate, this.toggle);
    const actions = make("div", "actions more", this.interrupt, this.release, this.keep, this.attach, this.question, this.sure, this.asOf);
    const more = make("div", "more", this.gpus, this.lines.use, this.lines.bill, this.budgets);
    this.root.append(make("div", "head", this.title, this.simulated, this.state, price), this.lines.told, this.lines.warning, more, actions, this.said, this.heard);
    this.ask(false);
    this.fold(false);
    this.draw();
    element.append(this.root);
    this.timer = setInterval(() => this.tick(), TICK_MS);
  }

  button(text, action, className = "") {
    const button = make("button", className, text);
    button.type = "button";
    button.addEventListener("click", action);
    return button;
  }

  wish(name) {
    this.ask(false);
    say(this.said, "");
    this.model.send({ wish: name, number: `${Date.now()} ${Math.random()}` }); // it may reach the kernel in two ways
  }

  /** What would stop a cell, or cost variables, is asked about first; in the panel, as notebooks block dialogs. */
  releaseAsked() {
    const now = this.model.get("now");
    if (!now.busy && now.keeps_state) return this.wish("release");
    const what = [now.busy ? "the cell is stopped" : "", now.keeps_state ? "" : "the variables over there are lost"];
    this.ask(`Release? Then ${what.filter(Boolean).join(" and ")}.`);
  }

  ask(question) {
    const before = this.root.contains(this.root.ownerDocument.activeElement);
    say(this.question, question || "");
    show(this.question, Boolean(question));
    show(this.sure, Boolean(question));
    if (question && before) this.sure.querySelector("button").focus();
  }

  fold(small) {
    this.root.classList.toggle("small", small);
    say(this.toggle, small ? "more" : "less");
    this.toggle.setAttribute("aria-expanded", String(!small));
  }

  changed() {
    this.heardAt = performance.now();
    this.draw();
  }

  /** Seconds since the news that is shown; nothing runs on once there should have been more. */
  age(now) {
    const ms = performance.now() - this.heardAt;
    const billed = now.money?.per_s > 0;
    this.stale = !now.connected || (billed && ms > (now.sample ? SILENT_MS : SILENT_WITHOUT_SAMPLES_MS));
    return this.stale ? 0 : ms / 1000;
  }

  draw() {
    this.drawnAt = performance.now();
    const now = this.model.get("now");
    const age = this.age(now);
    const granted = now.model ? `${now.count > 1 ? `${now.count} × ` : ""}${now.model}` : now.asked || now.name;
    const where = now.agent ? ` on ${now.agent}` : "";
    say(this.title, granted + where);
    show(this.simulated, Boolean(now.simulated));
    const asked = now.model && now.asked !== now.model && now.asked !== granted ? `asked for ${now.asked} · ` : "";
    this.stateText = asked + this.told(now, age);
    say(this.state, this.stateText);
    this.root.dataset.tone = this.tone(now);
    this.root.setAttribute("aria-label", `GPU of ${now.name}: ${granted}${where}${now.simulated ? ", simulated" : ""}`);
    if (this.announced !== `${now.state} ${now.busy}`) {
      this.announced = `${now.state} ${now.busy}`;
      say(this.heard, `${granted}: ${now.busy ? "busy" : this.told(now, age)}`);
    }
    this.drawMoney(now, age);
    this.drawGpus(now);
    this.drawButtons(now);
    say(this.lines.told, now.state === "queued" ? now.queue_reason : now.notice || now.draining || "");
    const usedUp = (now.budgets ?? []).some((budget) => budget.spent >= budget.limit);
    say(this.lines.warning, usedUp ? "The budget is used up: `%gpu budget` says which, and how to raise it." : now.budget_warning || "");
    say(this.said, now.said || "");
    this.drawAsOf(now);
  }

  /** What goes on by itself between two pieces of news. */
  tick() {
    if (document.hidden || !this.root.isConnected || performance.now() - this.drawnAt < TICK_MS) return;
    const now = this.model.get("now");
    const age = this.age(now);
    say(this.state, (now.model && this.stateText.startsWith("asked for") ? this.stateText.split(" · ")[0] + " · " : "") + this.told(now, age));
    this.drawMoney(now, age);
    this.drawAsOf(now);
  }

  told(now, age) {
    if (!now.state) return "nothing has run yet";
    if (now.state !== "attached") return STATES[now.state] + (now.state === "suspended" ? ", variables kept" : "");
    if (now.busy) return now.keep_extra_s ? `busy, then kept ${duration(now.keep_extra_s)} longer` : "busy";
    if (now.release_in_s === null) return "idle";
    const kept = now.keeps_state ? "variables kept" : "variables lost then";
    return `idle, released in ${duration(now.release_in_s - age)}, ${kept}`;
  }

  tone(now) {
    if (this.stale || now.notice) return "bad";
    if (now.state === "attached") return now.busy ? "busy" : "idle";
    return now.state === "queued" || now.state === "starting" ? "wait" : "none";
  }

  drawMoney(now, age) {
    const money = now.money;
    if (!money) return say(this.cost, "");
    const more = money.per_s * age;
    say(this.cost, dollars(money.spent + more) + (money.simulated ? (money.mixed ? " partly simulated" : " simulated") : ""));
    say(this.rate, money.per_s ? `${dollars(money.per_s * 3600, { places: 2 })}/h` : "not billed now");
    const times = { starting: money.starting_ms, busy: money.busy_ms, idle: money.idle_ms };
    times[now.state === "starting" ? "starting" : now.busy ? "busy" : "idle"] += money.per_s ? age * 1000 : 0;
    const parts = money.per_s ? Object.entries(times).filter(([, ms]) => ms >= 500).map(([name, ms]) => `${name} ${duration(ms / 1000)}`) : [];
    if (money.saved >= 100_000) parts.push(`releasing has saved ${dollars(money.saved)}${money.simulated ? " simulated" : ""}`);
    say(this.lines.bill, parts.length ? `This lease: ${parts.join(", ")}`.replace(/^This lease: releasing/, "Releasing") : "");
    this.drawBudgets(now.budgets, more);
  }

  drawBudgets(budgets, more) {
    while (this.budgets.children.length > budgets.length) this.budgets.lastChild.remove();
    budgets.forEach((budget, index) => {
      let line = this.budgets.children[index];
      if (!line) {
        line = make("div", "budget", make("div", "bar", make("div")), make("span"));
        line.firstChild.setAttribute("role", "progressbar");
        line.firstChild.setAttribute("aria-valuemin", "0");
        line.firstChild.setAttribute("aria-valuemax", "100");
        this.budgets.append(line);
      }
      const spent = Math.min(budget.limit, budget.spent + (budget.runs ? more : 0));
      const share = budget.limit ? (100 * spent) / budget.limit : 100;
      const [bar, text] = line.children;
      bar.setAttribute("class", `bar${share >= 100 ? " over" : share >= 80 ? " near" : ""}`);
      bar.setAttribute("aria-valuenow", share.toFixed(0));
      bar.setAttribute("aria-label", `budget, ${SCOPES[budget.scope] ?? budget.scope}`);
      bar.firstChild.style.width = `${share.toFixed(1)}%`;
      say(text, `${dollars(budget.limit - spent)} of ${dollars(budget.limit)} left, ${SCOPES[budget.scope] ?? budget.scope}${budget.simulated ? " (simulated)" : ""}${budget.set_by ? `, set by ${budget.set_by}` : ""}`);
    });
  }

  drawGpus(now) {
    const sample = now.state === "attached" ? now.sample : null;
    const drawn = sample?.at ?? "";
    if (this.sampleDrawn === drawn) return; // news of something else
    this.sampleDrawn = drawn;
    const gpus = sample ? sample.gpus : [];
    while (this.gpus.children.length > gpus.length) this.gpus.lastChild.remove();
    gpus.forEach((gpu, index) => {
      const box = this.gpus.children[index] ?? this.gpus.appendChild(this.gpuBox());
      this.drawGpu(box, gpu, gpus.length > 1 ? `GPU ${index + 1} of ${gpus.length}` : "");
    });
    const use = [];
    if (sample) {
      const own = gpus.reduce((sum, gpu) => sum + (gpu.own_memory ?? 0), 0);
      if (gpus.some((gpu) => gpu.own_memory !== null)) use.push(`${gib(own)} GiB on the GPU`);
      use.push(`CPU ${Math.round(sample.cpu)} % of a core, ${gib(sample.memory)} GiB in ${sample.processes} ${sample.processes === 1 ? "process" : "processes"}`);
    }
    const host = sample && now.host ? ` · Host: CPU ${Math.round(now.host.cpu)} % of ${now.host.cores} cores, ${gib(now.host.memory)} of ${gib(now.host.memory_total)} GiB` : "";
    say(this.lines.use, use.length ? `Yours: ${use.join(", ")}${host}` : "");
  }

  gpuBox() {
    const charts = CHARTS.map(({ name, own }) => {
      const svg = make("svg", "", make("polyline"), ...(own ? [make("polyline", "own")] : []));
      svg.setAttribute("viewBox", `0 0 ${KEPT - 1} 100`);
      svg.setAttribute("preserveAspectRatio", "none");
      svg.setAttribute("role", "img");
      return make("figure", "", make("figcaption", "", make("span", "", name), make("b")), svg);
    });
    return make("div", "gpu", make("h4"), ...charts, make("p", "problem"));
  }

  drawGpu(box, gpu, name) {
    const history = this.model.get("history");
    const [heading, ...rest] = box.children;
    say(heading, name);
    CHARTS.forEach((chart, index) => {
      const figure = rest[index];
      const text = chart.text(gpu);
      show(figure, text !== "");
      if (text === "") return;
      const [caption, svg] = figure.children;
      say(caption.lastChild, text);
      const top = chart.top(gpu);
      svg.children[0].setAttribute("points", points(history, gpu.uuid, chart.place, top));
      if (chart.own) svg.children[1].setAttribute("points", points(history, gpu.uuid, chart.own, top));
      svg.setAttribute("aria-label", `${chart.name} ${text}, the last two minutes as a line`);
    });
    const slowed = gpu.throttled_by.length ? `slowed down by ${gpu.throttled_by.join(" and ")}` : "";
    say(rest[rest.length - 1], gpu.problem || slowed);
  }

  drawButtons(now) {
    const holds = now.state === "attached" || now.state === "starting";
    show(this.interrupt, now.state === "attached");
    this.interrupt.disabled = !now.busy;
    show(this.release, holds || now.state === "queued");
    say(this.release, now.state === "queued" ? "Stop waiting" : "Release now");
    show(this.keep, now.state === "attached");
    show(this.attach, now.state === "suspended" || now.state === "detached");
    say(this.attach, now.state === "suspended" ? "Resume" : "Attach");
    if (!holds) this.ask(false);
  }

  drawAsOf(now) {
    const why = now.connected ? "no news" : "the broker is out of reach";
    say(this.asOf, this.stale ? `as of ${clock(now.as_of)}: ${why} since` : `as of ${clock(now.as_of)}`);
    this.asOf.classList.toggle("stale", this.stale);
    this.root.classList.toggle("stale", this.stale);
    if (this.stale) this.root.dataset.tone = "bad";
  }

  close() {
    clearInterval(this.timer);
  }
}

// anywidget -----------------------------------------------------------------------------------------------------------

function initialize({ model }) {
  const id = model.get("panel_id") ?? "";
  model.send({ here: true }); // a notebook shows the panel by itself only where its script has been loaded
  model.on("change:now", () => {
    remember(model);
    for (const view of views.get(id) ?? []) view.changed();
  });
}

/** The newest view is open, those above it say the same in one line; each has its own word on that afterwards. */
function render({ model, el }) {
  const id = model.get("panel_id") ?? "";
  const here = views.get(id) ?? [];
  for (const view of here) view.fold(true);
  const view = new View(model, el);
  views.set(id, [...here, view]);
  return () => {
    view.close();
    views.set(id, (views.get(id) ?? []).filter((other) => other !== view));
  };
}

export default { initialize, render };
