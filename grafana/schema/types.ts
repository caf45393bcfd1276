// A dashboard as Grafana's published types have it, with the options of each kind of panel, which
// the type of a panel leaves open.

import type { Dashboard, Panel, RowPanel } from "@grafana/schema";
import type * as bars from "@grafana/schema/dist/esm/raw/composable/barchart/panelcfg/x/BarChartPanelCfg_types.gen";
import type * as stat from "@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen";
import type * as table from "@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen";
import type * as series from "@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen";

// JSON has texts where the types have members of an enum of texts.
type Json<T> = T extends string
  ? `${T}`
  : T extends object
    ? { [K in keyof T]: Json<T[K]> }
    : T;

type Of<Type extends string, Options, Custom> = Json<
  Omit<Panel, "type" | "options" | "fieldConfig"> & {
    type: Type;
    title: string;
    description: string;
    options: Options;
    fieldConfig: {
      defaults: Omit<NonNullable<Panel["fieldConfig"]>["defaults"], "custom"> & Custom;
      overrides: NonNullable<Panel["fieldConfig"]>["overrides"];
    };
  }
>;

type CheckedPanel =
  | Of<"barchart", bars.Options, { custom: bars.FieldConfig }>
  | Of<"stat", stat.Options, {}>
  | Of<"table", table.Options, { custom: table.FieldConfig }>
  | Of<"timeseries", series.Options, { custom: series.FieldConfig }>
  | Json<RowPanel>;

export type Checked = Json<Omit<Dashboard, "panels">> & { panels: CheckedPanel[] };
