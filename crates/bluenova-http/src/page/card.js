// The card of a battery.

function newCard() {
  const card = copyOf("card");
  newLook(card.querySelector(".look"));
  newCells(card);
  return card;
}

function showCard(card, battery) {
  const row = battery.latest ?? {};
  card.classList.toggle("stale", isStale(battery));
  card.classList.toggle("starting", isStarting(battery));
  showAge(card, battery);
  fillLook(card.querySelector(".look"), lookOf(battery));
  fill(card, {
    name: nameOf(battery) ?? UNKNOWN,
    mcu: battery.battery ?? "",
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
  const link = card.querySelector("h2 a");
  link.href = addressOf(battery);
  card.querySelector(".errors").classList.toggle("loud", hasErrors(battery));
  showSeverity(card, battery);
  showCells(card, battery);
}

/** The figures that a problem is about, by its name. */
const FIGURES = {
  "low-charge": "soc",
  "cell-spread": "spread",
  "cell-spread-at-ends": "spread",
  "low-cell-voltage": "lowest",
  "high-cell-voltage": "highest",
  frost: "temp",
  "high-temperature": "temp",
  breaker: "breaker",
};

/** Marks the battery, and the figures that are serious. What is said of them is above all cards. */
function showSeverity(card, battery) {
  const severity = severityOf(battery);
  mark(card, severity);
  mark(part(card, "severity"), severity);
  setText(part(card, "severity"), SEVERITIES[severity] ?? "");
  const problems = isStale(battery) ? [] : (battery.problems ?? []);
  for (const name of new Set(Object.values(FIGURES))) {
    const worst = problems.filter((problem) => FIGURES[problem.name] === name);
    const gravest = Math.max(0, ...worst.map((problem) => gravity(problem.severity)));
    mark(part(card, name), ["", "amber", "red"][gravest]);
  }
}

function showAge(card, battery) {
  const age = ageOf(battery);
  const node = part(card, "age");
  const text = node.firstElementChild ?? node.appendChild(document.createElement("span"));
  const start = isStarting(battery) ? firstValues(battery) : null;
  if (age === null) return setText(text, start ?? "NO DATA YET");
  const ago = `${duration(age)} ago`;
  const at = battery.latest?.insert_time_utc;
  const last = `last value ${ago}${at ? `, ${localTime(at)}` : ""}`;
  if (start) return setText(text, `${start} – ${last}`);
  if (battery.under_way && !isStale(battery)) {
    return setText(text, `${ago}, between rows (from memory)`);
  }
  setText(text, isStale(battery) ? `STALE – ${last}` : ago);
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
