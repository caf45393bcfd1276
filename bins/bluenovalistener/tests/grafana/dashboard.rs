//! What is in a dashboard's JSON.

use std::fs;

use serde_json::Value;

use crate::repository;

pub(crate) const NAMES: [&str; 3] = ["household", "fleet", "prometheus"];

/// A panel with one of its queries.
pub(crate) struct Query {
    pub(crate) title: String,
    /// The panel's fields with a setting of their own.
    pub(crate) columns: Vec<String>,
    pub(crate) target: Value,
}

pub(crate) fn read(name: &str) -> Value {
    let path = repository(&format!("grafana/{name}.json"));
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// The queries of all panels, those in rows too.
pub(crate) fn queries(dashboard: &Value) -> Vec<Query> {
    let mut queries = vec![];
    for panel in dashboard["panels"].as_array().unwrap() {
        let overrides = panel["fieldConfig"]["overrides"].as_array();
        let columns = overrides.into_iter().flatten();
        let columns: Vec<String> = columns
            .filter(|it| it["matcher"]["id"] == "byName")
            .map(|it| it["matcher"]["options"].as_str().unwrap().to_owned())
            .collect();
        for target in panel["targets"].as_array().into_iter().flatten() {
            queries.push(Query {
                title: panel["title"].as_str().unwrap().to_owned(),
                columns: columns.clone(),
                target: target.clone(),
            });
        }
    }
    queries
}

pub(crate) fn variable<'a>(dashboard: &'a Value, name: &str) -> Option<&'a Value> {
    dashboard["templating"]["list"].as_array().unwrap().iter().find(|it| it["name"] == name)
}

/// A dashboard is imported into any Grafana: what has a data source has that of the variable.
#[test]
fn every_data_source_is_the_variable() {
    for name in NAMES {
        let dashboard = read(name);
        let source = variable(&dashboard, "source").unwrap();
        assert_eq!(source["type"], "datasource", "{name}");
        let mut found = 0;
        visit(&dashboard, &mut |object| {
            if let Some(used) = object.get("datasource") {
                assert_eq!(used["uid"], "${source}", "{name}: {object:?}");
                assert_eq!(used["type"], source["query"], "{name}");
                found += 1;
            }
        });
        assert!(found > queries(&dashboard).len(), "{name}: {found}");
    }
}

fn visit(value: &Value, look: &mut impl FnMut(&serde_json::Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            look(object);
            object.values().for_each(|value| visit(value, look));
        }
        Value::Array(values) => values.iter().for_each(|value| visit(value, look)),
        _ => {}
    }
}

#[test]
fn panels_lie_side_by_side_and_are_described() {
    for name in NAMES {
        let dashboard = read(name);
        let panels = dashboard["panels"].as_array().unwrap();
        let cells = |panel: &Value| {
            let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
            let (x, y, w, h) = (at("x"), at("y"), at("w"), at("h"));
            assert!(x + w <= 24 && w > 0 && h > 0, "{name}: {panel}");
            (y..y + h).flat_map(move |y| (x..x + w).map(move |x| (x, y))).collect::<Vec<_>>()
        };
        let mut all: Vec<_> = panels.iter().flat_map(cells).collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count, "{name}: panels overlap");
        let mut ids: Vec<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), panels.len(), "{name}: panels with the same number");
        for panel in panels.iter().filter(|panel| panel["type"] != "row") {
            assert!(panel["description"].as_str().unwrap().len() > 10, "{name}: {panel}");
            assert!(!panel["title"].as_str().unwrap().is_empty(), "{name}: {panel}");
        }
    }
}

/// They are written by a script, which is easier to review than they are.
#[test]
fn the_files_are_what_the_script_writes() {
    let script = repository("grafana/source/generate.py");
    let output = std::process::Command::new("python3")
        .args(["-B".as_ref(), script.as_os_str(), "--check".as_ref()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}
