// Numbers and times as text.

const UNKNOWN = "–";
/** Power below which a battery counts as idle: converters draw that much all the time. */
const IDLE_W = 25;

function number(value, digits, unit) {
  return typeof value === "number" ? `${figure(value, digits)}\u00a0${unit}` : UNKNOWN;
}

function figure(value, digits) {
  // A value that is rounded to zero has no sign.
  return value
    .toFixed(digits)
    .replace(/^-(?=[0.]*$)/, "")
    .replace("-", "−");
}

function signed(value, digits, unit) {
  return (value > 0 ? "+" : "") + number(value, digits, unit);
}

function power(watts) {
  const size = Math.abs(watts);
  if (size < 999.5) return signed(watts, 0, "W");
  const [value, unit] = size < 999_500 ? [watts / 1e3, "kW"] : [watts / 1e6, "MW"];
  // Three figures, so that it takes as much room with many batteries as with one.
  const whole = Math.abs(value);
  return signed(value, whole < 9.995 ? 2 : whole < 99.95 ? 1 : 0, unit);
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

/** The browser's local date. */
function localDate(time) {
  const options = { weekday: "short", day: "numeric", month: "short", year: "numeric" };
  return new Date(time).toLocaleDateString("en-GB", options);
}

/** A time from one to another one, as short as possible. */
function periodText(from, to) {
  const [first, last] = [new Date(from), new Date(to)];
  const clock = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
  if (to - from < 600_000) clock.second = "2-digit";
  const isThisYear = first.getFullYear() === new Date().getFullYear();
  const day = { day: "numeric", month: "short", ...(isThisYear ? {} : { year: "numeric" }) };
  const isOneDay = first.toDateString() === last.toDateString();
  const text = (date, options) => date.toLocaleString("en-GB", options);
  const end = text(last, isOneDay ? clock : { ...day, ...clock });
  return `${text(first, { ...day, ...clock })} – ${end}`;
}

function count(n, one, many = `${one}s`) {
  return `${n.toLocaleString("en")} ${n === 1 ? one : many}`;
}

function energy(wattHours) {
  if (typeof wattHours !== "number") return UNKNOWN;
  const size = Math.abs(wattHours);
  if (size < 100) return number(wattHours, 0, "Wh");
  if (size < 1e7) return number(wattHours / 1000, size < 1e5 ? 1 : 0, "kWh");
  return number(wattHours / 1e6, 1, "MWh");
}

/** An estimate with how well it is known; `null` if it isn't. */
function estimate(known, digits, unit) {
  if (!known) return null;
  const value = figure(known.value, digits);
  return `${value} ± ${number(known.plus_minus, digits, unit)}`;
}

/** Seconds of a day that samples or rows cover. */
function knownSeconds({ sampled_s, from_rows_s }) {
  return sampled_s + from_rows_s;
}

/** Seconds of the browser's day until now. */
function secondsOfToday() {
  return Math.max((Date.now() - new Date().setHours(0, 0, 0, 0)) / 1000, 1);
}

/** A moment to come, as exactly as a forecast is: a time of day, else a length of time. */
function forecast(seconds) {
  const minutes = seconds / 60;
  if (minutes < 20) return { length: `${Math.max(Math.round(minutes), 1)} min` };
  const [now, step] = [new Date(), (minutes < 120 ? 5 : 10) * 60_000];
  const then = new Date(Math.round((now.getTime() + seconds * 1000) / step) * step);
  const days = Math.round((new Date(then).setHours(0, 0, 0, 0) - now.setHours(0, 0, 0, 0)) / 864e5);
  if (days > 6) return { length: `${count(Math.round(seconds / 86_400), "day")}` };
  // A thousand of them a second: formats of the language would take too long.
  const clock = then.toTimeString().slice(0, 5);
  const weekday = then.toDateString().slice(0, 3);
  return { time: days === 0 ? clock : `${days === 1 ? "tomorrow" : weekday} ${clock}` };
}
