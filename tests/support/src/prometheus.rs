use std::{
    fs::{self, File},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use crate::{Cleanup, ReservedPort, TIME_LIMIT, get, wait_until};

/// A Prometheus that scrapes one address once a second, for a job called `bluenova`; gone when the
/// value is dropped or the process dies.
#[derive(Debug)]
pub struct Prometheus {
    process: Child,
    port: ReservedPort,
    _cleanup: Cleanup,
}

impl Prometheus {
    /// Starts one that scrapes `target`.
    ///
    /// # Panics
    /// Where Prometheus isn't installed or doesn't start.
    pub fn start(target: SocketAddr) -> Self {
        let directory = tempfile::Builder::new().prefix("bluenova-prometheus").tempdir();
        let directory = directory.expect("the temporary directory is writable").keep();
        let config = directory.join("prometheus.yml");
        fs::write(
            &config,
            format!(
                "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\n\
                 scrape_configs: [{{job_name: bluenova, \
                 static_configs: [{{targets: ['{target}']}}]}}]\n"
            ),
        )
        .expect("the directory is writable");
        let cleanup = Cleanup::new(STOP_AND_REMOVE, &[directory.as_os_str()]);
        // It can't choose a port by itself.
        let port = ReservedPort::new();
        let process = launch(&directory, port.address());
        Self { process, port, _cleanup: cleanup }
    }

    /// The series that `query` finds, with `metric` (its labels) and `value`.
    ///
    /// # Panics
    /// Where the query is wrong.
    pub fn series(&self, query: &str) -> Vec<Value> {
        let answer = self.ask(&format!("query?query={}", encoded(query)));
        answer["data"]["result"].as_array().cloned().unwrap_or_default()
    }

    /// The value of the one series that `query` finds.
    ///
    /// # Panics
    /// Where the query is wrong.
    pub fn query(&self, query: &str) -> Option<String> {
        Some(self.series(query).first()?["value"][1].as_str()?.to_owned())
    }

    /// The values that a label has in the series of a metric.
    ///
    /// # Panics
    /// Where there is no such name of a metric or label.
    pub fn label_values(&self, metric: &str, label: &str) -> Vec<String> {
        let answer = self.ask(&format!("label/{label}/values?match[]={}", encoded(metric)));
        let values = answer["data"].as_array().into_iter().flatten();
        values.filter_map(|value| Some(value.as_str()?.to_owned())).collect()
    }

    fn ask(&self, what: &str) -> Value {
        let answer = get(self.port.address(), &format!("/api/v1/{what}"), TIME_LIMIT).json();
        assert_eq!(answer["status"], "success", "{what}: {answer}");
        answer
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Its directory, which nobody else has among the arguments, finds the process.
const STOP_AND_REMOVE: &str = r#"
    for process in /proc/[0-9]*; do
        if grep -qs -- "--storage.tsdb.path=$1/" "$process/cmdline"; then
            kill -KILL "${process#/proc/}"
        fi
    done
    for try in 1 2 3 4 5; do
        rm -rf "$1" && exit
        sleep 1
    done
"#;

fn launch(directory: &Path, address: SocketAddr) -> Child {
    let mut process = Command::new("prometheus")
        .arg(format!("--config.file={}", directory.join("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", directory.join("data").display()))
        .arg(format!("--web.listen-address={address}"))
        .stdout(Stdio::null())
        .stderr(File::create(directory.join("log")).expect("the directory is writable"))
        .spawn()
        .expect("Debian's package prometheus is needed, which ./test installs");
    wait_until("Prometheus is ready", TIME_LIMIT, || {
        let has_ended = process.try_wait().expect("it is our child").is_some();
        let log = || fs::read_to_string(directory.join("log")).unwrap_or_default();
        assert!(!has_ended, "Prometheus does not start:\n{}", log());
        TcpStream::connect(address).is_ok() && get(address, "/-/ready", TIME_LIMIT).status == 200
    });
    process
}

fn encoded(query: &str) -> String {
    query.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
