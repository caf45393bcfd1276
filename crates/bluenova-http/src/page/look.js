// The first look: state of charge, power, how long it lasts, and the energy of today.

/** Covered part of the day below which the page says how much of it the energy is of. */
const WHOLE_DAY = 0.9;

/** What a first look shows of one battery; of a stale one only its state of charge. */
function lookOf(battery) {
  const { insight, power_w } = battery;
  const isOld = isStale(battery);
  return {
    isOld,
    soc: battery.latest?.soc ?? null,
    watts: power_w,
    goes: isOld ? null : (insight?.time_to_go ?? null),
    today: isOld ? null : (insight?.today ?? null),
  };
}

/** What a first look shows of all batteries. */
function lookOfBank(batteries) {
  const fresh = batteries.filter((battery) => !isStale(battery));
  // The sum is wrong if one of its batteries has become stale since.
  const isOld = fresh.length < status.bank.fresh;
  return {
    isOld: fresh.length === 0,
    soc: isOld ? null : status.bank.soc,
    watts: isOld ? null : status.bank.power_w,
    goes: isOld ? null : (status.bank.time_to_go ?? null),
    today: isOld ? null : dayOfBank(fresh.map((battery) => lookOf(battery).today)),
  };
}

/** The energy of the bank's day, with how much of it is known; null if nothing is. */
function dayOfBank(days) {
  const { today } = status.bank;
  const known = days.filter(Boolean);
  if (!today || known.length === 0) return null;
  const recorded = known.filter((day) => day.sampled_s !== null);
  const covered = recorded.map(knownSeconds);
  const seconds = covered.reduce((sum, one) => sum + one, 0);
  return {
    ...today,
    sampled_s: covered.length ? seconds / covered.length : null,
    from_rows_s: 0,
    unknown: days.length - known.length,
  };
}

/** How long it lasts: a word, the figure, and what has to be said of it. */
function timeToGo({ goes, soc, watts, isOld }) {
  if (!goes) {
    if (isOld) return ["time to go", UNKNOWN, ""];
    if (soc === 100 && watts > -IDLE_W) return ["time to go", "full", ""];
    if (watts !== null && Math.abs(watts) < IDLE_W) return ["time to go", "idle", ""];
    return ["time to go", "not known yet", ""];
  }
  const { time, length } = forecast(Math.max(goes.seconds - secondsSince(statusAt), 0));
  const [until, within] = {
    empty: ["lasts until about", "lasts about"],
    full: ["full at about", "full in about"],
  }[goes.goal];
  const note = goes.with_usual_capacity ? "with the usual capacity" : "";
  return [time ? until : within, time ?? length, note];
}

/** Of how much of the day its energy is, if that isn't nearly all of it so far. */
function noteOfDay(today) {
  if (!today) return "";
  const covered = knownSeconds(today);
  const notes = [];
  const isPart = today.sampled_s !== null && covered < WHOLE_DAY * secondsOfToday() - 60;
  if (isPart) notes.push(`${duration(covered)} of it recorded`);
  if (today.unknown) notes.push(`${count(today.unknown, "battery", "batteries")} not known yet`);
  return notes.join(", ");
}

function newLook(parent) {
  parent.append(...document.importNode($("look").content, true).children);
  return parent;
}

function fillLook(parent, look) {
  const [lasts, until, of] = timeToGo(look);
  const { today, isOld, soc } = look;
  fillPower(parent, look.watts ?? null);
  fill(parent, {
    soc: number(soc, 0, "%"),
    lasts,
    until,
    of,
    in: today ? `${energy(today.energy_in_wh)} in` : isOld ? UNKNOWN : "not known yet",
    out: today ? `${energy(today.energy_out_wh)} out` : "",
    covered: noteOfDay(today),
  });
  part(parent, "until").classList.toggle("unknown", !look.goes);
  part(parent, "in").classList.toggle("unknown", !today);
  parent.querySelector(".gauge > *").style.width = `${Math.min(Math.max(soc ?? 0, 0), 100)}%`;
}

function showBank() {
  const batteries = liveBatteries();
  const one = inAddress === null ? null : addressedBattery();
  const box = $("bank");
  const fresh = status.batteries.filter((battery) => !isStale(battery)).length;
  const look = one ? lookOf(one) : lookOfBank(batteries);
  // The card of a battery begins with the same figures.
  const isInCard = (inAddress !== null || status.batteries.length < 2) && !IS_KIOSK;
  box.hidden = isInCard || (inAddress !== null && !one);
  box.setAttribute("aria-label", one ? nameOf(one) : "All batteries");
  box.classList.toggle("stale", one ? isStale(one) : fresh === 0);
  fillLook(box, look);
  fill(box, { fresh: `${fresh} of ${status.bank.batteries}` });
  showTitle(one, fresh, look.watts ?? null);
}

function showTitle(one, fresh, watts) {
  const box = $("bank");
  const isFresh = one ? !isStale(one) : fresh > 0;
  const state = isFresh
    ? `${part(box, "soc").textContent}, ${part(box, "word").textContent} ${power(watts)}`
    : status.batteries.some(isStarting)
      ? "starting"
      : "stale";
  const name = one ? ` – ${nameOf(one)}` : "";
  document.title = `${allProblems().length ? "⚠ " : ""}${state}${name} – BlueNova`;
}
