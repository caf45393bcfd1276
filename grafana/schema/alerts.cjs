// Grafana has no published type for files of alert rules. This checks what its reader of such files
// asks for (pkg/services/provisioning/alerting/rules_types.go): one wrong rule, and Grafana doesn't
// start.

const { readFileSync } = require("node:fs");
const assert = require("node:assert");
const { parse } = require("yaml");

const RULE = [
  "uid", "title", "condition", "data", "for", "noDataState", "execErrState", "labels",
  "annotations",
];
const QUERY = ["refId", "relativeTimeRange", "datasourceUid", "model"];
const isDuration = (text) => /^[0-9]+(s|m|h)$/.test(text);
const keys = (object) => Object.keys(object).sort();
const uids = new Set();

function checkQuery(query, where) {
  const isExpression = query.datasourceUid === "__expr__";
  const wanted = isExpression ? QUERY.filter((key) => key !== "relativeTimeRange") : QUERY;
  assert.deepEqual(keys(query), [...wanted].sort(), where);
  assert.equal(query.model.refId, query.refId, where);
  if (isExpression) {
    assert.equal(query.model.datasource.uid, "__expr__", where);
    return;
  }
  assert.match(query.datasourceUid, /^\$BLUENOVA_[A-Z]+$/, where);
  assert(query.relativeTimeRange.from > query.relativeTimeRange.to, where);
}

function checkRule(rule, where) {
  assert.deepEqual(keys(rule), [...RULE].sort(), where);
  assert.match(rule.uid, /^[a-z0-9-]{1,40}$/, where);
  assert(!uids.has(rule.uid), `${where}: the same uid as another one`);
  uids.add(rule.uid);
  assert(isDuration(rule.for), where);
  assert(["Alerting", "NoData", "OK", "KeepLast"].includes(rule.noDataState), where);
  assert(["Alerting", "Error", "OK", "KeepLast"].includes(rule.execErrState), where);
  assert.deepEqual(keys(rule.annotations), ["description", "summary"], where);
  const refs = rule.data.map((query) => query.refId);
  assert.equal(new Set(refs).size, refs.length, where);
  const condition = rule.data.find((query) => query.refId === rule.condition);
  assert.equal(condition.model.type, "threshold", where);
  assert(refs.includes(condition.model.expression), where);
  rule.data.forEach((query) => checkQuery(query, where));
}

for (const file of process.argv.slice(2)) {
  const { apiVersion, groups } = parse(readFileSync(file, "utf8"), { strict: true });
  assert.equal(apiVersion, 1);
  for (const group of groups) {
    assert.deepEqual(keys(group), ["folder", "interval", "name", "orgId", "rules"], file);
    assert(isDuration(group.interval), file);
    group.rules.forEach((rule) => checkRule(rule, `${file}: ${rule.title}`));
  }
}
assert(uids.size > 20, `only ${uids.size} rules`);
