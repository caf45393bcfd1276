// Shows everything, once a second and when there is news.

function show() {
  // The window's size may change before the first answer.
  if (status || outage) showProblems();
  if (!status) return;
  showBank();
  showCards();
  showStorage();
  showHistory();
}

$("finder").querySelector("input").addEventListener("input", show);
document.addEventListener("visibilitychange", fetchStatus);
startHistory(show);
setInterval(show, 1000);
fetchStatus();
