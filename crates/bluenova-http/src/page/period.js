// What the plots are of: a time, and batteries. It is in the address: the last so long and a
// battery behind the #, as in #6h/9F3C07B2; a time that stays and batteries beside each other as in
// ?from=2026-11-27T08:00:00.000Z&to=…&compare=9F3C07B2,00000BAD&value=power.

const RANGES = { "1h": "1 h", "6h": "6 h", "24h": "24 h", "7d": "7 d", "30d": "30 d", all: "all" };
/** By what batteries are compared. */
const VALUES = {
  soc: "state of charge",
  power: "power",
  voltage: "voltage",
  spread: "cell spread",
  temperature: "temperature",
};
const MOST_COMPARED = 8;
/** The shortest time that is shown, in milliseconds. */
const SHORTEST_MS = 60_000;

/** What to plot. `fixed` has from and to in milliseconds; null: the last so long, as `range` says,
 * which is null where nothing is chosen. */
let wanted = fromAddress();
/** From and to of what is shown, and the oldest that there is, in milliseconds; null before. */
let shownTimes = null;

function fromAddress() {
  const [range, battery] = location.hash.slice(1).split("/");
  const query = new URLSearchParams(location.search);
  const [from, to] = ["from", "to"].map((name) => Date.parse(query.get(name) ?? ""));
  const value = query.get("value");
  return {
    range: Object.hasOwn(RANGES, range) ? range : null,
    battery: battery ?? null,
    fixed: from < to ? { from, to } : null,
    compared: (query.get("compare") ?? "").split(",").filter(Boolean).slice(0, MOST_COMPARED),
    value: Object.hasOwn(VALUES, value) ? value : "soc",
  };
}

/** The length of time that is plotted. What isn't chosen is a day, with its night; of a list of
 * batteries, whose rows of a day would take long to read, an hour. */
function shownRange() {
  return wanted.range ?? (status && isList() ? "1h" : "24h");
}

/** Changes what is plotted, as a step that the browser's back button undoes. */
function choose(changes) {
  const { range, battery, fixed, compared, value } = { ...wanted, ...changes };
  const query = [];
  if (fixed) {
    const [from, to] = [fixed.from, fixed.to].map((time) => new Date(time).toISOString());
    query.push(`from=${from}`, `to=${to}`);
  }
  if (compared.length) query.push(`compare=${compared.join()}`, `value=${value}`);
  const search = query.length ? `?${query.join("&")}` : "";
  const hash = `#${range ?? shownRange()}${battery ? `/${battery}` : ""}`;
  history.pushState(null, "", `${location.pathname}${search}${hash}`);
  takeChoice();
}

function takeChoice() {
  wanted = fromAddress();
  showPeriod();
  if (status) {
    showChooser();
    showCompare();
    drawAll();
  }
}

function startPeriod() {
  for (const [value, textContent] of Object.entries(RANGES)) {
    const button = document.createElement("button");
    Object.assign(button, { type: "button", value, textContent });
    button.addEventListener("click", () => choose({ range: value, fixed: null }));
    $("ranges").append(button);
  }
  for (const [id, act] of Object.entries({
    earlier: () => moveBy(-0.5),
    later: () => moveBy(0.5),
    closer: () => zoomBy(0.5),
    farther: () => zoomBy(2),
  }))
    $(id).addEventListener("click", act);
  const form = $("period").querySelector("form");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const [from, to] = [form.elements.from, form.elements.to].map(({ value }) => Date.parse(value));
    setText($("period-trouble"), from < to ? "" : "“From” has to be before “to”.");
    if (from < to) choose({ fixed: { from, to } });
  });
  addEventListener("hashchange", takeChoice);
}

/** Shows which time is chosen. */
function showPeriod() {
  const { fixed } = wanted;
  const range = shownRange();
  for (const button of $("ranges").children)
    button.setAttribute("aria-pressed", !fixed && button.value === range);
  const times = fixed ?? shownTimes;
  $("period").hidden = !times;
  if (!times) return;
  setText($("period").querySelector("summary"), periodText(times.from, times.to));
  // What somebody is typing stays.
  if ($("period").querySelector("form").contains(document.activeElement)) return;
  for (const name of ["from", "to"]) {
    const input = $("period").querySelector(`[name=${name}]`);
    const local = times[name] - new Date(times[name]).getTimezoneOffset() * 60_000;
    input.value = new Date(local).toISOString().slice(0, 16);
  }
}

/** Shows a time that stays, no later than now. */
function showTimes(from, to) {
  const middle = (from + to) / 2;
  const half = Math.max(to - from, SHORTEST_MS) / 2;
  const late = Math.max(middle + half - Date.now(), 0);
  choose({ fixed: { from: middle - half - late, to: middle + half - late } });
}

/** Shows `factor` times as much, with a time where it is. */
function zoomBy(factor, centre) {
  const times = wanted.fixed ?? shownTimes;
  if (!times) return;
  const { from, to } = times;
  const at = centre ?? (from + to) / 2;
  const [first, last] = [from, to].map((time) => at + (time - at) * factor);
  // There is nothing before the oldest row, and after now.
  const oldest = Math.min(shownTimes?.oldest ?? first, from);
  showTimes(Math.max(first, oldest), Math.min(last, Math.max(Date.now(), to)));
}

function moveBy(part) {
  const times = wanted.fixed ?? shownTimes;
  if (!times) return;
  const by = (times.to - times.from) * part;
  showTimes(times.from + by, times.to + by);
}

// ---- Batteries ----

function plottable() {
  return (status?.batteries ?? []).filter((battery) => battery.battery !== null);
}

function plotted() {
  if (inAddress !== null) return addressedBattery()?.battery ?? null;
  const ids = plottable().map((battery) => battery.battery);
  return ids.includes(wanted.battery) ? wanted.battery : (ids[0] ?? null);
}

/** The batteries that are compared, none or at least two. */
function compared() {
  const ids = plottable().map((battery) => battery.battery);
  const known = wanted.compared.filter((id) => ids.includes(id));
  return inAddress === null && known.length > 1 ? known : [];
}

function startChooser() {
  $("chooser")
    .querySelector("select")
    .addEventListener("change", (event) => choose({ battery: event.target.value }));
  const value = $("compare").querySelector("select");
  value.append(...Object.entries(VALUES).map(([value, text]) => new Option(text, value)));
  value.addEventListener("change", () => choose({ value: value.value }));
  $("compared").addEventListener("change", () => {
    const checked = [...$("compared").querySelectorAll("input")].filter((box) => box.checked);
    choose({ compared: checked.map((box) => box.value) });
  });
  $("compare").addEventListener("toggle", showCompare);
}

function showChooser() {
  const batteries = plottable();
  const select = $("chooser").querySelector("select");
  $("chooser").hidden = batteries.length < 2 || inAddress !== null || compared().length > 0;
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

function showCompare() {
  const batteries = plottable();
  $("compare").hidden = batteries.length < 2 || inAddress !== null;
  $("compare").querySelector("select").value = wanted.value;
  // A thousand of them are made only if somebody looks.
  if (!$("compare").open) return;
  const boxes = [...$("compared").querySelectorAll("input")];
  if (boxes.map((box) => box.value).join() !== batteries.map((it) => it.battery).join()) {
    const labels = batteries.map((battery) => {
      const label = document.createElement("label");
      const box = document.createElement("input");
      Object.assign(box, { type: "checkbox", value: battery.battery });
      label.append(box, nameOf(battery));
      return label;
    });
    $("compared").querySelector("div").replaceChildren(...labels);
  }
  for (const box of $("compared").querySelectorAll("input")) {
    box.checked = wanted.compared.includes(box.value);
    box.disabled = !box.checked && wanted.compared.length >= MOST_COMPARED;
  }
}
