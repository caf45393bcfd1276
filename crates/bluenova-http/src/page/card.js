// The card of a battery.

/** Minimum voltage of a full bar: with less, noise would look like a fault. */
const BAR_V = 0.005;

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
