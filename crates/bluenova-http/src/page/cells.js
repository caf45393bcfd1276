// The voltages of a battery's cells, as bars above and below their mean.

/** Ends of the scale in millivolts from the mean: the first one that all cells fit in. With less
 * than that of the first one, noise would look like a fault. */
const SCALES_MV = [10, 25, 50, 100, 250, 500, 1000, 2500, 5000];
const MAX_CELLS = 16;

function newCells(card) {
  for (let cell = 1; cell <= MAX_CELLS; cell++) {
    const column = copyOf("cell");
    column.querySelector("b").textContent = cell;
    card.querySelector(".cells").append(column);
  }
}

function showCells(card, battery) {
  const row = battery.latest ?? {};
  const volts = row.cell_v ?? [];
  const mean = battery.cell_mean_v;
  const deviations = volts.map((v) => (v === null || mean === null ? 0 : (v - mean) * 1000));
  const furthest = Math.max(...deviations.map(Math.abs), 0);
  const end = SCALES_MV.find((scale) => furthest <= scale) ?? furthest;
  const areEqual = battery.cell_spread_mv === 0;
  const columns = card.querySelectorAll(".cells li");
  columns.forEach((column, i) => {
    const v = volts[i] ?? null;
    // A smaller pack doesn't have that cell; a missing value looks different.
    column.hidden = v === null && i >= (row.cell_count ?? columns.length);
    column.classList.toggle("highest", !areEqual && battery.cell_highest === i + 1);
    column.classList.toggle("lowest", !areEqual && battery.cell_lowest === i + 1);
    const bar = column.querySelector(".bar").style;
    const share = v === null ? 0 : (deviations[i] / end) * 50;
    bar.setProperty("--from", `${50 + Math.min(share, 0)}%`);
    bar.setProperty("--length", `${Math.abs(share)}%`);
    bar.visibility = v === null ? "hidden" : "visible";
    const celsius = row.cell_t?.[i] ?? null;
    setText(column.querySelector(".volts"), v === null ? UNKNOWN : figure(v, 3));
    const degrees = celsius === null ? UNKNOWN : `${figure(celsius, 0)}°`;
    setText(column.querySelector(".celsius"), degrees);
  });
  const extreme = (word, cell) =>
    cell === null
      ? `${word} ${UNKNOWN}`
      : `${word} cell ${cell}: ${number(volts[cell - 1], 3, "V")}`;
  const highest = extreme("highest", battery.cell_highest);
  fill(card, {
    above: signed(end, 0, "mV"),
    below: number(-end, 0, "mV"),
    mean: `mean ${number(mean, 3, "V")}`,
    highest: areEqual ? `all cells: ${number(mean, 3, "V")}` : highest,
    lowest: areEqual ? "" : extreme("lowest", battery.cell_lowest),
  });
}
