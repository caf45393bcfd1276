// Plots of a battery's rows, and what is read from them with a pointer or keys.
//
// Its interface is `startHistory` and `showHistory`.

const RANGES = {
  "1h": ["1 h", 3600],
  "6h": ["6 h", 21_600],
  "24h": ["24 h", 86_400],
  "7d": ["7 d", 604_800],
};
/** Seconds after which plots are fetched again if that failed. */
const RETRY_S = 10;
/** Pixels from which on a gap can be pointed at. */
const GAP_PX = 2;

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

/** Prepares the empty plots. `changed` is called when they have another size. */
function startHistory(changed) {
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
  addEventListener("hashchange", takeChoice);
  let resized;
  new ResizeObserver(() => {
    clearTimeout(resized);
    resized = setTimeout(changed, 200);
  }).observe($("plots"));
  takeChoice();
}

/** Shows the choice of batteries, and has plots drawn that are due. */
function showHistory() {
  showChooser();
  drawIfDue();
}

function choice() {
  const [wanted, battery] = location.hash.slice(1).split("/");
  return [Object.hasOwn(RANGES, wanted) ? wanted : "1h", battery ?? null];
}

function choose(newRange, battery) {
  // Replaced, not pushed: the back button leaves the page.
  history.replaceState(null, "", `${location.search}#${newRange}${battery ? `/${battery}` : ""}`);
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
  if (inAddress !== null) return addressedBattery()?.battery ?? null;
  const ids = plottable().map((battery) => battery.battery);
  return ids.includes(chosen) ? chosen : (ids[0] ?? null);
}

function showChooser() {
  const batteries = plottable();
  const select = $("chooser").querySelector("select");
  $("chooser").hidden = batteries.length < 2 || inAddress !== null;
  $("history").hidden = plotted() === null || IS_KIOSK;
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
  const query = new URLSearchParams({ range, width, theme: isDark() ? "dark" : "light", zone });
  return `api/batteries/${plotted()}/plots?${query}`;
}

function drawIfDue() {
  if (document.hidden || IS_KIOSK || drawing || plotted() === null) return;
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
  $("csv").href = absolute(`api/batteries/${battery}/rows.csv?${query}`);
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
