//! The alert rules.

use std::{fs, process::Command};

use serde_json::Value;

use crate::repository;

#[test]
fn promtool_finds_that_the_rules_fire_when_they_should() {
    for arguments in [["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]] {
        let output = Command::new("promtool")
            .args(arguments)
            .current_dir(repository("prometheus"))
            .output()
            .expect("promtool is in Debian's package prometheus, which ./test installs");
        assert!(output.status.success(), "{output:?}");
    }
}

/// Names and queries of the rules, in their order.
pub(crate) fn rules() -> Vec<(String, String)> {
    let text = fs::read_to_string(repository("grafana/alerts.yaml")).unwrap();
    let values = |key: &str| {
        let lines = text.lines().map(str::trim_start);
        lines.filter_map(|line| line.strip_prefix(key)).map(str::to_owned).collect::<Vec<_>>()
    };
    // Of each rule's two models, the first is the query.
    let models = values("model: ").into_iter().step_by(2);
    let queries = models.map(|model| {
        let model: Value = serde_json::from_str(&model).unwrap();
        model["expr"].as_str().unwrap().to_owned()
    });
    values("title: ").into_iter().zip(queries).collect()
}

/// The same queries, all of them tested and described. Grafana replaces what begins with `$` in a
/// text by environment variables, so there is only the one.
#[test]
fn grafana_has_the_same_rules() {
    let ours = fs::read_to_string(repository("prometheus/alerts.yml")).unwrap();
    let tested = fs::read_to_string(repository("prometheus/alerts_test.yml")).unwrap();
    let documented = fs::read_to_string(repository("docs/grafana.md")).unwrap();
    let rules = rules();
    let names = ours.lines().filter_map(|line| line.trim_start().strip_prefix("- alert: "));
    assert_eq!(
        rules.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
        names.collect::<Vec<_>>()
    );
    let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let all = squeezed(&ours);
    for (name, query) in &rules {
        assert!(all.contains(&squeezed(query)), "{name}: {query}");
        assert!(!query.contains('$'), "{name}: {query}");
        assert!(tested.contains(name.as_str()), "{name} isn't in alerts_test.yml");
        assert!(documented.contains(&format!("`{name}`")), "{name} isn't in docs/grafana.md");
    }
    let grafana = fs::read_to_string(repository("grafana/alerts.yaml")).unwrap();
    let variables = grafana.matches('$').count();
    assert_eq!(variables, grafana.matches("datasourceUid: $BLUENOVA_PROMETHEUS").count());
}
