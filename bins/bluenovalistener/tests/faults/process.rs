//! What the system shows of a running program: memory, threads, time, bytes.

use std::{fs, time::Duration};

/// A running process, as Linux shows it in `/proc`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Process(pub(crate) u32);

impl Process {
    /// Memory that it has now, in KiB.
    pub(crate) fn memory(self) -> u64 {
        self.number("status", "VmRSS:")
    }

    /// Memory that it has now without that of its program's file, in KiB.
    pub(crate) fn own_memory(self) -> u64 {
        self.number("status", "RssAnon:")
    }

    /// The most memory that it ever had, in KiB.
    pub(crate) fn peak_memory(self) -> u64 {
        self.number("status", "VmHWM:")
    }

    pub(crate) fn threads(self) -> u64 {
        self.number("status", "Threads:")
    }

    /// Bytes that it gave to files, sockets and the like, whether or not they came to a disk.
    pub(crate) fn written(self) -> u64 {
        self.number("io", "wchar:")
    }

    /// Bytes that it made the system write to a disk; 0 where its files are in memory.
    pub(crate) fn written_to_disk(self) -> u64 {
        self.number("io", "write_bytes:")
    }

    /// The time that processors worked for it.
    pub(crate) fn processor_time(self) -> Duration {
        let stat = self.read("stat");
        // The name before it may have spaces, but ends at the last parenthesis.
        let fields: Vec<&str> = stat[stat.rfind(')').unwrap() + 2..].split(' ').collect();
        let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum();
        // Linux has shown 100 of them a second on all machines for decades.
        Duration::from_millis(ticks * 10)
    }

    fn number(self, file: &str, name: &str) -> u64 {
        let text = self.read(file);
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        line[name.len()..].trim().trim_end_matches(" kB").parse().unwrap()
    }

    fn read(self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.0)).unwrap()
    }
}
