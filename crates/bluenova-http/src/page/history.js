// The plots, which the listener draws: of all batteries together, and of one or of several.
//
// Its interface is `startHistory` and `showHistory`.

/** Seconds after which plots are fetched again if that failed. */
const RETRY_S = 10;

/** Plots that are fetched together. */
const groups = {
  bank: newGroup("bank-plots", "bank-trouble", bankUrl),
  battery: newGroup("plots", "plots-trouble", batteryUrl),
};

/** `address` gives the address of its plots without how they are drawn; null: it has none. */
function newGroup(box, trouble, address) {
  return {
    box: $(box),
    trouble: $(trouble),
    address,
    /** The address that was asked last. */
    asked: null,
    /** The last answer: its address, when it was made, and whether it failed. */
    last: null,
    /** What the plots that the page shows are of. */
    shown: null,
    /** Milliseconds that they are of. */
    length: 0,
    /** Gaps of the battery, from and to in milliseconds. */
    gaps: [],
    /** Aborts the request that is under way; null if there is none. */
    drawing: null,
  };
}

/** Prepares the empty plots. `changed` is called when they have another size. */
function startHistory(changed) {
  startPeriod();
  startChooser();
  // Empty plots reserve the room for those to come.
  for (let i = 0; i < 4; i++) newPlot(groups.battery);
  newPlot(groups.bank);
  addEventListener("pointerdown", ({ target }) => {
    for (const { box } of Object.values(groups)) {
      for (const figure of box.children) if (!figure.contains(target)) pointAt(figure, null);
    }
  });
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
  showCompare();
  $("bank-history").hidden = groups.bank.address() === null || IS_KIOSK;
  if (document.hidden || IS_KIOSK) return;
  for (const group of Object.values(groups)) if (isDue(group)) draw(group);
}

function drawAll() {
  if (IS_KIOSK) return;
  for (const group of Object.values(groups)) if (group.asked !== plotsUrl(group)) draw(group);
}

function bankUrl() {
  return inAddress === null && liveBatteries().length > 1 ? "api/bank/plots?" : null;
}

function batteryUrl() {
  const several = compared();
  if (several.length)
    return `api/plots?${new URLSearchParams({ batteries: several, value: wanted.value })}&`;
  return plotted() === null ? null : `api/batteries/${plotted()}/plots?`;
}

/** The address of the plots: everything that they depend on but time; null if there are none. */
function plotsUrl(group) {
  const address = group.address();
  if (address === null) return null;
  const available = group.box.querySelector(".drawing").clientWidth;
  // Within the listener's limits; beyond them the SVG is scaled.
  const width = Math.min(Math.max(Math.round(available), 280), 2000);
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const look = { width, theme: isDark() ? "dark" : "light", zone };
  return `${address}${new URLSearchParams({ ...timesOfQuery(), ...look })}`;
}

function timesOfQuery() {
  const { fixed } = wanted;
  if (!fixed) return { range: shownRange() };
  const [from, to] = [fixed.from, fixed.to].map((time) => new Date(time).toISOString());
  return { from, to };
}

/** What a group's plots are to be of, whatever they look like. */
function wantedOf(group) {
  return `${group.address()}${new URLSearchParams(timesOfQuery())}`;
}

/** Whether the page shows plots of another time or battery than chosen. */
function isOutdated(group) {
  return group.shown !== wantedOf(group);
}

function isDue(group) {
  const { last, drawing, length } = group;
  const url = plotsUrl(group);
  if (drawing || url === null) return false;
  if (last?.url !== url) return true;
  if (last.failed) return secondsSince(last.at) >= RETRY_S;
  // What is over stays as it is.
  const isOver = wanted.fixed && wanted.fixed.to < last.at.wall;
  return !isOver && secondsSince(last.at) >= Math.max(status.interval_s, length / 300_000);
}

async function draw(group) {
  group.drawing?.abort();
  group.drawing = null;
  const url = plotsUrl(group);
  group.asked = url;
  if (url === null) {
    group.box.ariaBusy = "false";
    group.box.classList.remove("outdated");
    return;
  }
  const attempt = new AbortController();
  group.drawing = attempt;
  const at = clocks();
  const of = wantedOf(group);
  group.box.ariaBusy = "true";
  let answer = null;
  markOutdated(group);
  try {
    answer = await fetchJson(url, attempt);
    if (group.drawing !== attempt) return;
    if (group.shown !== of) group.gaps = [];
    group.shown = of;
    group.length = Date.parse(answer.to) - Date.parse(answer.from);
    showPlots(group, answer);
    group.trouble.hidden = true;
  } catch (error) {
    // A newer request is under way.
    if (group.drawing !== attempt) return;
    setText(group.trouble, `These plots could not be drawn anew: ${error.message}`);
    group.trouble.hidden = false;
    answer = null;
  }
  group.box.ariaBusy = "false";
  markOutdated(group);
  group.last = { url, at, failed: answer === null };
  group.drawing = null;
  if (answer?.battery) fetchGaps(group, answer);
}

function showPlots(group, answer) {
  const { box } = group;
  while (box.children.length > answer.plots.length) box.lastChild.remove();
  answer.plots.forEach((plot, i) => showPlot(box.children[i] ?? newPlot(group), plot, answer));
  box.classList.toggle("single", answer.plots.length === 1);
  if (group === groups.bank) return;
  showDownloads(answer);
  const [from, to] = [Date.parse(answer.from), Date.parse(answer.to)];
  shownTimes = { from, to, oldest: answer.kept_from ? Date.parse(answer.kept_from) : from };
  showPeriod();
}

/** Fetches why there are no values where plots have none. Plots will do without. */
async function fetchGaps(group, { battery, from, to, times }) {
  // Plots of days have no gaps that can be pointed at.
  if (times.length === 0) return;
  const ofDrawing = group.last;
  const query = new URLSearchParams({ battery, from, to });
  const answer = await fetchJson(`api/gaps?${query}`).catch(() => null);
  if (group.last !== ofDrawing || !answer) return;
  group.gaps = answer.gaps.map((gap) => ({
    text: gap.text,
    from: Date.parse(gap.from),
    to: Date.parse(gap.to),
  }));
  for (const figure of group.box.children) pointAt(figure, figure.pointer ?? null);
}

/** Links to the rows and days from which the plots were drawn. */
function showDownloads({ battery, batteries, from, to, plots }) {
  const query = new URLSearchParams({ from, to });
  const of = battery ? `api/batteries/${battery}/` : "api/";
  if (!battery) query.set("batteries", batteries);
  $("csv").href = absolute(`${of}rows.csv?${query}`);
  $("csv").hidden = false;
  const days = plots.find((plot) => plot.days)?.days;
  $("days-csv").hidden = !battery || !days;
  if (!$("days-csv").hidden) {
    const dates = new URLSearchParams({ from: isoDate(days.from), to: isoDate(days.to - 1) });
    $("days-csv").href = absolute(`${of}days.csv?${dates}`);
  }
}

/** The date of a time in this browser's zone, as in 2026-11-27. */
function isoDate(time) {
  const date = new Date(time);
  const digits = (number) => String(number).padStart(2, "0");
  return `${date.getFullYear()}-${digits(date.getMonth() + 1)}-${digits(date.getDate())}`;
}

function markOutdated(group) {
  const isOld = isOutdated(group);
  group.box.classList.toggle("outdated", isOld);
  if (isOld) for (const figure of group.box.children) pointAt(figure, null);
}
