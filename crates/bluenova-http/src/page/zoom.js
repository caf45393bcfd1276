// Choosing a time in a plot: by dragging over it, by pinching it, by a double click, by keys.

/** Pixels that a pointer moves at least when it drags. */
const DRAG_PX = 8;
/** Pixels that two fingers are apart at least. */
const PINCH_PX = 20;

function startZoom(figure) {
  const box = figure.querySelector(".plot");
  /** Where each pointer began and is, in pixels from the left edge. */
  const pointers = new Map();
  const xOf = (event) => event.clientX - box.getBoundingClientRect().left;
  const end = () => {
    pointers.clear();
    figure.isZooming = false;
    figure.querySelector(".selection").hidden = true;
  };
  const cancel = () => {
    if (figure.isZooming) pointAt(figure, null);
    end();
    figure.querySelector(".drawing").style.transform = "";
  };
  let lastType = null;
  box.addEventListener("pointerdown", (event) => {
    lastType = event.pointerType;
    if (event.button !== 0 || pointers.size > 1 || !figure.shown) return;
    const x = xOf(event);
    pointers.set(event.pointerId, { began: x, x });
    // So that it can be let go of anywhere.
    box.setPointerCapture(event.pointerId);
    // One finger may have dragged before the other one came.
    for (const pointer of pointers.values()) pointer.began = pointer.x;
  });
  box.addEventListener("pointermove", (event) => {
    const pointer = pointers.get(event.pointerId);
    if (!pointer) return;
    pointer.x = xOf(event);
    if (pointers.size === 2) showPinch(figure, [...pointers.values()]);
    else if (figure.isZooming || Math.abs(pointer.x - pointer.began) > DRAG_PX)
      showSelection(figure, pointer);
  });
  box.addEventListener("pointerup", (event) => {
    const pointer = pointers.get(event.pointerId);
    if (!pointer || !figure.isZooming) return end();
    const times =
      pointers.size === 2
        ? pinched(figure, [...pointers.values()])
        : [pointer.began, pointer.x].map((x) => timeAt(figure, x)).sort((a, b) => a - b);
    end();
    showTimes(...times);
  });
  box.addEventListener("pointercancel", cancel);
  box.addEventListener("dblclick", (event) => {
    // Fingers read one value after the other, and can pinch.
    if (figure.shown && lastType !== "touch") zoomBy(2, timeAt(figure, xOf(event)));
  });
  box.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || !figure.shown) return;
    if (event.key === "Escape") cancel();
    // Towards what is read, if anything is.
    const x = figure.querySelector(".reading").hidden ? null : figure.pointer;
    const centre = x === null ? undefined : timeAt(figure, x);
    const act = {
      "+": () => zoomBy(0.5, centre),
      "=": () => zoomBy(0.5, centre),
      "-": () => zoomBy(2, centre),
      ArrowLeft: event.shiftKey && (() => moveBy(-0.5)),
      ArrowRight: event.shiftKey && (() => moveBy(0.5)),
    }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
}

/** Shows which time is being chosen. */
function showSelection(figure, { began, x }) {
  figure.isZooming = true;
  pointAt(figure, null);
  const times = [began, x].map((x) => timeAt(figure, x)).sort((a, b) => a - b);
  const [left, right] = times.map((time) => pixelsTo(figure, time));
  const { area } = figure.shown;
  const scale = scaleOf(figure);
  const selection = figure.querySelector(".selection");
  selection.hidden = false;
  Object.assign(selection.style, {
    left: `${left}px`,
    width: `${right - left}px`,
    top: `${area.top * scale}px`,
    height: `${(area.bottom - area.top) * scale}px`,
  });
  setText(selection.firstElementChild, periodText(...times));
}

/** The times of the axis, if those that the fingers took hold of are where the fingers are now. */
function pinched(figure, [one, other]) {
  const { area, from, to } = figure.shown;
  const perPixel = (to - from) / (area.right - area.left) / scaleOf(figure);
  const { zoom, shift } = pinch(one, other);
  const left = area.left * scaleOf(figure);
  const begin = from + ((left - shift) / zoom - left) * perPixel;
  return [begin, begin + (to - from) / zoom];
}

function pinch(one, other) {
  const [left, right] = one.began < other.began ? [one, other] : [other, one];
  const distance = (a, b) => Math.max(b - a, PINCH_PX);
  const zoom = distance(left.x, right.x) / distance(left.began, right.began);
  return { zoom, shift: left.x - left.began * zoom };
}

function showPinch(figure, [one, other]) {
  figure.isZooming = true;
  figure.querySelector(".selection").hidden = true;
  pointAt(figure, null);
  const { zoom, shift } = pinch(one, other);
  figure.querySelector(".drawing").style.transform = `translateX(${shift}px) scaleX(${zoom})`;
}
