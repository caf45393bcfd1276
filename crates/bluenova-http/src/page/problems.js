// What is wrong, above everything else.

/** Most problems that are shown: a listener may have thousands of batteries. */
const MAX_PROBLEMS = 10;

/** The problems that the listener reports, or that there is no listener. */
function allProblems() {
  if (!outage) return status.problems;
  const since = localTime(outage.since);
  return [`No answer from the listener since ${since}: ${outage.why}. All below is old.`];
}

function hasErrors({ latest }) {
  return Boolean(latest?.errors) && latest.errors !== "NONE";
}

function showProblems() {
  const problems = allProblems();
  const starting = status && !outage ? liveBatteries().filter(isStarting) : [];
  const starts = starting.map((battery) => `${battery.names.join(" = ")}: ${firstValues(battery)}`);
  const well = starts.length ? starts : ["All is well."];
  const all = problems.length ? problems : well;
  const lines = all.slice(0, MAX_PROBLEMS);
  if (all.length > lines.length) lines.push(`… and ${count(all.length - lines.length, "more", "more")}`);
  const list = $("problems");
  list.classList.toggle("quiet", problems.length === 0);
  while (list.children.length > lines.length) list.lastChild.remove();
  while (list.children.length < lines.length) list.append(document.createElement("li"));
  lines.forEach((line, i) => setText(list.children[i], line));
  // Announced when a problem comes or goes, not whenever its time or number of rows grows.
  const announced = lines.join(" ").replace(/( \d+ (s|min|h|d)\b)+/g, " some time");
  setText($("announcement"), announced.replace(/\b\d+ rows\b/g, "some rows"));
}
