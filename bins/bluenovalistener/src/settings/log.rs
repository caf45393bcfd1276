use std::{env, path::PathBuf};

use super::{SettingsError, absolute, whole_number};
use crate::args::Args;

const DEFAULT_KEEP: &str = "5";
const DEFAULT_SIZE: &str = "50M";

/// Where and how to log.
#[derive(Clone, Debug)]
pub(crate) struct LogSettings {
    /// Path of the log file; `None`: standard output.
    pub(crate) file: Option<PathBuf>,
    /// Number of old files to keep.
    pub(crate) keep: u32,
    /// Size in bytes at which the file is rotated; `None`: never.
    pub(crate) size: Option<u64>,
    pub(crate) flush_each_line: bool,
}

impl LogSettings {
    /// # Errors
    /// What was given isn't allowed; the error says what is.
    pub(crate) fn resolve(args: &Args) -> Result<Self, SettingsError> {
        Ok(Self {
            file: log_file(args, |name| env::var(name).ok())?,
            keep: whole_number(
                "-n",
                args.log_keep.as_deref().unwrap_or(DEFAULT_KEEP),
                0..=1000,
                "a whole number of files, 0 to 1000,",
            )?,
            size: match args.log_size.as_deref().unwrap_or(DEFAULT_SIZE) {
                "0" => None,
                given => Some(size(given).ok_or_else(|| SettingsError::NotAllowed {
                    option: "-m",
                    given: given.to_owned(),
                    allowed: "a number of bytes, with suffix K, M or G perhaps,",
                })?),
            },
            flush_each_line: match args.log_flush.as_deref() {
                None | Some("0") => false,
                Some("1") => true,
                Some(given) => {
                    return Err(SettingsError::NotAllowed {
                        option: "-f",
                        given: given.to_owned(),
                        allowed: "0 or 1",
                    });
                }
            },
        })
    }

    /// A warning about options for a log file where there is none.
    pub(crate) fn without_effect(args: &Args) -> Option<String> {
        let given = [("-n", &args.log_keep), ("-m", &args.log_size), ("-f", &args.log_flush)];
        let given = given.iter().filter(|(_, value)| value.is_some());
        let names = given.map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        let has_file = args.log_file.as_deref().is_some_and(|path| path != "-");
        (!has_file && !names.is_empty())
            .then(|| format!("without a log file (-l FILE) these options have no effect: {names}"))
    }
}

/// Path of the log file; `-` is the console, as if none were given.
pub(super) fn log_file(
    args: &Args,
    env: impl Fn(&str) -> Option<String>,
) -> Result<Option<PathBuf>, SettingsError> {
    let given = args.log_file.as_deref().filter(|path| *path != "-");
    given.map(|path| absolute("-l", path, env)).transpose()
}

/// Bytes, with suffix K, M or G perhaps, and B or iB behind it.
fn size(given: &str) -> Option<u64> {
    let given = given.to_ascii_lowercase();
    let digits = given.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &given[digits.len()..] {
        "" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit).filter(|size| *size > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dash_is_the_console() {
        let args = Args::read(["-l", "-"].map(Into::into).into_iter()).unwrap();
        assert_eq!(LogSettings::resolve(&args).unwrap().file, None);
    }

    #[test]
    fn options_for_a_file_without_a_file_are_warned_about() {
        let check = |args: &[&str], expected: Option<&str>| {
            let args = Args::read(args.iter().map(Into::into)).unwrap();
            let warning = LogSettings::without_effect(&args);
            let named = warning.as_ref().map(|warning| warning.split_once(": ").unwrap().1);
            assert_eq!(named, expected);
        };
        check(&[], None);
        check(&["-l", "x.log", "-m", "1K", "-n", "3", "-f", "1"], None);
        check(&["-m", "1K"], Some("-m"));
        check(&["--log-keep=3", "--log-flush", "1", "-l", "-"], Some("-n, -f"));
    }

    #[test]
    fn sizes() {
        for (given, bytes) in [
            ("7", Some(7)),
            ("2k", Some(2048)),
            ("50M", Some(52_428_800)),
            ("1G", Some(1 << 30)),
            ("50MB", Some(52_428_800)),
            ("2kb", Some(2048)),
            ("1MiB", Some(1 << 20)),
        ] {
            assert_eq!(size(given), bytes, "{given}");
        }
        for given in ["", "K", "-1", "1KBB", "B", "1B", "1iB", "1i", "1MMiB", "1 M", "0K"] {
            assert_eq!(size(given), None, "{given}");
        }
    }
}
