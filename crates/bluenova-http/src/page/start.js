// Shows everything, once a second and when there is news.

function show() {
  // The window's size may change before the first answer.
  if (status || outage) showProblems();
  if (!status) return;
  showBank();
  showBatteries();
  showStorage();
  showHistory();
}

newLook($("bank"));
startAddress();
startTheme(show);
startList();
startDetail();
startHistory(show);
document.addEventListener("visibilitychange", fetchStatus);
setInterval(show, 1000);
fetchStatus();
