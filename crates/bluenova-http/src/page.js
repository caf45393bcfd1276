// Fetches the status of the batteries from the listener at regular intervals, and shows it.
//
// A battery's text goes to the page as the text of a node, never as markup.

const RANGES = {
  "1h": ["1 h", 3600],
  "6h": ["6 h", 21_600],
  "24h": ["24 h", 86_400],
  "7d": ["7 d", 604_800],
};
/** Milliseconds that an answer may take. */
const TIME_OUT_MS = 8000;
/** Seconds after which plots are fetched again if that failed. */
const RETRY_S = 10;
const UNKNOWN = "–";
/** Power below which a battery counts as idle: converters draw that much all the time. */
const IDLE_W = 25;
/** Pixels from which on a gap can be pointed at. */
const GAP_PX = 2;
/** Most cards, and most problems, that are shown: a listener may have thousands of batteries. */
const MAX_CARDS = 24;
const MAX_PROBLEMS = 10;
/** Minimum voltage of a full bar: with less, noise would look like a fault. */
const BAR_V = 0.005;

const $ = (id) => document.getElementById(id);

// ---- Numbers and texts ----

function number(value, digits, unit) {
  if (typeof value !== "number") return UNKNOWN;
  // A value that is rounded to zero has no sign.
  const text = value
    .toFixed(digits)
    .replace(/^-(?=[0.]*$)/, "")
    .replace("-", "−");
  return `${text}\u00a0${unit}`;
}

function signed(value, digits, unit) {
  return (value > 0 ? "+" : "") + number(value, digits, unit);
}

function power(watts) {
  return Math.abs(watts) < 1000 ? signed(watts, 0, "W") : signed(watts / 1000, 2, "kW");
}

function powerWord(watts) {
  if (watts === null) return "power";
  if (Math.abs(watts) < IDLE_W) return "idle";
  return watts > 0 ? "charging" : "discharging";
}

function duration(seconds) {
  const [s, min, h, d] = [1, 60, 3600, 86_400].map((unit) => Math.floor(seconds / unit));
  if (min < 1) return `${s} s`;
  if (h < 1) return `${min} min`;
  if (d < 1) return `${h} h ${min % 60} min`;
  return `${d} d ${h % 24} h`;
}

/** The browser's local time of day, with the date unless that is today. */
function localTime(time) {
  const date = new Date(time);
  const clock = { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };
  const day =
    date.toDateString() === new Date().toDateString() ? {} : { day: "numeric", month: "short" };
  return date.toLocaleString("en-GB", { ...day, ...clock });
}

function count(n, one, many = `${one}s`) {
  return `${n.toLocaleString("en")} ${n === 1 ? one : many}`;
}

// ---- Pieces of the page ----

function copyOf(template) {
  return $(template).content.firstElementChild.cloneNode(true);
}

/** Changes only what differs, so that selections last and there is no needless layout. */
function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function part(parent, name) {
  return parent.querySelector(`[data-is="${name}"]`);
}

function fill(parent, texts) {
  for (const [name, text] of Object.entries(texts)) {
    setText(part(parent, name), text);
  }
}

function fillPower(parent, watts) {
  const word = powerWord(watts);
  fill(parent, { power: power(watts), word });
  part(parent, "power").className = word;
}

// ---- The status ----

/** The last answer of the listener, and when it was fetched. */
let status = null;
let statusAt = null;
/** Since when the listener doesn't answer, and why; null while it does. */
let outage = null;
let isFetching = false;
let nextFetch;

function clocks() {
  return { wall: Date.now(), steady: performance.now() };
}

/** The wall clock may be set back; the other clock may stand still while the computer sleeps. */
function secondsSince(then) {
  return Math.max(Date.now() - then.wall, performance.now() - then.steady, 0) / 1000;
}

/** Old tablets show this page too: their AbortSignal has neither `any` nor `timeout`. */
async function fetchJson(url, attempt = new AbortController()) {
  const tooLong = new DOMException("it takes too long", "TimeoutError");
  const limit = setTimeout(() => attempt.abort(tooLong), TIME_OUT_MS);
  try {
    const answer = await fetch(url, { cache: "no-store", signal: attempt.signal });
    if (answer.ok) return await answer.json();
    const { error } = await answer.json().catch(() => ({}));
    throw new Error(error ?? `status ${answer.status}`);
  } finally {
    clearTimeout(limit);
  }
}

async function fetchStatus() {
  if (isFetching || document.hidden) return;
  isFetching = true;
  clearTimeout(nextFetch);
  // Values count from the request, not from the answer: rather older than younger.
  const requestedAt = clocks();
  try {
    const answer = await fetchJson("api/batteries");
    // The page of another version may not fit this answer.
    if (status && status.version !== answer.version) location.reload();
    [status, statusAt, outage] = [answer, requestedAt, null];
    show();
  } catch (error) {
    outage ??= { since: Date.now() };
    outage.why = error.message;
    showProblems();
  }
  isFetching = false;
  nextFetch = setTimeout(fetchStatus, secondsToNextRow() * 1000);
}

/** A row comes once in an interval. The status is fetched soon after the next row is due, and then
 * again until every battery has its row. */
function secondsToNextRow() {
  const interval = status?.interval_s ?? 1;
  const batteries = status?.batteries ?? [];
  const ages = batteries.filter((battery) => !battery.stale).map((battery) => battery.age_s);
  const waits = batteries.map((battery) => battery.first_row_due_in_s).filter((s) => s !== null);
  if (ages.length) waits.push(interval - Math.max(...ages));
  const due = outage || waits.length === 0 ? interval : Math.min(...waits) + 0.2;
  return Math.min(Math.max(due, interval / 10, 1), 10);
}

/** Age of the newest row in seconds, null if there is none. */
function ageOf(battery) {
  return battery.age_s === null ? null : battery.age_s + secondsSince(statusAt);
}

function isStale(battery) {
  const age = ageOf(battery);
  return battery.stale || age === null || age > status.stale_after_s;
}

/** Whether the battery's first row since the start of the listener may still come. */
function isStarting(battery) {
  return battery.first_row_due_in_s !== null && !outage;
}

function firstValues(battery) {
  const left = Math.ceil(battery.first_row_due_in_s - secondsSince(statusAt));
  return left > 0 ? `first values in ${duration(left)}` : "first values are due";
}

function nameOf(battery) {
  return battery.names.join(" = ") || battery.battery;
}

// ---- Everything but the plots ----

function show() {
  // The window's size may change before the first answer.
  if (status || outage) showProblems();
  if (!status) return;
  showBank();
  showCards();
  showStorage();
  showChooser();
  drawIfDue();
}

/** The problems that the listener reports, or that there is no listener. */
function allProblems() {
  if (!outage) return status.problems;
  const since = localTime(outage.since);
  return [`No answer from the listener since ${since}: ${outage.why}. All below is old.`];
}

function hasErrors({ latest }) {
  return Boolean(latest?.errors) && latest.errors !== "NONE";
}

function showProblems() {
  const problems = allProblems();
  const starting = status && !outage ? liveBatteries().filter(isStarting) : [];
  const starts = starting.map((battery) => `${battery.names.join(" = ")}: ${firstValues(battery)}`);
  const well = starts.length ? starts : ["All is well."];
  const all = problems.length ? problems : well;
  const lines = all.slice(0, MAX_PROBLEMS);
  if (all.length > lines.length) lines.push(`… and ${count(all.length - lines.length, "more", "more")}`);
  const list = $("problems");
  list.classList.toggle("quiet", problems.length === 0);
  while (list.children.length > lines.length) list.lastChild.remove();
  while (list.children.length < lines.length) list.append(document.createElement("li"));
  lines.forEach((line, i) => setText(list.children[i], line));
  // Announced when a problem comes or goes, not whenever its time or number of rows grows.
  const announced = lines.join(" ").replace(/( \d+ (s|min|h|d)\b)+/g, " some time");
  setText($("announcement"), announced.replace(/\b\d+ rows\b/g, "some rows"));
}

function showBank() {
  const { batteries, bank } = status;
  const fresh = batteries.filter((battery) => !isStale(battery)).length;
  // The sum is wrong if one of its batteries has become stale since.
  const isOld = fresh < bank.fresh;
  const box = $("bank");
  box.classList.toggle("stale", fresh === 0);
  const watts = isOld ? null : bank.power_w;
  fillPower(box, watts);
  fill(box, {
    soc: number(isOld ? null : bank.soc, 1, "%"),
    fresh: `${fresh} of ${bank.batteries}`,
  });
  const state = fresh
    ? `${part(box, "soc").textContent}, ${part(box, "word").textContent} ${power(watts)}`
    : batteries.some(isStarting)
      ? "starting"
      : "stale";
  document.title = `${allProblems().length ? "⚠ " : ""}${state} – BlueNova`;
}

const cards = new Map();

/** The batteries of the command line. Others, with rows in the journal only, have plots but no
 * card: their rows may be years old, or they have not sent their MCU ID yet. */
function liveBatteries() {
  return status.batteries.filter((battery) => battery.addresses.length);
}

/** Those that have a card. Of many, the ones that are looked for, with trouble first. */
function cardBatteries() {
  const live = liveBatteries();
  const finder = $("finder");
  finder.hidden = live.length <= MAX_CARDS;
  if (finder.hidden) return live;
  const text = finder.querySelector("input").value.trim().toLowerCase();
  const isFound = ({ names, addresses, battery }) =>
    [...names, ...addresses, battery ?? ""].some((one) => one.toLowerCase().includes(text));
  const isTroubled = (battery) =>
    hasErrors(battery) || (isStale(battery) && !isStarting(battery));
  const found = live.filter(isFound).sort((a, b) => isTroubled(b) - isTroubled(a));
  const shown = found.slice(0, MAX_CARDS);
  const of = `${shown.length} of ${count(found.length, "battery", "batteries")}`;
  setText(finder.querySelector("span"), `${of}, those with trouble first`);
  return shown;
}

function showCards() {
  const batteries = cardBatteries();
  const keys = batteries.map((battery) => battery.addresses.join());
  for (const [key, card] of cards) {
    if (!keys.includes(key)) {
      card.remove();
      cards.delete(key);
    }
  }
  batteries.forEach((battery, i) => {
    if (!cards.has(keys[i])) cards.set(keys[i], newCard());
    const card = cards.get(keys[i]);
    const there = $("batteries").children[i] ?? null;
    if (there !== card) $("batteries").insertBefore(card, there);
    showCard(card, battery);
  });
}

function newCard() {
  const card = copyOf("card");
  for (let cell = 1; cell <= 16; cell++) {
    const column = copyOf("cell");
    column.querySelector("b").textContent = cell;
    card.querySelector(".cells").append(column);
  }
  return card;
}

function showCard(card, battery) {
  const row = battery.latest ?? {};
  card.classList.toggle("stale", isStale(battery));
  card.classList.toggle("starting", isStarting(battery));
  showAge(card, battery);
  fillPower(card, battery.power_w);
  fill(card, {
    name: nameOf(battery) ?? UNKNOWN,
    mcu: battery.battery ?? "",
    soc: number(row.soc, 0, "%"),
    v_pack: number(row.v_pack, 2, "V"),
    i_pack: signed(row.i_pack, 2, "A"),
    temp: number(row.temp, 0, "°C"),
    health: number(row.health, 2, "%"),
    breaker: row.breaker ?? UNKNOWN,
    system_state: row.system_state ?? UNKNOWN,
    charge_state: row.charge_state ?? UNKNOWN,
    errors: row.errors ?? UNKNOWN,
    spread: number(battery.cell_spread_mv, 0, "mV"),
    link: linkText(battery),
  });
  card.querySelector(".errors").classList.toggle("loud", hasErrors(battery));
  card.querySelector(".gauge div").style.width = `${Math.max(row.soc ?? 0, 0)}%`;
  showCells(card, battery, row);
}

function showAge(card, battery) {
  const age = ageOf(battery);
  const node = part(card, "age");
  const mark = node.firstElementChild ?? node.appendChild(document.createElement("span"));
  const start = isStarting(battery) ? firstValues(battery) : null;
  if (age === null) return setText(mark, start ?? "NO DATA YET");
  const ago = `${duration(age)} ago`;
  const time = battery.latest && localTime(battery.latest.insert_time_utc);
  if (start) return setText(mark, `${start} – last value ${ago}, ${time}`);
  setText(mark, isStale(battery) ? `STALE – last value ${ago}, ${time}` : ago);
}

function linkText(battery) {
  const state = outage
    ? "connection unknown"
    : battery.connected
      ? "connected"
      : `not connected${battery.trouble ? `: ${battery.trouble}` : ""}`;
  const events = [count(battery.rows, "row")];
  if (battery.redials) events.push(count(battery.redials, "redial"));
  if (battery.malformed_lines) events.push(count(battery.malformed_lines, "malformed line"));
  return `${battery.addresses.join(", ")}: ${state}; ${events.join(", ")}`;
}

function showCells(card, battery, row) {
  const volts = row.cell_v ?? [];
  const mean = battery.cell_mean_v;
  const height = Math.max(BAR_V, ...volts.map((v) => (v === null ? 0 : Math.abs(v - mean))));
  const columns = card.querySelectorAll(".cells li");
  columns.forEach((column, i) => {
    const v = volts[i] ?? null;
    // A smaller pack doesn't have that cell; a missing value looks different.
    column.hidden = v === null && i >= (row.cell_count ?? columns.length);
    column.classList.toggle("highest", battery.cell_highest === i + 1);
    column.classList.toggle("lowest", battery.cell_lowest === i + 1);
    const bar = column.querySelector(".bar").style;
    const share = v === null ? 0 : ((v - mean) / height) * 50;
    bar.top = share < 0 ? "50%" : "auto";
    bar.bottom = share < 0 ? "auto" : "50%";
    bar.height = `${Math.abs(share)}%`;
    bar.visibility = v === null ? "hidden" : "visible";
    const celsius = String(row.cell_t?.[i] ?? UNKNOWN).replace("-", "−");
    setText(column.querySelector(".volts"), v === null ? UNKNOWN : v.toFixed(3));
    setText(column.querySelector(".celsius"), celsius);
  });
  const extreme = (word, cell) =>
    cell === null
      ? `${word} ${UNKNOWN}`
      : `${word} cell ${cell}: ${number(volts[cell - 1], 3, "V")}`;
  fill(card, {
    mean: `mean ${number(mean, 3, "V")}`,
    highest: extreme("highest", battery.cell_highest),
    lowest: extreme("lowest", battery.cell_lowest),
  });
}

function showStorage() {
  const { storage, version, interval_s } = status;
  const { delivery } = storage;
  const every = interval_s === 1 ? "second" : count(interval_s, "second");
  const facts = [`bluenovalistener ${version}, a row every ${every}`];
  if (delivery) facts.push(`${delivery.server} has taken ${count(delivery.delivered, "row")}`);
  if (delivery?.trouble) facts.push(delivery.trouble);
  if (storage.trouble) facts.push(storage.trouble);
  for (const [rows, where] of [
    [delivery?.waiting, "waiting"],
    [storage.set_aside, "set aside"],
    [storage.retried, "waiting for a partition"],
    [storage.rows_only_in_memory, "in memory only"],
  ]) {
    if (rows) facts.push(`${count(rows, "row")} ${where}`);
  }
  setText($("storage"), `${facts.join(" · ")}.`);
}

// ---- Plots ----

const dark = matchMedia("(prefers-color-scheme: dark)");
/** What to plot: range and MCU ID, which are in the address too, as in #6h/9F3C07B2. */
let [range, chosen] = choice();
/** The last request for plots: its address, when it was made, and whether it failed. */
let lastDrawing = null;
/** Range and battery of the plots that the page shows. */
let shownPlots = null;
/** The gaps of that battery, from and to in milliseconds. */
let gaps = [];
/** Aborts the request for plots that is under way; null if there is none. */
let drawing = null;

function choice() {
  const [wanted, battery] = location.hash.slice(1).split("/");
  return [Object.hasOwn(RANGES, wanted) ? wanted : "1h", battery ?? null];
}

function choose(newRange, battery) {
  // Replaced, not pushed: the back button leaves the page.
  history.replaceState(null, "", `#${newRange}${battery ? `/${battery}` : ""}`);
  takeChoice();
}

function takeChoice() {
  [range, chosen] = choice();
  for (const button of $("ranges").children)
    button.setAttribute("aria-pressed", button.value === range);
  if (status) {
    showChooser();
    draw();
  }
}

function plottable() {
  return (status?.batteries ?? []).filter((battery) => battery.battery !== null);
}

function plotted() {
  const ids = plottable().map((battery) => battery.battery);
  return ids.includes(chosen) ? chosen : (ids[0] ?? null);
}

function showChooser() {
  const batteries = plottable();
  const select = $("chooser").querySelector("select");
  $("chooser").hidden = batteries.length < 2;
  $("history").hidden = batteries.length === 0;
  const ids = batteries.map((battery) => battery.battery);
  const names = batteries.map(nameOf);
  const options = [...select.options];
  if (
    ids.join() !== options.map((option) => option.value).join() ||
    names.join() !== options.map((option) => option.text).join()
  ) {
    select.replaceChildren(...ids.map((id, i) => new Option(names[i], id)));
  }
  select.value = plotted() ?? "";
}

/** The address of the plots: everything that they depend on but time. */
function plotsUrl() {
  const available = $("plots").querySelector(".drawing").clientWidth;
  // Within the listener's limits; beyond them the SVG is scaled.
  const width = Math.min(Math.max(Math.round(available), 280), 2000);
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const query = new URLSearchParams({ range, width, theme: dark.matches ? "dark" : "light", zone });
  return `api/batteries/${plotted()}/plots?${query}`;
}

function drawIfDue() {
  if (document.hidden || drawing || plotted() === null) return;
  const every = lastDrawing?.failed ? RETRY_S : Math.max(status.interval_s, RANGES[range][1] / 300);
  const isDue = lastDrawing?.url !== plotsUrl() || secondsSince(lastDrawing.at) >= every;
  if (isDue) draw();
}

/** Whether the page shows plots of another range or battery than chosen. */
function areOutdated() {
  return shownPlots !== `${range} ${plotted()}`;
}

async function draw() {
  if (plotted() === null) return;
  drawing?.abort();
  const attempt = new AbortController();
  drawing = attempt;
  const url = plotsUrl();
  const at = clocks();
  const trouble = $("plots-trouble");
  $("plots").ariaBusy = "true";
  let answer = null;
  markOutdated();
  try {
    answer = await fetchJson(url, attempt);
    if (drawing !== attempt) return;
    const shown = `${range} ${answer.battery}`;
    if (shownPlots !== shown) gaps = [];
    shownPlots = shown;
    showDownload(answer);
    answer.plots.forEach((plot, i) => showPlot($("plots").children[i] ?? newPlot(), plot, answer));
    trouble.hidden = true;
  } catch (error) {
    // A newer request is under way.
    if (drawing !== attempt) return;
    setText(trouble, `These plots could not be drawn anew: ${error.message}`);
    trouble.hidden = false;
    answer = null;
  }
  $("plots").ariaBusy = "false";
  markOutdated();
  lastDrawing = { url, at, failed: answer === null };
  drawing = null;
  if (answer) fetchGaps(answer);
}

/** Fetches why there are no values where plots have none. Plots will do without. */
async function fetchGaps({ battery, from, to }) {
  const ofDrawing = lastDrawing;
  const query = new URLSearchParams({ battery, from, to });
  const answer = await fetchJson(`api/gaps?${query}`).catch(() => null);
  if (lastDrawing !== ofDrawing || !answer) return;
  gaps = answer.gaps.map((gap) => ({
    text: gap.text,
    from: Date.parse(gap.from),
    to: Date.parse(gap.to),
  }));
  for (const figure of $("plots").children) pointAt(figure, figure.pointer ?? null);
}

/** Links to the rows from which the plots were drawn. */
function showDownload({ battery, from, to }) {
  const query = new URLSearchParams({ from, to });
  $("csv").href = `api/batteries/${battery}/rows.csv?${query}`;
  $("csv").hidden = false;
}

function markOutdated() {
  const isOld = areOutdated();
  $("plots").classList.toggle("outdated", isOld);
  if (isOld) for (const figure of $("plots").children) pointAt(figure, null);
}

function newPlot() {
  const figure = copyOf("plot");
  const box = figure.querySelector(".plot");
  const moved = (event) => pointAt(figure, event.clientX - box.getBoundingClientRect().left);
  box.addEventListener("pointermove", moved);
  box.addEventListener("pointerdown", moved);
  box.addEventListener("pointerleave", ({ pointerType }) => {
    // A finger leaves when it is lifted; its values stay until it touches something else.
    if (pointerType === "mouse") pointAt(figure, null);
  });
  box.addEventListener("blur", () => pointAt(figure, null));
  box.addEventListener("keydown", (event) => step(figure, event));
  $("plots").append(figure);
  return figure;
}

function showPlot(figure, plot, { from, to, times }) {
  const svg = document.importNode(
    new DOMParser().parseFromString(plot.svg, "image/svg+xml").documentElement,
    true,
  );
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", plot.title);
  figure.querySelector(".drawing").replaceChildren(svg);
  setText(figure.querySelector("figcaption"), plot.title);
  figure
    .querySelector(".plot")
    .setAttribute("aria-label", `${plot.title}: left and right arrow read the values`);
  figure.shown = {
    ...plot,
    times,
    from: Date.parse(from),
    to: Date.parse(to),
    width: svg.width.baseVal.value,
  };
  pointAt(figure, figure.pointer ?? null);
}

/** Distance of a time from the left edge of its plot, in pixels. */
function pixelsTo(figure, time) {
  const { area, from, to, width } = figure.shown;
  const scale = figure.querySelector(".drawing").clientWidth / width;
  return scale * (area.left + ((time - from) / (to - from)) * (area.right - area.left));
}

/** What can be pointed at, from left to right: values by their index, and gaps. */
function stopsOf(figure) {
  if (areOutdated() || !figure.shown) return [];
  const values = figure.shown.times.map((time, index) => {
    const x = pixelsTo(figure, time);
    return { left: x, right: x, index };
  });
  const { from, to } = figure.shown;
  const edges = gaps.map((gap) => {
    const [left, right] = [Math.max(gap.from, from), Math.min(gap.to, to)];
    return { left: pixelsTo(figure, left), right: pixelsTo(figure, right), gap };
  });
  const wide = edges.filter(({ left, right }) => right - left >= GAP_PX);
  return [...values, ...wide].sort((a, b) => a.left - b.left || a.right - b.right);
}

/** Shows the values or the gap nearest to `x`, in pixels from the left edge; nothing for null. */
function pointAt(figure, x) {
  figure.pointer = x;
  const stops = x === null ? [] : stopsOf(figure);
  if (stops.length === 0) {
    figure.querySelector(".crosshair").hidden = true;
    figure.querySelector(".reading").hidden = true;
    return;
  }
  const distances = stops.map(({ left, right }) => Math.max(left - x, x - right, 0));
  figure.stop = distances.indexOf(Math.min(...distances));
  read(figure, stops[figure.stop], x);
}

function step(figure, event) {
  const stops = stopsOf(figure);
  const last = stops.length - 1;
  const at = figure.querySelector(".reading").hidden ? last + 1 : figure.stop;
  const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: last }[event.key];
  if (event.key === "Escape") pointAt(figure, null);
  if (to === undefined || last < 0) return;
  event.preventDefault();
  figure.stop = Math.min(Math.max(to, 0), last);
  const stop = stops[figure.stop];
  figure.pointer = (stop.left + stop.right) / 2;
  read(figure, stop, figure.pointer);
}

function read(figure, { left, right, index, gap }, pointer) {
  const { area, series, times, width } = figure.shown;
  const box = figure.querySelector(".plot");
  const scale = box.clientWidth / width;
  const x = Math.min(Math.max(pointer, left), right);

  const crosshair = figure.querySelector(".crosshair");
  crosshair.hidden = false;
  crosshair.style.left = `${x}px`;
  crosshair.style.top = `${area.top * scale}px`;
  crosshair.style.height = `${(area.bottom - area.top) * scale}px`;

  const reading = figure.querySelector(".reading");
  const time = document.createElement("time");
  if (gap) {
    time.textContent = `${localTime(gap.from)} – ${localTime(gap.to)}`;
    const why = document.createElement("p");
    why.textContent = `No row: ${gap.text}`;
    reading.replaceChildren(time, why);
    reading.classList.remove("wide");
    reading.hidden = false;
    moveReading(reading, x, box.clientWidth, area.top * scale);
    return;
  }
  time.textContent = localTime(times[index]);
  const known = series.filter((one) => typeof one.low[index] === "number");
  reading.replaceChildren(time, ...known.flatMap((one) => valueOf(one, index)));
  reading.classList.toggle("wide", known.length > 8 && box.clientWidth > 450);
  reading.hidden = false;
  moveReading(reading, x, box.clientWidth, area.top * scale);
}

/** Puts the values beside the crosshair if there is room, else below the plot. */
function moveReading(reading, x, width, top) {
  const room = reading.offsetWidth + 12;
  const isRight = x + room <= width;
  const isLeft = !isRight && x >= room;
  const left = isRight ? x + 12 : isLeft ? x - room : Math.max(0, width - reading.offsetWidth) / 2;
  reading.style.left = `${left}px`;
  reading.style.top = isRight || isLeft ? `${top}px` : "100%";
}

function valueOf({ name, unit, colour, low, high }, index) {
  const [swatch, label, value] = ["i", "span", "b"].map((tag) => document.createElement(tag));
  swatch.style.backgroundColor = colour;
  label.textContent = name;
  const digits = unit === "V" ? (high[index] < 10 ? 3 : 2) : unit === "A" ? 2 : 0;
  const [from, to] = [low, high].map((values) => number(values[index], digits, unit));
  const dash = low[index] < 0 ? " to " : "–";
  value.textContent = from === to ? from : from.replace(`\u00a0${unit}`, dash) + to;
  return [swatch, label, value];
}

// ---- Start ----

for (const [value, [text]] of Object.entries(RANGES)) {
  const button = document.createElement("button");
  Object.assign(button, { type: "button", value, textContent: text });
  button.addEventListener("click", () => choose(value, chosen));
  $("ranges").append(button);
}
// Empty plots reserve the room for those to come.
for (let i = 0; i < 4; i++) newPlot();
$("chooser")
  .querySelector("select")
  .addEventListener("change", (event) => choose(range, event.target.value));
addEventListener("pointerdown", ({ target }) => {
  for (const figure of $("plots").children) {
    if (!figure.contains(target)) pointAt(figure, null);
  }
});
$("finder").querySelector("input").addEventListener("input", show);
addEventListener("hashchange", takeChoice);
dark.addEventListener("change", show);
document.addEventListener("visibilitychange", fetchStatus);
let resized;
new ResizeObserver(() => {
  clearTimeout(resized);
  resized = setTimeout(show, 200);
}).observe($("plots"));
takeChoice();
setInterval(show, 1000);
fetchStatus();
