// The address of the page: all batteries at its root, one at battery/NAME, `?kiosk` for a wall.
//
// A proxy may serve all of it below a path of its own, so no address here begins with a slash.

/** Whether the page is for a tablet on a wall: large figures, and nothing to touch. */
const IS_KIOSK = new URLSearchParams(location.search).has("kiosk");

/** The root of the listener's addresses, and what stands behind `battery/`; null at the root. */
const [ROOT, addressed] = (() => {
  const [, root, name] = /^(.*\/)battery\/(.+)$/.exec(location.pathname) ?? [];
  return [new URL(root ?? "./", location.href), name ?? null];
})();

/** The battery in the address, as its name or its MCU ID; null for all of them. */
let inAddress = decoded(addressed);

function decoded(name) {
  try {
    return name === null ? null : decodeURIComponent(name);
  } catch {
    return name;
  }
}

function absolute(relative) {
  return new URL(relative, ROOT).href;
}

/** The address of a battery's own view. Names may be given twice, MCU IDs not. */
function addressOf(battery) {
  const { names, battery: id } = battery;
  const name = names[0] && status.named.get(names[0]) === 1 ? names[0] : (id ?? names[0]);
  return absolute(`battery/${encodeURIComponent(name)}`);
}

/** The battery that the address names: by MCU ID, else by a name; undefined if it is none. */
function addressedBattery() {
  const wanted = inAddress.toUpperCase();
  return (
    status.batteries.find((battery) => battery.names.includes(inAddress)) ??
    status.batteries.find((battery) => battery.battery === wanted)
  );
}

/** Follows a link within the page without loading it again. */
function follow(event) {
  const link = event.target.closest?.("a.view");
  const isOther = event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey;
  if (!link || isOther) return;
  event.preventDefault();
  history.pushState(null, "", `${link.href.split("#")[0]}${location.search}${location.hash}`);
  changeView();
  scrollTo(0, 0);
  // Where one would be after loading it, for those who go by keyboard or by ear.
  $("title").focus();
}

function changeView() {
  const [, name] = /^battery\/(.+)$/.exec(location.pathname.slice(ROOT.pathname.length)) ?? [];
  inAddress = decoded(name ?? null);
  takeChoice();
  show();
  // Of many batteries only the one in the address is fetched whole.
  fetchStatus();
}

function startAddress() {
  document.body.classList.toggle("kiosk", IS_KIOSK);
  addEventListener("click", follow);
  addEventListener("popstate", changeView);
  $("back").href = ROOT.href;
  // The document may be at any depth, so only here is it known where these are.
  for (const [rel, file] of [
    ["manifest", "manifest.webmanifest"],
    ["apple-touch-icon", "icon-192.png"],
  ]) {
    const link = document.createElement("link");
    document.head.append(Object.assign(link, { rel, href: absolute(file) }));
  }
}
