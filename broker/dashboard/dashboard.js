// The broker's page: one stream of events in (GET /api/live), a few requests out. No framework, nothing from elsewhere.
import { bytes, dollars, duration, money, sum } from "./figures.js";

const KEPT_SECONDS = 300; // as many as the broker keeps
const UNKNOWN = 255;
const SILENT_AFTER_MS = 5000;
const TOKEN = "perijove-token";
const $ = (id) => document.getElementById(id);

let token = tokenInAddress() || sessionStorage.getItem(TOKEN) || localStorage.getItem(TOKEN) || "";
let stream = null; // what stops the stream that is read now
let heardAt = 0;
const told = {}; // the newest event of each kind
let figuresAt = null; // of when the newest figures are, broker's clock; null where the history has them already
const history = new Map(); // GPU → its utilisation, a number a second, null where unknown

// elements ----------------------------------------------------------------------------------------------------------

function make(tag, attributes = {}, ...children) {
  const element = tag === "svg" || tag === "polyline" ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") element.addEventListener("click", value);
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** Set a text only where it differs: screen readers and selections are left alone otherwise. */
function say(element, text, className) {
  if (element.textContent !== text) element.textContent = text;
  if (className !== undefined && element.className !== className) element.className = className;
}

/** Keep one child for each item, in order: what has the focus keeps it. */
function keep(container, items, keyOf, create, update) {
  const before = new Map([...container.children].map((child) => [child.dataset.key, child]));
  let place = container.firstElementChild;
  for (const item of items) {
    const key = String(keyOf(item));
    let child = before.get(key);
    before.delete(key);
    if (!child) {
      child = create(item);
      child.dataset.key = key;
    }
    if (child === place) place = place.nextElementSibling;
    else container.insertBefore(child, place);
    update(child, item);
  }
  for (const child of before.values()) child.remove();
}

const part = (element, name) => element.querySelector(`[data-part="${name}"]`);

function facts(list, pairs) {
  const shown = pairs.filter(([, value]) => value);
  keep(list, shown.flatMap(([name, value]) => [["dt", name, name], ["dd", name, value]]), ([tag, name]) => tag + name,
    ([tag]) => make(tag), (child, [, , text]) => say(child, text));
}

// at a glance ---------------------------------------------------------------------------------------------------------

function draw() {
  const { fleet, figures, me, mine, spending, limits } = told;
  if (!fleet || !mine) return;
  const agents = fleet.agents.toSorted((one, other) => one.name.localeCompare(other.name) || one.id.localeCompare(other.id));
  const gpus = agents.flatMap((agent) => agent.gpus.map((gpu) => ({ ...gpu, agent })));
  const holders = new Map(mine.kernels.flatMap((kernel) => (kernel.gpus?.uuids ?? []).map((uuid) => [uuid, kernel])));
  say($("version"), fleet.version);
  say($("me"), `${me.name} (${me.role})`);
  drawTiles(gpus, told);
  $("queue-section").hidden = mine.queue.length === 0;
  keep($("queue"), mine.queue, (waiting) => waiting.kernel, () => make("li"),
    (item, waiting) => say(item, `${waiting.user}, ${duration(waiting.waiting_s)}: ${waiting.reason}`));
  $("no-gpus").hidden = gpus.length > 0;
  keep($("gpus"), gpus, (gpu) => `${gpu.agent.id} ${gpu.uuid}`, createGpu,
    (card, gpu) => drawGpu(card, gpu, figures?.gpus[gpu.uuid], holders.get(gpu.uuid)));
  $("no-kernels").hidden = mine.kernels.length > 0;
  keep($("kernels"), mine.kernels, (kernel) => kernel.id, createKernel, drawKernel);
  keep($("agents"), agents, (agent) => agent.id, createAgent, (card, agent) => drawAgent(card, agent, figures?.hosts[agent.id]));
  drawSpending(spending, limits, me);
}

function drawTiles(gpus, { me, mine, spending, latency }) {
  const held = gpus.filter((gpu) => gpu.state === "held").length;
  const whose = me.role === "admin" ? "everybody" : "you";
  const attach = latency?.total;
  const tiles = [
    ["GPUs held", `${held} of ${gpus.length}`, gpus.some((gpu) => gpu.simulated) ? "some are simulated" : ""],
    ["waiting", String(mine.queue.length), ""],
    ["per hour now", ...money(mine.rate)],
    ["today", ...money(sum(spending?.today)), whose],
    ["this month", ...money(sum(spending?.month)), whose],
    ["attach, p50", attach ? duration(attach.p50) : "none yet",
      attach ? `p95 ${duration(attach.p95)} · p99 ${duration(attach.p99)} · last ${attach.count === 1 ? "one" : attach.count}` : ""],
  ];
  keep($("tiles"), tiles, ([name]) => name,
    ([name]) => make("div", { class: "tile" }, make("span", {}, name), make("strong", { "data-part": "value" }), make("span", { "data-part": "more" })),
    (tile, [, value, ...more]) => {
      say(part(tile, "value"), value);
      say(part(tile, "more"), more.filter(Boolean).join(" · "));
    });
}

// GPUs --------------------------------------------------------------------------------------------------------------

const GPU_TAGS = { free: "good", held: "", lost: "bad", unhealthy: "bad" };

function createGpu() {
  return make("article", { class: "card" },
    make("h3", {}, make("span", { "data-part": "name" }), make("span", { "data-part": "state" }), make("span", { "data-part": "simulated", class: "tag warn" }, "simulated")),
    make("p", { "data-part": "why", class: "quiet" }),
    make("svg", { class: "chart", viewBox: `0 0 ${KEPT_SECONDS - 1} 100`, preserveAspectRatio: "none", role: "img" }),
    make("dl", { "data-part": "facts" }));
}

function drawGpu(card, gpu, figures, holder) {
  const away = gpu.agent.state === "away";
  const [use, used, power, heat, total, slowed, problem, xid] = figures ?? [];
  say(part(card, "name"), `${gpu.model} ${gpu.place} on ${gpu.agent.name}`);
  say(part(card, "state"), away ? "away" : gpu.state, `tag ${away ? "bad" : GPU_TAGS[gpu.state] ?? "warn"}`);
  part(card, "simulated").hidden = !gpu.simulated;
  const drains = gpu.agent.drain && gpu.state === "free" ? "its agent drains: nothing new comes here" : "";
  say(part(card, "why"), problem || gpu.reason || (holder ? `${holder.user} · ${holder.name}` : gpu.state === "held" ? "somebody else's" : drains),
    problem || gpu.reason ? "problem" : "quiet");
  const chart = card.querySelector("svg");
  drawChart(chart, history.get(gpu.uuid) ?? []);
  const now = use == null ? "use unknown" : `${Math.round(use)} % in use`;
  chart.setAttribute("aria-label", `${now}; the last five minutes`);
  facts(part(card, "facts"), [
    ["Use", use == null ? "unknown" : `${Math.round(use)} %`],
    ["Memory", used == null ? "" : `${bytes(used)} of ${bytes(total)}`],
    ["Power", power == null ? "" : `${Math.round(power / 1000)} W`],
    ["Temperature", heat == null ? "" : `${heat} °C${slowed?.length ? `, slowed by ${slowed.join(", ")}` : ""}`],
    ["Last error", xid ?? ""],
    ["Price", gpu.price_listed ? `${dollars(gpu.price_microdollars_per_second * 3600 * 1000)} per hour` : "no price is listed"],
  ]);
}

/** Utilisation from 0 to 100, the newest at the right; a line for each run of seconds that are known. */
function drawChart(chart, values) {
  const lines = [[]];
  values.forEach((value, place) => {
    if (value == null) lines.push([]);
    else lines.at(-1).push(`${KEPT_SECONDS - values.length + place},${98 - value * 0.96}`);
  });
  const known = lines.filter((line) => line.length > 0).map((line) => line.join(" "));
  while (chart.children.length > known.length) chart.lastChild.remove();
  while (chart.children.length < known.length) chart.append(make("polyline"));
  known.forEach((points, place) => chart.children[place].setAttribute("points", points));
}

// kernels -----------------------------------------------------------------------------------------------------------

const KERNEL_TAGS = { busy: "good", idle: "warn", queued: "warn", starting: "warn" };

function createKernel(kernel) {
  return make("article", { class: "card" },
    make("h3", {}, make("span", { "data-part": "name" }), make("span", { "data-part": "state" }), make("span", { "data-part": "simulated", class: "tag warn" }, "simulated")),
    make("p", { "data-part": "why" }),
    make("dl", { "data-part": "facts" }),
    make("meter", { "data-part": "budget", min: 0, low: 0.8, high: 0.95, optimum: 0, max: 1, "aria-label": "Part of the budget that is spent" }),
    make("div", { class: "actions" },
      make("button", { type: "button", "data-part": "release", onclick: () => askRelease(kernel.id) }, "Release"),
      make("button", { type: "button", onclick: () => askBudget(kernel.id) }, "Budget…")));
}

function drawKernel(card, kernel) {
  const state = kernel.state === "attached" ? (kernel.busy ? "busy" : "idle") : kernel.state;
  const { lease } = kernel;
  const simulated = kernel.simulated ? " simulated" : "";
  say(part(card, "name"), `${kernel.user} · ${kernel.name}`);
  say(part(card, "state"), state, `tag ${KERNEL_TAGS[state] ?? ""}`);
  part(card, "simulated").hidden = !kernel.simulated;
  say(part(card, "why"), kernel.queue_reason || kernel.notice || kernel.budget_warning, kernel.queue_reason ? "quiet" : "warning");
  const released = kernel.release_in_s == null ? "" : `in ${duration(kernel.release_in_s)}${kernel.keeps_state ? ", variables kept" : ", variables are lost"}`;
  const { usage } = kernel;
  facts(part(card, "facts"), [
    ["GPU", `${kernel.gpu}${lease && lease.count !== 1 ? ` × ${lease.count}` : ""}${kernel.agent ? ` on ${kernel.agent}` : ""}`],
    ["This lease", lease ? `${dollars(lease.cost_nanodollars)}${simulated}` : ""],
    ["Per hour", lease ? `${dollars(lease.price_microdollars_per_second * lease.count * 3600 * 1000)}${simulated}` : ""],
    ["Altogether", dollars(kernel.spent_nanodollars) + (kernel.budget_nanodollars == null ? "" : ` of ${dollars(kernel.budget_nanodollars)}`)
      + partly(kernel.spent_simulated_nanodollars, kernel.spent_nanodollars)],
    ["Saved by releasing", kernel.saved_nanodollars > 0 ? `${dollars(kernel.saved_nanodollars)}${partly(kernel.saved_simulated_nanodollars, kernel.saved_nanodollars)}` : ""],
    ["Released", released],
    ["Its processes", usage ? `${usage.processes} · CPU ${Math.round(usage.cpu_percent)} % · ${bytes(usage.memory_bytes)}` : ""],
    ["Its GPU memory", usage?.own_memory_bytes == null ? "" : bytes(usage.own_memory_bytes)],
  ]);
  const meter = part(card, "budget");
  meter.hidden = kernel.budget_nanodollars == null;
  if (!meter.hidden) meter.value = kernel.budget_nanodollars === 0 ? 1 : Math.min(1, kernel.spent_nanodollars / kernel.budget_nanodollars);
  const nothing = !lease && kernel.state !== "queued";
  if (part(card, "release").disabled !== nothing) part(card, "release").disabled = nothing;
}

const partly = (simulated, all) => simulated === 0 ? "" : simulated === all ? " simulated" : `, ${dollars(simulated)} of it simulated`;

const kernelOf = (id) => told.mine?.kernels.find((kernel) => kernel.id === id);

function askRelease(id) {
  const kernel = kernelOf(id);
  if (!kernel) return;
  const busy = kernel.busy ? "The cell that runs is interrupted. " : "";
  const kept = kernel.state === "queued" ? "It stops waiting." : kernel.keeps_state ? "Its variables are kept." : "Its variables are lost.";
  ask(`Release ${kernel.name}?`, busy + kept, "Release", null, () => send("POST", `api/kernels/${id}/release`));
}

function askBudget(id) {
  const kernel = kernelOf(id);
  if (!kernel) return;
  const now = kernel.budget_nanodollars == null ? "" : String(kernel.budget_nanodollars / 1e9);
  ask(`Budget of ${kernel.name}`, "What this kernel may cost altogether. Empty: no limit.", "Set", now,
    (text) => send("PUT", `api/kernels/${id}/budget`, { dollars: asDollars(text) }));
}

const asDollars = (text) => (text.trim() === "" ? null : text.trim().replace(/^\$/, ""));

// spending, agents ----------------------------------------------------------------------------------------------------

const SCOPES = { month: "This month", user: "Altogether", kernel: "Each kernel" };
const nothing = { real: 0, simulated: 0 };

function drawSpending(spending, limits, me) {
  const users = [...new Set([me.name, ...Object.keys({ ...spending?.today, ...spending?.month, ...limits })])].sort();
  keep($("spending"), users, (user) => user,
    (user) => make("tr", {}, make("th", { scope: "row" }, user), make("td", { "data-column": "Today" }), ...Object.values(SCOPES).map(createAmount),
      make("td", {}, make("button", { type: "button", onclick: () => askLimit(user), "aria-label": `Budgets of ${user}` }, "Budgets…"))),
    (row, user) => {
      say(row.children[1], money(spending?.today[user] ?? nothing).join(" ").trim());
      const spent = { month: spending?.month[user] ?? nothing, user: spending?.ever?.[user] ?? nothing };
      Object.keys(SCOPES).forEach((scope, place) => drawAmount(row.children[2 + place], spent[scope], limits?.[user]?.[scope]));
    });
}

const createAmount = (column) => make("td", { "data-column": column }, make("span", { "data-part": "spent" }), make("span", { "data-part": "limit", class: "quiet" }),
  make("meter", { "data-part": "budget", min: 0, low: 0.8, high: 0.95, optimum: 0, max: 1, "aria-label": "Part of the budget that is spent" }));

/** What is spent (nothing is told of single kernels here), of how much, set by whom. */
function drawAmount(cell, spent, limit) {
  const [most, by, admins] = limit ?? [];
  cell.classList.toggle("nothing", !spent && !limit);
  say(part(cell, "spent"), spent ? money(spent).join(" ").trim() : "");
  say(part(cell, "limit"), limit ? `${spent ? "of" : "at most"} ${dollars(most)}${admins ? `, set by ${by}` : ""}` : "");
  const meter = part(cell, "budget");
  meter.hidden = !limit || !spent;
  if (!meter.hidden) meter.value = most === 0 ? 1 : Math.min(1, Math.max(spent.real, spent.simulated) / most);
}

function askLimit(user) {
  const set = told.limits?.[user] ?? {};
  const choice = $("dialog-scope");
  const amount = () => (set[choice.value] ? String(set[choice.value][0] / 1e9) : "");
  const whose = user === told.me.name ? "What you may spend" : `What ${user} may spend`;
  choice.value = "month";
  ask(`Budgets of ${user}`, `${whose}: real and simulated money are counted apart. Empty: no limit.`, "Set", amount(),
    (text) => send("PUT", `api/limits/${encodeURIComponent(user)}`, { scope: choice.value, dollars: asDollars(text) }), "Dollars", true);
  choice.onchange = () => ($("dialog-value").value = amount());
}

const AGENT_TAGS = { connected: "good", draining: "warn", drained: "warn", away: "bad" };

function createAgent(agent) {
  return make("article", { class: "card" },
    make("h3", {}, make("span", { "data-part": "name" }), make("span", { "data-part": "state" })),
    make("p", { "data-part": "why", class: "quiet" }),
    make("dl", { "data-part": "facts" }),
    make("div", { class: "actions" }, make("button", { type: "button", "data-part": "drain", onclick: () => askDrain(agent.id) })));
}

/** Who asked, what is left, and what stopping the agent now would cost. */
function aboutDrain({ drain }) {
  if (!drain) return "";
  const kernels = (count) => (count === 1 ? "1 kernel" : `${count} kernels`);
  const ends = drain.release_at ? `, released at ${new Date(drain.release_at).toLocaleTimeString()}` : "";
  return [
    `Asked by ${drain.asked_by}`,
    drain.leases ? `${kernels(drain.leases)} still on it${ends}` : "no kernel holds a GPU there",
    drain.suspended ? `${kernels(drain.suspended)} would lose their variables if it stopped now` : "",
  ].filter(Boolean).join("; ") + ".";
}

function drawAgent(card, agent, host) {
  const [cpu, cores, used, total] = host ?? [];
  const ill = agent.gpus.filter((gpu) => gpu.state === "unhealthy" || gpu.state === "lost");
  say(part(card, "name"), agent.name);
  say(part(card, "state"), agent.state, `tag ${AGENT_TAGS[agent.state] ?? "bad"}`);
  say(part(card, "why"), aboutDrain(agent));
  const button = part(card, "drain");
  button.hidden = told.me?.role !== "admin" || agent.drain?.by_agent === true;
  say(button, agent.drain ? "Take new work again" : "Drain…");
  facts(part(card, "facts"), [
    ["GPUs", `${agent.gpus.length}${ill.length ? `, ${ill.length} with problems` : ""}`],
    ["CPU", cpu == null ? "" : `${Math.round(cpu)} % of ${cores} cores`],
    ["Memory", used == null ? "" : `${bytes(used)} of ${bytes(total)}`],
    ["Version", `${agent.version}, Python ${agent.python}`],
    ["Warm processes", String(agent.spares)],
  ]);
}

function askDrain(id) {
  const agent = told.fleet?.agents.find((each) => each.id === id);
  if (!agent) return;
  const path = `api/agents/${encodeURIComponent(id)}/drain`;
  if (agent.drain) {
    ask(`${agent.name} takes new work again?`, "Kernels that wait may get its GPUs at once.", "Take new work", null, () => send("DELETE", path));
    return;
  }
  ask(`Drain ${agent.name}?`, "It takes no new work. Idle kernels are released and keep their variables there; what runs goes on to its end, or for so many seconds:",
    "Drain", "", (text) => drain(path, text.trim()), "Seconds (empty: to its end)");
}

function drain(path, seconds) {
  if (seconds !== "" && !(Number(seconds) >= 0)) return "this is no number of seconds";
  return send("POST", path, { within_s: seconds === "" ? null : Number(seconds) });
}

// the dialog ----------------------------------------------------------------------------------------------------------

let answer = null;

function ask(title, text, yes, value, then, label = "Dollars", chooses = false) {
  say($("dialog-title"), title);
  say($("dialog-text"), text);
  say($("dialog-yes"), yes);
  say($("dialog-problem"), "");
  $("dialog-choice").hidden = !chooses;
  $("dialog-field").hidden = value === null;
  $("dialog-value").value = value ?? "";
  say($("dialog-label"), label);
  answer = then;
  $("dialog").showModal();
  (value === null ? $("dialog-yes") : $("dialog-value")).focus();
}

async function accept() {
  $("dialog-yes").disabled = true;
  const problem = await answer($("dialog-value").value);
  $("dialog-yes").disabled = false;
  say($("dialog-problem"), problem);
  if (!problem) $("dialog").close();
}

// the broker --------------------------------------------------------------------------------------------------------

const headers = () => ({ Authorization: `Bearer ${token}` });

/** Ask for something to be done; what went wrong, for people, or nothing. */
async function send(method, path, body) {
  try {
    const response = await fetch(path, { method, headers: { ...headers(), "Content-Type": "application/json" }, body: body && JSON.stringify(body) });
    return response.ok ? "" : (await response.json().catch(() => ({}))).message || `the broker answers ${response.status}`;
  } catch {
    return "the broker cannot be reached; nothing was done";
  }
}

async function watch() {
  for (let pause = 500; token; pause = Math.min(pause * 2, 10000)) {
    const stopping = (stream = new AbortController());
    try {
      const response = await fetch("api/live", { headers: headers(), signal: stopping.signal, cache: "no-store" });
      if (response.status === 401 || response.status === 403) {
        return showLogIn((await response.json().catch(() => ({}))).message || "this token is not known here");
      }
      if (response.ok) {
        pause = 500;
        show($("board"));
        await read(response.body);
      }
    } catch (error) {
      if (stopping.signal.aborted) return;
    }
    await new Promise((resume) => setTimeout(resume, pause));
  }
}

async function read(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (let text = ""; ; ) {
    const { value, done } = await reader.read();
    if (done) return;
    const events = (text + value).split("\n\n");
    text = events.pop();
    for (const event of events) take(event);
    if (events.length) draw();
  }
}

function take(event) {
  heardAt = Date.now();
  const match = /^event: (.*)\ndata: (.*)$/.exec(event);
  if (!match) return;
  const [, name, data] = match;
  told[name] = JSON.parse(data);
  if (name === "agents") takeAgents(told.agents);
  if (name === "history") takeHistory(told.history);
  if (name === "figures") takeFigures(told.figures);
}

/** What has changed in the fleet since it was told whole. */
function takeAgents({ changed, gone }) {
  const agents = new Map(told.fleet.agents.map((agent) => [agent.id, agent]));
  for (const id of gone) agents.delete(id);
  for (const agent of changed) agents.set(agent.id, agent);
  told.fleet.agents = [...agents.values()];
}

/** Each GPU's use before this page was opened, a byte a second. */
function takeHistory({ gpus }) {
  history.clear();
  for (const [uuid, use] of Object.entries(gpus)) {
    history.set(uuid, Array.from(atob(use), (byte) => (byte.charCodeAt(0) === UNKNOWN ? null : byte.charCodeAt(0))));
  }
  figuresAt = null; // those that follow are of a second that the history has
}

function takeFigures(figures) {
  const inHistory = figuresAt === null;
  figuresAt = figures.at;
  if (inHistory) return;
  for (const gpu of told.fleet.agents.flatMap((agent) => agent.gpus)) {
    const values = history.get(gpu.uuid) ?? [];
    values.push(figures.gpus[gpu.uuid]?.[0] ?? null);
    history.set(gpu.uuid, values.slice(-KEPT_SECONDS));
  }
}

function sayWhetherLive() {
  const silent = Date.now() - heardAt > SILENT_AFTER_MS;
  if ($("board").hidden) return say($("connection"), "", "");
  say($("connection"), silent ? `as of ${new Date(heardAt).toLocaleTimeString()}: the broker does not answer` : "live", silent ? "stale" : "");
}

// tokens --------------------------------------------------------------------------------------------------------------

/** A link may bring a token behind #, which no server is told. */
function tokenInAddress() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) {
    sessionStorage.setItem(TOKEN, given);
    window.history.replaceState(null, "", location.pathname);
  }
  return given;
}

function show(main) {
  $("log-in").hidden = main !== $("log-in");
  $("board").hidden = main !== $("board");
  $("log-out").hidden = main !== $("board");
}

function showLogIn(problem) {
  token = "";
  for (const store of [sessionStorage, localStorage]) store.removeItem(TOKEN);
  const input = make("input", { type: "password", id: "token", autocomplete: "current-password", required: "" });
  const stays = make("input", { type: "checkbox" });
  const form = make("form", {}, make("label", {}, "Your token", input), make("label", {}, stays, " keep it in this browser"),
    make("p", { class: "problem", role: "alert" }, problem), make("button", { class: "main" }, "Log in"),
    make("p", { class: "note" }, "Whoever runs this broker makes tokens with ", make("code", {}, "perijove token create"), "."));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    token = input.value.trim();
    (stays.checked ? localStorage : sessionStorage).setItem(TOKEN, token);
    watch();
  });
  $("log-in").replaceChildren(form);
  for (const name of ["version", "me", "connection"]) say($(name), "");
  show($("log-in"));
  input.focus();
}

$("log-out").addEventListener("click", () => {
  stream?.abort();
  for (const name of Object.keys(told)) delete told[name];
  history.clear();
  showLogIn("");
});
$("dialog-no").addEventListener("click", () => $("dialog").close());
$("dialog-yes").addEventListener("click", accept);
$("dialog-value").addEventListener("keydown", (event) => event.key === "Enter" && accept());
window.addEventListener("hashchange", () => {
  const given = tokenInAddress();
  if (!given) return;
  stream?.abort();
  token = given;
  watch();
});
setInterval(sayWhetherLive, 500);
if (token) watch();
else showLogIn("");
