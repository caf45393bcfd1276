// Where the rows are, at the end of the page.

function showStorage() {
  const { storage, version, interval_s } = status;
  const { delivery } = storage;
  const every = interval_s === 1 ? "second" : count(interval_s, "second");
  const facts = [`bluenovalistener ${version}, a row every ${every}`];
  if (delivery) facts.push(`${delivery.server} has taken ${count(delivery.delivered, "row")}`);
  if (delivery?.trouble) facts.push(delivery.trouble);
  if (storage.trouble) facts.push(storage.trouble);
  for (const [rows, where] of [
    [delivery?.waiting, "waiting"],
    [storage.set_aside, "set aside"],
    [storage.retried, "waiting for a partition"],
    [storage.rows_only_in_memory, "in memory only"],
  ]) {
    if (rows) facts.push(`${count(rows, "row")} ${where}`);
  }
  setText($("storage"), `${facts.join(" · ")}.`);
}
