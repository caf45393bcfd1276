// The status of the batteries, which is fetched from the listener at regular intervals.

/** Milliseconds that an answer may take. */
const TIME_OUT_MS = 8000;

/** The last answer of the listener, with the number of batteries by name; when it was fetched. */
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
    const answer = await fetch(absolute(url), { cache: "no-store", signal: attempt.signal });
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
    const answer = await fetchAnswer();
    // The page of another version may not fit this answer.
    if (status && status.version !== answer.version) location.reload();
    answer.named = new Map();
    for (const name of answer.batteries.flatMap((battery) => battery.names)) {
      answer.named.set(name, (answer.named.get(name) ?? 0) + 1);
    }
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

/** The status. Of many batteries that is the least of each, and all of the one in the address. */
async function fetchAnswer() {
  if (!status || liveBatteries().length <= MAX_CARDS) {
    const answer = await fetchJson("api/batteries");
    return { ...answer, batteries: answer.batteries.map(withNewestValues) };
  }
  const one = inAddress === null ? null : addressedBattery();
  const [answer, detail] = await Promise.all([
    fetchJson("api/batteries?fields=overview"),
    one?.battery ? fetchJson(`api/batteries/${one.battery}`) : null,
  ]);
  const whole = detail && withNewestValues(detail.battery);
  const batteries = answer.batteries.map((battery) =>
    battery.battery === whole?.battery ? whole : fromOverview(battery),
  );
  return { ...answer, batteries };
}

/** What the overview lacks of a battery. */
const NOT_IN_OVERVIEW = {
  trouble: null,
  rows: 0,
  redials: 0,
  malformed_lines: 0,
  cell_mean_v: null,
  cell_lowest: null,
  cell_highest: null,
};

/** A battery of the overview in the shape of a whole one. */
function fromOverview({ problem, soc, time_to_go, ...battery }) {
  const { energy_today_in_wh: energy_in_wh, energy_today_out_wh: energy_out_wh } = battery;
  const day = { energy_in_wh, energy_out_wh, sampled_s: null, from_rows_s: null };
  return {
    ...NOT_IN_OVERVIEW,
    ...battery,
    row_age_s: battery.age_s,
    problems: problem === null ? [] : [{ severity: battery.severity, text: problem }],
    latest: soc === null ? null : { soc },
    insight: { time_to_go, today: energy_in_wh === null ? null : day },
  };
}

/** A battery with its values of the interval under way in place of its row, if there are any. */
function withNewestValues(battery) {
  const { under_way, age_s } = battery;
  if (!under_way) return { ...battery, row_age_s: age_s };
  const { values, ...others } = under_way;
  return { ...battery, ...others, ...cellFigures(values), latest: values, row_age_s: age_s };
}

/** Mean and extremes of the cells in a row, as the listener reckons them. */
function cellFigures({ cell_v }) {
  const known = cell_v.map((volts, i) => [volts, i + 1]).filter(([volts]) => volts !== null);
  if (known.length === 0) {
    return { cell_mean_v: null, cell_spread_mv: null, cell_lowest: null, cell_highest: null };
  }
  const [[low, cell_lowest], ...others] = [...known].sort(([a], [b]) => a - b);
  const [high, cell_highest] = others.pop() ?? [low, cell_lowest];
  return {
    cell_mean_v: known.reduce((sum, [volts]) => sum + volts, 0) / known.length,
    cell_spread_mv: (high - low) * 1000,
    cell_lowest,
    cell_highest,
  };
}

/** A row comes once in an interval. The status is fetched soon after the next row is due, and then
 * again until every battery has its row. */
function secondsToNextRow() {
  const interval = status?.interval_s ?? 1;
  const batteries = status?.batteries ?? [];
  const ages = batteries.filter((battery) => !battery.stale).map((battery) => battery.row_age_s);
  const waits = batteries.map((battery) => battery.first_row_due_in_s).filter((s) => s !== null);
  const known = ages.filter((age) => age !== null);
  if (known.length) waits.push(interval - Math.max(...known));
  const due = outage || waits.length === 0 ? interval : Math.min(...waits) + 0.2;
  return Math.min(Math.max(due, interval / 10, 1), 10);
}

/** Age of the newest row in seconds, null if there is none. */
function ageOf(battery) {
  return battery.age_s === null ? null : battery.age_s + secondsSince(statusAt);
}

function isStale(battery) {
  const age = ageOf(battery);
  return (battery.stale && !battery.under_way) || age === null || age > status.stale_after_s;
}

/** Whether the battery's first row since the start of the listener may still come. */
function isStarting(battery) {
  return battery.first_row_due_in_s !== null && !battery.under_way && !outage;
}

function firstValues(battery) {
  const left = Math.ceil(battery.first_row_due_in_s - secondsSince(statusAt));
  return left > 0 ? `first values in ${duration(left)}` : "first values are due";
}

function nameOf(battery) {
  return battery.names.join(" = ") || battery.battery;
}
