// What is wrong, above everything else, and how serious it is.
//
// The listener decides what is amber and what is red.

/** Most problems that are shown: a listener may have thousands of batteries. Above a list of them,
 * which begins with those in trouble, fewer. */
const MAX_PROBLEMS = 10;
const MAX_ABOVE_LIST = 3;
const SEVERITIES = { amber: "attention", red: "serious" };

/** The problems that the listener reports, or that there is no listener. In the view of one battery
 * not those of the others. */
function allProblems() {
  if (!outage) {
    const one = inAddress === null ? null : addressedBattery();
    const isItsOwn = ({ names }) => !names.length || names.some((it) => one.names.includes(it));
    return one ? status.problem_details.filter(isItsOwn) : status.problem_details;
  }
  const since = localTime(outage.since);
  const text = `No answer from the listener since ${since}: ${outage.why}. All below is old.`;
  return [{ severity: "red", text }];
}

/** Whether its errors are a problem: those of a single row may be garbled. */
function hasErrors({ problems }) {
  return (problems ?? []).some(({ name }) => name === "errors");
}

/** The worst that is wrong with a battery: red, amber or nothing; by the page's own clock too. */
function severityOf(battery) {
  return isStale(battery) && !isStarting(battery) ? "red" : (battery.severity ?? "");
}

/** How serious it is, for sorting. */
function gravity(severity) {
  return ["", "amber", "red"].indexOf(severity ?? "");
}

/** Shows how serious something is by colour, sign and word. */
function mark(node, severity) {
  for (const name of Object.keys(SEVERITIES)) node.classList.toggle(name, severity === name);
}

/** Makes a list have these lines, each `text` with a `severity`. */
function fillList(list, lines) {
  while (list.children.length > lines.length) list.lastChild.remove();
  while (list.children.length < lines.length) list.append(document.createElement("li"));
  lines.forEach(({ text, severity }, i) => {
    setText(list.children[i], text);
    mark(list.children[i], severity);
  });
}

function showProblems() {
  const problems = allProblems();
  const starting = status && !outage ? liveBatteries().filter(isStarting) : [];
  const starts = starting.map((battery) => ({
    text: `${battery.names.join(" = ")}: ${firstValues(battery)}`,
  }));
  const well = starts.length ? starts : [{ text: "All is well." }];
  const all = problems.length ? problems : well;
  const lines = all.slice(0, status && isList() ? MAX_ABOVE_LIST : MAX_PROBLEMS);
  // Of many batteries the listener gives the details of the gravest only.
  const isWhole = !status || outage || inAddress !== null;
  const left = Math.max(all.length, isWhole ? 0 : status.problems.length) - lines.length;
  if (left > 0) lines.push({ text: `… and ${count(left, "more", "more")}` });
  $("problems").classList.toggle("quiet", problems.length === 0);
  fillList($("problems"), lines);
  // Announced when a problem comes or goes, not whenever its time or number of rows grows.
  const texts = lines.map((line) => line.text).join(" ");
  const announced = texts.replace(/( \d+ (s|min|h|d)\b)+/g, " some time");
  setText($("announcement"), announced.replace(/\b\d+ rows\b/g, "some rows"));
}
