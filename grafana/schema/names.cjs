// Units, reducers, transformations, matchers and colour modes have no types of their own: an
// unknown one would be found out by whoever looks at the panel. They are compared with the lists of
// Grafana's package for them, and a few values are shown as a panel would show them.

const { readFileSync } = require("node:fs");
const assert = require("node:assert");

// The package is made for browsers.
globalThis.navigator ??= { languages: ["en-GB"], language: "en-GB" };
const grafana = require("@grafana/data");

const lists = {
  unit: grafana.getValueFormats().flatMap((group) => group.submenu.map((unit) => unit.value)),
  reducer: grafana.fieldReducers.list().map((reducer) => reducer.id),
  transformation: Object.values(grafana.DataTransformerID),
  matcher: grafana.fieldMatchers.list().map((matcher) => matcher.id),
  "colour mode": grafana.fieldColorModeRegistry.list().map((mode) => mode.id),
};
let found = 0;

function check(kind, name, where) {
  found += 1;
  const isDate = kind === "unit" && name.startsWith("time:");
  assert(isDate || lists[kind].includes(name), `${where}: no ${kind} ${name}`);
}

function checkOptions(options, where) {
  if (options.unit !== undefined) check("unit", options.unit, where);
  if (options.color?.mode !== undefined) check("colour mode", options.color.mode, where);
}

function checkPanel(panel, where) {
  const { defaults = {}, overrides = [] } = panel.fieldConfig ?? {};
  checkOptions(defaults, where);
  for (const { matcher, properties } of overrides) {
    check("matcher", matcher.id, where);
    checkOptions(Object.fromEntries(properties.map(({ id, value }) => [id, value])), where);
  }
  const { legend, reduceOptions } = panel.options ?? {};
  for (const calc of [...(legend?.calcs ?? []), ...(reduceOptions?.calcs ?? [])]) {
    check("reducer", calc, where);
  }
  for (const { id } of panel.transformations ?? []) check("transformation", id, where);
}

const panels = process.argv.slice(2).flatMap((file) => {
  const { title, panels } = JSON.parse(readFileSync(file, "utf8"));
  return panels.map((panel) => ({ panel, where: `${title}: ${panel.title}` }));
});
for (const { panel, where } of panels) checkPanel(panel, where);
assert(found > 100, `only ${found} names`);

// A value as the first panel of that title and kind shows it.
function shown(title, value, field = "value") {
  const { panel } = panels.find(({ panel }) => panel.title === title && panel.type !== "row");
  const { defaults, overrides } = panel.fieldConfig;
  const override = overrides.find(({ matcher }) => matcher.options === field);
  const properties = (override?.properties ?? []).map(({ id, value }) => [id, value]);
  const config = { ...defaults, ...Object.fromEntries(properties) };
  const type = field === "time" ? "time" : "number";
  const [theme, timeZone] = [grafana.createTheme(), "Europe/Berlin"];
  const one = { field: { name: field, type, config, values: [] }, theme, timeZone };
  return grafana.formattedValueToString(grafana.getDisplayProcessor(one)(value));
}

assert.equal(shown("State of charge", 73.2), "73.2%");
assert.equal(shown("State of charge", null), "silent");
assert.equal(shown("Power", -1540), "-1.54 kW");
assert.equal(shown("Silent for", 0), "not silent");
assert.equal(shown("Silent for", 5400), "1.50 hours");
assert.equal(shown("Energy per day", 12480), "12.5 kWh");
// Midnight in Berlin is on the day before in UTC.
assert.equal(shown("Energy per day", Date.UTC(2026, 9, 24, 22), "time"), "2026-10-25");
assert.equal(shown("Completeness of rows", 0.9625), "96.3%");
assert.equal(shown("Cell spread", 118.4), "118 mV");
assert.equal(shown("Batteries, the worst first", 1540, "Power"), "1.54 kW");
