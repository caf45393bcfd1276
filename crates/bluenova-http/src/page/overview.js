// The sums over the bank, and which batteries have a card.

/** Most cards that are shown: a listener may have thousands of batteries. */
const MAX_CARDS = 24;

function showBank() {
  const { batteries, bank } = status;
  const fresh = batteries.filter((battery) => !isStale(battery)).length;
  // The sum is wrong if one of its batteries has become stale since.
  const isOld = fresh < bank.fresh;
  const box = $("bank");
  box.classList.toggle("stale", fresh === 0);
  const watts = isOld ? null : bank.power_w;
  fillPower(box, watts);
  fill(box, {
    soc: number(isOld ? null : bank.soc, 1, "%"),
    fresh: `${fresh} of ${bank.batteries}`,
  });
  const state = fresh
    ? `${part(box, "soc").textContent}, ${part(box, "word").textContent} ${power(watts)}`
    : batteries.some(isStarting)
      ? "starting"
      : "stale";
  document.title = `${allProblems().length ? "⚠ " : ""}${state} – BlueNova`;
}

const cards = new Map();

/** The batteries of the command line. Others, with rows in the journal only, have plots but no
 * card: their rows may be years old, or they have not sent their MCU ID yet. */
function liveBatteries() {
  return status.batteries.filter((battery) => battery.addresses.length);
}

/** Those that have a card. Of many, the ones that are looked for, with trouble first. */
function cardBatteries() {
  const live = liveBatteries();
  const finder = $("finder");
  finder.hidden = live.length <= MAX_CARDS;
  if (finder.hidden) return live;
  const text = finder.querySelector("input").value.trim().toLowerCase();
  const isFound = ({ names, addresses, battery }) =>
    [...names, ...addresses, battery ?? ""].some((one) => one.toLowerCase().includes(text));
  const isTroubled = (battery) =>
    hasErrors(battery) || (isStale(battery) && !isStarting(battery));
  const found = live.filter(isFound).sort((a, b) => isTroubled(b) - isTroubled(a));
  const shown = found.slice(0, MAX_CARDS);
  const of = `${shown.length} of ${count(found.length, "battery", "batteries")}`;
  setText(finder.querySelector("span"), `${of}, those with trouble first`);
  return shown;
}

function showCards() {
  const batteries = cardBatteries();
  const keys = batteries.map((battery) => battery.addresses.join());
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
