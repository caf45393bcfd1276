// One plot: how it is shown, and what is read from it with a pointer or keys.

/** Pixels from which on a gap can be pointed at. */
const GAP_PX = 2;
/** Decimals of values. */
const DIGITS = { V: 2, A: 2, mΩ: 3, kWh: 2, Ah: 1 };

/** An empty plot of a group of them. */
function newPlot(group) {
  const figure = copyOf("plot");
  figure.group = group;
  const box = figure.querySelector(".plot");
  const moved = (event) => {
    if (!figure.isZooming) pointAt(figure, event.clientX - box.getBoundingClientRect().left);
  };
  box.addEventListener("pointermove", moved);
  box.addEventListener("pointerdown", moved);
  box.addEventListener("pointerleave", ({ pointerType }) => {
    // A finger leaves when it is lifted; its values stay until it touches something else.
    if (pointerType === "mouse") pointAt(figure, null);
  });
  box.addEventListener("blur", () => pointAt(figure, null));
  box.addEventListener("keydown", (event) => step(figure, event));
  startZoom(figure);
  group.box.append(figure);
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
    .setAttribute(
      "aria-label",
      `${plot.title}: left and right arrow read the values, plus and minus zoom`,
    );
  const ofRows = { from: Date.parse(from), to: Date.parse(to), times };
  figure.shown = { ...plot, ...(plot.days ?? ofRows), width: svg.width.baseVal.value };
  pointAt(figure, figure.pointer ?? null);
}

/** Pixels of the page in a pixel of the drawing. */
function scaleOf(figure) {
  return figure.querySelector(".drawing").clientWidth / figure.shown.width;
}

/** Distance of a time from the left edge of its plot, in pixels. */
function pixelsTo(figure, time) {
  const { area, from, to } = figure.shown;
  return scaleOf(figure) * (area.left + ((time - from) / (to - from)) * (area.right - area.left));
}

/** The time so many pixels from the left edge of a plot, no earlier and no later than its axis. */
function timeAt(figure, x) {
  const { area, from, to } = figure.shown;
  const part = (x / scaleOf(figure) - area.left) / (area.right - area.left);
  return from + Math.min(Math.max(part, 0), 1) * (to - from);
}

/** What can be pointed at, from left to right: values by their index, and gaps. */
function stopsOf(figure) {
  if (!figure.shown || isOutdated(figure.group)) return [];
  const values = figure.shown.times.map((time, index) => {
    const x = pixelsTo(figure, time);
    return { left: x, right: x, index };
  });
  const { from, to, days } = figure.shown;
  const edges = (days ? [] : figure.group.gaps).map((gap) => {
    const [left, right] = [Math.max(gap.from, from), Math.min(gap.to, to)];
    // The time of a value is the begin of its bucket, which may be within the gap before it.
    const next = figure.shown.times.find((time) => time > left && time < right);
    const end = next === undefined ? pixelsTo(figure, right) : pixelsTo(figure, next) - 1;
    return { left: pixelsTo(figure, left), right: end, gap };
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
  if (event.shiftKey || event.ctrlKey || event.altKey || event.metaKey) return;
  if (to === undefined || last < 0) return;
  event.preventDefault();
  figure.stop = Math.min(Math.max(to, 0), last);
  const stop = stops[figure.stop];
  figure.pointer = (stop.left + stop.right) / 2;
  read(figure, stop, figure.pointer);
}

function read(figure, { left, right, index, gap }, pointer) {
  const { area, series, times, width, days } = figure.shown;
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
  time.textContent = days ? localDate(times[index]) : localTime(times[index]);
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
  const digits = unit === "V" && high[index] < 10 ? 3 : (DIGITS[unit] ?? 0);
  const [from, to] = [low, high].map((values) => number(values[index], digits, unit));
  const dash = low[index] < 0 ? " to " : "–";
  value.textContent = from === to ? from : from.replace(`\u00a0${unit}`, dash) + to;
  return [swatch, label, value];
}
