"""Pieces that dashboards are made of, as Grafana's JSON has them."""

from textwrap import dedent

POSTGRESQL = "grafana-postgresql-datasource"
PROMETHEUS = "prometheus"

GREEN, AMBER, RED, BLUE = "green", "orange", "red", "blue"


def thresholds(first, *steps):
    """The colour of the lowest values, then each value from which another colour begins."""
    steps = [{"color": first, "value": None}] + [
        {"color": color, "value": value} for value, color in steps
    ]
    return {"mode": "absolute", "steps": steps}


def text_for(texts):
    """Texts, and colours if there are two of them, in place of values."""
    options = {
        value: {"index": i, "text": text, "color": color}
        for i, (value, (text, color)) in enumerate(texts.items())
    }
    return {"type": "value", "options": options}


class Dashboard:
    """Collects panels and arranges them, row by row, on Grafana's grid of 24 columns."""

    def __init__(self, source, uid, title, description, variables, time_from):
        self.source = source
        self.panels = []
        self.x = self.y = self.height = 0
        self.json = {
            "annotations": {"list": []},
            "description": description,
            "editable": True,
            "graphTooltip": 1,
            "links": [
                {
                    "asDropdown": False,
                    "icon": "external link",
                    "includeVars": False,
                    "keepTime": True,
                    "tags": ["bluenova"],
                    "targetBlank": False,
                    "title": "BlueNova",
                    "tooltip": "",
                    "type": "dashboards",
                    "url": "",
                }
            ],
            "panels": self.panels,
            "refresh": "1m",
            "schemaVersion": 39,
            "tags": ["bluenova"],
            "templating": {"list": [self.source_variable(), *variables]},
            "time": {"from": time_from, "to": "now"},
            "timezone": "browser",
            "title": title,
            "uid": uid,
        }

    def source_variable(self):
        return {
            "label": "Data source",
            "name": "source",
            "query": self.source,
            "refresh": 1,
            "type": "datasource",
        }

    def row(self, title, repeat=None):
        self.end_line()
        row = {"collapsed": False, "panels": [], "title": title, "type": "row"}
        if repeat:
            row["repeat"] = repeat
        self.place(row, 24, 1)
        self.end_line()

    def add(self, panel, width, height):
        if self.x + width > 24:
            self.end_line()
        panel["datasource"] = data_source(self.source)
        for target in panel["targets"]:
            target["datasource"] = data_source(self.source)
        self.place(panel, width, height)

    def place(self, panel, width, height):
        panel["id"] = len(self.panels) + 1
        panel["gridPos"] = {"h": height, "w": width, "x": self.x, "y": self.y}
        self.panels.append(panel)
        self.x += width
        self.height = max(self.height, height)

    def end_line(self):
        self.x, self.y, self.height = 0, self.y + self.height, 0


def data_source(plugin):
    return {"type": plugin, "uid": "${source}"}


def sql(query, **parts):
    """A query, its lines in the margin. `parts` stand in it as «name»."""
    query = dedent(query).strip()
    for name, part in parts.items():
        query = query.replace(f"«{name}»", part)
    assert "«" not in query, query
    return query


def sql_targets(query, form):
    return [{"editorMode": "code", "format": form, "rawQuery": True, "rawSql": query, "refId": "A"}]


def prometheus_targets(legend_and_queries, instant=False, form="time_series"):
    return [
        {
            "editorMode": "code",
            "expr": query,
            "format": form,
            "instant": instant,
            "legendFormat": legend,
            "range": not instant,
            "refId": "ABCDEFGH"[i],
        }
        for i, (legend, query) in enumerate(legend_and_queries.items())
    ]


def panel(kind, title, description, targets, defaults, custom, options, overrides=()):
    return {
        "description": " ".join(description.split()),
        "fieldConfig": {
            "defaults": {**defaults, "custom": custom} if custom else defaults,
            "overrides": list(overrides),
        },
        "options": options,
        "targets": targets,
        "title": title,
        "type": kind,
    }


def legend(*calcs):
    return {
        "calcs": list(calcs),
        "displayMode": "table" if calcs else "list",
        "placement": "bottom",
        "showLegend": True,
    }


def time_series(title, description, targets, unit, step=None, calcs=(), bars=False, **defaults):
    custom = {
        "drawStyle": "bars" if bars else "line",
        "fillOpacity": 60 if bars else 8,
        "lineWidth": 1,
        "showPoints": "never",
        "spanNulls": False,
    }
    if "thresholds" in defaults:
        custom["thresholdsStyle"] = {"mode": "dashed"}
    options = {"legend": legend(*calcs), "tooltip": {"mode": "multi", "sort": "desc"}}
    made = panel(
        "timeseries", title, description, targets, {"unit": unit, **defaults}, custom, options
    )
    if step:
        made["interval"] = step
    return made


def bars_per_day(title, description, targets, unit, calcs=(), **defaults):
    """A bar for each day, the first one too, which begins before the time range: a time series
    would leave it out."""
    options = {
        "barWidth": 0.9,
        "fullHighlight": False,
        "groupWidth": 0.7,
        "legend": legend(*calcs),
        "orientation": "auto",
        "showValue": "never",
        "stacking": "none",
        "tooltip": {"mode": "multi", "sort": "none"},
        "xTickLabelMaxLength": 20,
        "xTickLabelRotation": 0,
        "xTickLabelSpacing": 100,
    }
    day = {
        "matcher": {"id": "byType", "options": "time"},
        "properties": [{"id": "unit", "value": "time:YYYY-MM-DD"}],
    }
    custom = {"fillOpacity": 70, "lineWidth": 1}
    defaults = {"unit": unit, **defaults}
    return panel("barchart", title, description, targets, defaults, custom, options, [day])


def stat(title, description, targets, unit, overrides=(), values=True, **defaults):
    options = {
        "colorMode": "value",
        "graphMode": "none",
        "justifyMode": "auto",
        "orientation": "auto",
        "percentChangeColorMode": "standard",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": values},
        "showPercentChange": False,
        "textMode": "auto",
        "wideLayout": True,
    }
    defaults = {"unit": unit, **defaults}
    return panel("stat", title, description, targets, defaults, None, options, overrides)


def by_name(columns):
    """Overrides: properties by the name of a field, such as its unit or its thresholds."""
    return [
        {
            "matcher": {"id": "byName", "options": column},
            "properties": [{"id": id, "value": value} for id, value in properties.items()],
        }
        for column, properties in columns.items()
    ]


def table(title, description, targets, columns, transformations=()):
    custom = {"align": "auto", "cellOptions": {"type": "auto"}, "inspect": False}
    options = {"cellHeight": "sm", "frameIndex": 0, "showHeader": True}
    made = panel("table", title, description, targets, {}, custom, options, by_name(columns))
    if transformations:
        made["transformations"] = list(transformations)
    return made


COLORED_TEXT = {"type": "color-text"}
