// All batteries: few as cards, many as a list with a line for each.

/** Most batteries that have cards. */
const MAX_CARDS = 4;
/** The columns of the list: its title, what is compared, and whether the highest come first. */
const COLUMNS = {
  trouble: { title: "trouble", key: troubleKey, down: true },
  name: { title: "name", key: nameOf },
  soc: { title: "state of charge", key: ({ latest }) => latest?.soc },
  power: { title: "power", key: ({ power_w }) => power_w },
  until: { title: "time to go", key: secondsToGo },
  spread: { title: "cell spread", key: spreadOf, down: true },
};
const order = new Intl.Collator("en", { numeric: true });
/** Seconds after which the list is shown again without any news. */
const LIST_S = 5;
/** What the list shows, and since when: an answer, and how it is sorted and searched. */
let listed = null;
let sortedBy = "trouble";
let isReversed = false;

/** The batteries of the command line. Others, with rows in the journal only, have plots but no
 * card: their rows may be years old, or they have not sent their MCU ID yet. */
function liveBatteries() {
  return status.batteries.filter((battery) => battery.addresses.length);
}

function troubleKey(battery) {
  return gravity(severityOf(battery)) * 1000 + (battery.problems ?? []).length;
}

function secondsToGo({ insight }) {
  return insight?.time_to_go?.seconds;
}

function spreadOf({ cell_spread_mv }) {
  return cell_spread_mv;
}

/** Whether the view is a list of the batteries. */
function isList() {
  const count = liveBatteries().length;
  return inAddress === null && (count > MAX_CARDS || (IS_KIOSK && count > 1));
}

/** What each kind of view shows: one battery, cards, or the list. */
function showBatteries() {
  const live = liveBatteries();
  const one = inAddress === null ? null : addressedBattery();
  document.querySelector("main").classList.toggle("one", inAddress !== null);
  document.body.classList.toggle("of-one", inAddress !== null);
  $("list").hidden = $("finder").hidden = !isList();
  $("batteries").hidden = isList() || IS_KIOSK;
  $("lost").hidden = inAddress === null || Boolean(one);
  $("back").hidden = inAddress === null || (status.batteries.length < 2 && Boolean(one));
  showCards(isList() ? [] : inAddress === null ? live : one ? [one] : []);
  if (isList()) showList(live);
  showDetail(one);
  setText($("title"), one ? nameOf(one) : "BlueNova");
}

// ---- Cards ----

const cards = new Map();

function showCards(batteries) {
  const keys = batteries.map((battery) => battery.addresses.join() || battery.battery);
  for (const [key, card] of cards) {
    if (!keys.includes(key)) {
      card.remove();
      cards.delete(key);
    }
  }
  batteries.forEach((battery, i) => {
    if (!cards.has(keys[i])) cards.set(keys[i], newCard());
    const card = cards.get(keys[i]);
    const there = $("batteries").children[i] ?? null;
    if (there !== card) $("batteries").insertBefore(card, there);
    showCard(card, battery);
  });
}

// ---- The list ----

/** The lines of the list by battery, and what each shows: most don't change in a second. */
const lines = new Map();

function startList() {
  for (const [name, { title }] of Object.entries(COLUMNS)) {
    const button = document.querySelector(`#list [data-by="${name}"] button`);
    setText(button, title);
    button.addEventListener("click", () => {
      isReversed = sortedBy === name && !isReversed;
      sortedBy = name;
      show();
    });
  }
  $("finder").querySelector("input").addEventListener("input", show);
}

function found(batteries) {
  const text = $("finder").querySelector("input").value.trim().toLowerCase();
  const isFound = ({ names, addresses, battery }) =>
    [...names, ...addresses, battery ?? ""].some((one) => one.toLowerCase().includes(text));
  return text ? batteries.filter(isFound) : batteries;
}

/** Sorted by a column; what isn't known comes last, and equal ones in the listener's order. */
function sorted(batteries) {
  const { key, down } = COLUMNS[sortedBy];
  const sign = Boolean(down) === isReversed ? 1 : -1;
  const keyed = batteries.map((battery) => [key(battery) ?? null, battery]);
  const compared = (a, b) => (typeof a === "string" ? order.compare(a, b) : a - b);
  keyed.sort(([a], [b]) => {
    if (a === null || b === null) return (a === null) - (b === null);
    return sign * compared(a, b);
  });
  return keyed.map(([, battery]) => battery);
}

/** Shows the list, unless nothing has changed. Values that become stale meanwhile are seen a little
 * later: with a thousand batteries each time costs something. */
function showList(all) {
  const { value } = $("finder").querySelector("input");
  const isSame = listed?.status === status && listed.by === `${sortedBy} ${isReversed} ${value}`;
  if (isSame && !outage && secondsSince(listed.at) < LIST_S) return;
  listed = { status, by: `${sortedBy} ${isReversed} ${value}`, at: clocks() };
  const batteries = sorted(found(all));
  for (const header of $("list").querySelectorAll("[data-by]")) {
    const isDown = Boolean(COLUMNS[header.dataset.by].down) !== isReversed;
    const direction = isDown ? "descending" : "ascending";
    header.setAttribute("aria-sort", header.dataset.by === sortedBy ? direction : "none");
  }
  const { title } = COLUMNS[sortedBy];
  const some = batteries.length.toLocaleString("en");
  const of = `${some} of ${count(all.length, "battery", "batteries")}`;
  setText($("finder").querySelector("span"), `${of}, by ${title}`);
  const body = $("list-body");
  const focused = document.activeElement;
  const shown = new Set();
  batteries.forEach((battery, i) => {
    const key = battery.addresses.join() || battery.battery;
    if (!lines.has(key)) lines.set(key, { node: copyOf("line"), was: null });
    const line = lines.get(key);
    shown.add(key);
    if (body.children[i] !== line.node) body.insertBefore(line.node, body.children[i] ?? null);
    showLine(line, battery);
  });
  for (const [key, { node }] of lines) {
    if (!shown.has(key)) {
      node.remove();
      lines.delete(key);
    }
  }
  // A line that has moved has lost the focus.
  if (body.contains(focused)) focused.focus({ preventScroll: true });
}

function showLine(line, battery) {
  const { node } = line;
  const look = lookOf(battery);
  const [lasts, until] = timeToGo(look);
  const [first, ...others] = battery.problems ?? [];
  const severity = severityOf(battery);
  const said = first
    ? withoutName(first.text, battery)
    : isStarting(battery)
      ? firstValues(battery)
      : severity && "stale";
  const texts = {
    name: nameOf(battery) ?? UNKNOWN,
    soc: number(look.soc, 0, "%"),
    power: power(look.watts),
    lasts: look.goes ? lasts : "",
    until: look.goes || until === "full" || until === "idle" ? until : UNKNOWN,
    spread: number(battery.cell_spread_mv, 0, "mV"),
    trouble: said + (others.length ? ` … and ${count(others.length, "more", "more")}` : ""),
  };
  const link = addressOf(battery);
  const is = `${severity} ${isStale(battery)} ${link} ${Object.values(texts).join("\n")}`;
  if (line.was === is) return;
  line.was = is;
  fill(node, texts);
  mark(node, severity);
  node.classList.toggle("stale", isStale(battery));
  node.querySelector("a").href = link;
  part(node, "power").className = powerWord(look.watts);
  node.querySelector(".gauge > *").style.width = `${Math.min(Math.max(look.soc ?? 0, 0), 100)}%`;
}

/** What a problem says, in the line of the battery that it names. */
function withoutName(text, { names }) {
  const name = names.find((one) => text.startsWith(`${one}: `));
  return name === undefined ? text : text.slice(name.length + 2);
}
