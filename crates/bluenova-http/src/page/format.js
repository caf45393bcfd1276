// Numbers and times as text.

const UNKNOWN = "–";
/** Power below which a battery counts as idle: converters draw that much all the time. */
const IDLE_W = 25;

function number(value, digits, unit) {
  if (typeof value !== "number") return UNKNOWN;
  // A value that is rounded to zero has no sign.
  const text = value
    .toFixed(digits)
    .replace(/^-(?=[0.]*$)/, "")
    .replace("-", "−");
  return `${text}\u00a0${unit}`;
}

function signed(value, digits, unit) {
  return (value > 0 ? "+" : "") + number(value, digits, unit);
}

function power(watts) {
  return Math.abs(watts) < 1000 ? signed(watts, 0, "W") : signed(watts / 1000, 2, "kW");
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

function count(n, one, many = `${one}s`) {
  return `${n.toLocaleString("en")} ${n === 1 ? one : many}`;
}
