// Everything that is known of one battery.

const DAYS = [7, 30];
/** Events that are shown before one asks for more. */
const FEW_EVENTS = 12;
const MANY_EVENTS = 200;
/** Seconds after which days and events are fetched again. */
const DETAIL_S = 60;
/** What is known of each cell: the heading, digits, and how to show the difference to others. */
const CELL_COLUMNS = {
  resistance_mohm: ["resistance, mΩ", 2, false],
  at_rest_mv: ["at rest, mV", 1, true],
  at_top_mv: ["nearly full, mV", 1, true],
  at_bottom_mv: ["nearly empty, mV", 1, true],
  charge_ah: ["charge, Ah", 2, true],
  charge_ah_per_week: ["charge, Ah a week", 2, true],
  resistance_mohm_per_year: ["resistance, mΩ a year", 2, true],
  at_rest_mv_per_week: ["at rest, mV a week", 1, true],
};

let dayCount = DAYS[0];
let areEventsMany = false;
/** Days, trends and events of a battery: its MCU ID, when they were asked for, and the answers. */
let records = null;

function startDetail() {
  for (const days of DAYS) {
    const button = document.createElement("button");
    Object.assign(button, { type: "button", value: days, textContent: `${days} days` });
    button.addEventListener("click", () => {
      dayCount = days;
      show();
    });
    $("day-count").append(button);
  }
  $("more-events").addEventListener("click", () => {
    areEventsMany = !areEventsMany;
    show();
  });
}

function showDetail(battery) {
  $("detail").hidden = !battery || IS_KIOSK;
  if ($("detail").hidden) return;
  const { insight } = battery;
  showWorth(battery, insight);
  showCellTable(withTrends(insight?.cells ?? []));
  // An overview has the energy of the day only.
  showDays(records?.days, insight?.today?.date ? insight.today : null);
  showEvents(records?.events);
  const isNew = records?.battery !== battery.battery;
  if (battery.battery && (isNew || secondsSince(records.at) > DETAIL_S)) {
    if (isNew) records = null;
    fetchRecords(battery.battery);
  }
}

/** What a battery's figures say, each with how well it is known. */
function showWorth(battery, insight) {
  const known = (text) => text ?? "not known yet";
  const { counters, capacity_ah, mean_power_w } = insight ?? {};
  const digits = capacity_ah?.plus_minus < 10 ? 1 : 0;
  const change = trend(records?.trends?.capacity_ah_per_year);
  fill($("detail"), {
    capacity: known(estimate(capacity_ah, digits, "Ah")) + change,
    charged: counters ? energy(counters.energy_in_wh) : known(null),
    discharged: counters ? energy(counters.energy_out_wh) : known(null),
    mean: typeof mean_power_w === "number" ? power(mean_power_w) : known(null),
  });
  const { is, cells = [] } = insight?.verdict ?? {};
  const verdicts = {
    no_weak_cell: ["No cell of this battery is weak.", ""],
    needs_balancing: [verdictOf(cells), ""],
    weak: [verdictOf(cells), "amber"],
  };
  const [text, severity] = verdicts[is] ?? ["Whether a cell is weak is not known yet.", ""];
  const verdict = part($("detail"), "verdict");
  setText(verdict, text);
  mark(verdict, severity);
  fillList(
    $("evidence"),
    cells.map(({ evidence }) => ({ text: evidence })),
  );
}

/** How many cells are weak, and how many were only charged less than the others. */
function verdictOf(cells) {
  const toBalance = cells.filter(({ weakness }) => weakness === "low_charge").length;
  const weak = cells.length - toBalance;
  return [
    weak && `${count(weak, "cell")} ${weak === 1 ? "is" : "are"} weak.`,
    toBalance && `${count(toBalance, "cell")} ${toBalance === 1 ? "needs" : "need"} balancing.`,
  ]
    .filter(Boolean)
    .join(" ");
}

/** How the capacity changes; nothing until that is known. */
function trend(per_year) {
  if (!per_year) return "";
  const { value, plus_minus } = per_year;
  if (Math.abs(value) <= plus_minus)
    return `, as it was (within ${number(plus_minus, 1, "Ah")} a year)`;
  const change = estimate({ value: Math.abs(value), plus_minus }, 1, "Ah");
  return `, ${value < 0 ? "falls" : "rises"} by ${change} a year`;
}

/** What is known of the cells now, and over all days. */
function withTrends(cells) {
  const trends = records?.trends?.cells ?? [];
  const count = Math.max(cells.length, trends.length);
  return Array.from({ length: count }, (_, i) => ({ ...trends[i], ...cells[i] }));
}

/** A line for each cell, with a column for what is known of any of them. */
function showCellTable(cells) {
  const names = Object.keys(CELL_COLUMNS).filter((name) => cells.some((cell) => cell[name]));
  $("cell-table").hidden = names.length === 0;
  $("cells-unknown").hidden = names.length > 0;
  const header = ["cell", ...names.map((name) => CELL_COLUMNS[name][0])];
  const body = cells.map((cell, i) => [
    String(i + 1),
    ...names.map((name) => cellText(cell[name], ...CELL_COLUMNS[name].slice(1))),
  ]);
  fillTable($("cell-table").querySelector("table"), header, body);
}

function cellText(known, digits, isSigned) {
  if (!known) return UNKNOWN;
  const sign = isSigned && known.value > 0 ? "+" : "";
  return `${sign}${figure(known.value, digits)} ± ${figure(known.plus_minus, digits)}`;
}

/** Makes a table have these texts; the first of each line is its heading. */
function fillTable(table, header, body) {
  const is = JSON.stringify([header, body]);
  if (table.was === is) return;
  table.was = is;
  const cell = (tag, text, scope) => {
    const node = document.createElement(tag);
    if (scope) node.scope = scope;
    node.textContent = text;
    return node;
  };
  const line = (cells) => {
    const node = document.createElement("tr");
    node.append(...cells);
    return node;
  };
  table.tHead.replaceChildren(line(header.map((text) => cell("th", text, "col"))));
  table.tBodies[0].replaceChildren(
    ...body.map(([first, ...others]) =>
      line([cell("th", first, "row"), ...others.map((text) => cell("td", text))]),
    ),
  );
}

// ---- Days and events ----

async function fetchRecords(battery) {
  const before = records?.battery === battery ? records : null;
  const mine = { days: null, trends: null, events: null, ...before, battery, at: clocks() };
  records = mine;
  const ask = async (name) => {
    try {
      return await fetchJson(`api/batteries/${battery}/${name}`);
    } catch (error) {
      return { error: error.message };
    }
  };
  const from = new Date(Date.now() - Math.max(...DAYS) * 86_400_000).toISOString().slice(0, 10);
  const names = [`days?from=${from}`, "trends", "events"];
  [mine.days, mine.trends, mine.events] = await Promise.all(names.map(ask));
  if (records === mine) show();
}

/** The ended days, and the one under way. */
function showDays(answer, today) {
  for (const button of $("day-count").children)
    button.setAttribute("aria-pressed", Number(button.value) === dayCount);
  const ended = (answer?.days ?? []).filter(({ date }) => date !== today?.date);
  const days = [...ended, ...(today ? [today] : [])].slice(-dayCount).reverse();
  setText($("days-trouble"), noneOf(answer, days, "No day is known yet."));
  const highest = Math.max(...days.flatMap((day) => [day.energy_in_wh, day.energy_out_wh]), 1);
  const body = $("days");
  while (body.children.length > days.length) body.lastChild.remove();
  while (body.children.length < days.length) body.append(copyOf("day"));
  days.forEach((day, i) => {
    const line = body.children[i];
    // Of the day under way, what is still to come isn't missing.
    const length = day === today ? secondsOfToday() : day.length_s;
    const share = Math.min(knownSeconds(day) / length, 1);
    fill(line, {
      date: dateText(day.date),
      in: energy(day.energy_in_wh),
      out: energy(day.energy_out_wh),
      known: `${Math.round(share * 100)}\u00a0%${day.from_rows_s > 0 ? " ◦" : ""}`,
    });
    const [incoming, outgoing] = line.querySelectorAll(".amount");
    incoming.style.width = `${(day.energy_in_wh / highest) * 100}%`;
    outgoing.style.width = `${(day.energy_out_wh / highest) * 100}%`;
  });
  $("rebuilt").hidden = !days.some((day) => day.from_rows_s > 0);
  $("day-table").hidden = days.length === 0;
}

function noneOf(answer, shown, none) {
  if (!answer) return "…";
  if (answer.error) return `Not to be had: ${answer.error}`;
  return shown.length ? "" : none;
}

/** A date as in `2026-11-27`, which belongs to no time zone. */
function dateText(date) {
  const options = { weekday: "short", day: "numeric", month: "short", timeZone: "UTC" };
  return new Date(`${date}T00:00Z`).toLocaleDateString("en-GB", options);
}

/** The events without those that are the cause of a gap, which says the same and how long that
 * was. */
function withoutCauses(events) {
  const gaps = new Set(events.filter(({ event }) => event === "gap").map(({ time }) => time));
  return events.filter(({ gap }) => !gaps.has(gap));
}

function showEvents(answer) {
  const all = withoutCauses(answer?.events ?? []);
  const events = all.slice(0, areEventsMany ? MANY_EVENTS : FEW_EVENTS);
  setText($("events-trouble"), noneOf(answer, all, "Nothing has happened yet."));
  const list = $("events");
  while (list.children.length > events.length) list.lastChild.remove();
  while (list.children.length < events.length) list.append(copyOf("event"));
  events.forEach(({ time, until, event, text }, i) => {
    const seconds = until ? (Date.parse(until) - Date.parse(time)) / 1000 : 0;
    // Of a gap the text says how long it was.
    const lasted = seconds >= 1 && event !== "gap" ? `, for ${duration(seconds)}` : "";
    fill(list.children[i], { time: localTime(time) + lasted, text });
  });
  const more = $("more-events");
  more.hidden = all.length <= FEW_EVENTS;
  setText(more, areEventsMany ? "fewer" : `all ${Math.min(all.length, MANY_EVENTS)}`);
}
