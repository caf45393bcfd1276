use std::process::{Command, Stdio};

use super::*;

fn all() -> [(&'static str, String); 5] {
    let command = Args::get_args_info();
    let day = time::macros::date!(2026 - 11 - 27);
    [
        ("man", manual::page(&command, day).replace("\\-", "-").replace("Fl -", "--")),
        ("bash", bash::completion(&command)),
        ("zsh", zsh::completion(&command)),
        ("fish", fish::completion(&command).replace("-l ", "--")),
        ("defaults", defaults::file(&command)),
    ]
}

#[test]
fn every_option_and_subcommand_is_everywhere() {
    let command = Args::get_args_info();
    for (what, text) in all() {
        let is_mark = |word: &str| word.len() > 1 && word.starts_with('@') && word.ends_with('@');
        assert!(!text.split_whitespace().any(is_mark), "{what}: {text}");
        for flag in command.flags {
            let is_expected = what != "defaults" || !["--daemon", "--version"].contains(&flag.long);
            assert!(
                text.contains(flag.long) || !is_expected || flag.long == "--help",
                "{what}: {}",
                flag.long
            );
        }
        for subcommand in command.commands.iter().filter(|_| what != "defaults") {
            assert!(text.contains(subcommand.name), "{what}: {}", subcommand.name);
            for flag in subcommand.command.flags.iter().filter(|it| it.long != "--help") {
                assert!(text.contains(flag.long), "{what}: {} {}", subcommand.name, flag.long);
            }
        }
        for limit in &bluenova_status::limits::LIMITS {
            assert!(text.contains(&format!("{}=", limit.name)), "{what}: {}", limit.name);
        }
    }
}

#[test]
fn the_page_has_the_day_of_the_sources() {
    let of = |epoch: &'static str| date(|_| Some(epoch.to_owned()));
    assert_eq!(of("1795737600"), Ok(time::macros::date!(2026 - 11 - 27)));
    assert_eq!(of("x"), Err("$SOURCE_DATE_EPOCH \"x\" is no time".to_owned()));
    let [(_, page), ..] = all();
    assert!(page.starts_with(".Dd November 27, 2026\n"), "{page}");
}

#[test]
fn a_menu_has_the_beginning_of_a_text() {
    assert_eq!(in_short("seconds per row, 1 to 86400 (default 10)"), "seconds per row, 1 to 86400");
    assert_eq!(in_short("Print the SQL."), "Print the SQL");
    assert_eq!(in_short("battery to listen to: [NAME=]HOST"), "battery to listen to");
}

/// The program with every word of `words`, the last of which is completed.
#[track_caller]
fn completes(words: &[&str], expected: &[&str]) {
    let script = all()[1].1.clone()
        + r#"
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
compopt() { :; }
_bluenovalistener
printf '%s\n' "${COMPREPLY[@]}"
"#;
    let mut bash = Command::new("bash");
    bash.args(["--norc", "-c", &script, "bash", "bluenovalistener"]).args(words);
    bash.current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = bash.stdin(Stdio::null()).output().unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let found = String::from_utf8(output.stdout).unwrap();
    assert_eq!(found.split_whitespace().collect::<Vec<_>>(), expected, "{words:?}");
}

#[test]
fn bash_completes_options_subcommands_and_values() {
    completes(&["ch"], &["check"]);
    completes(&["--mqtt-"], &["--mqtt-password-file", "--mqtt-ca", "--mqtt-discovery"]);
    completes(&["--log-flush", ""], &["0", "1"]);
    completes(&["--log-flush", "="], &["0", "1"]);
    completes(&["--log-flush", "=", "1"], &["1"]);
    completes(&["--mqtt-discovery", "o"], &["off"]);
    completes(&["--limit", "fr"], &["frost="]);
    completes(&["--journal", "Car"], &["Cargo.toml"]);
    completes(&["import", "Car"], &["Cargo.toml"]);
    completes(&["import", "--dr"], &["--dry-run"]);
    completes(&["check", "--dr"], &[]);
    completes(&["-b", "10.0.0.2", "gaps", "--js"], &["--json"]);
    // The name of a database.
    completes(&["-d", "gaps", "--js"], &[]);
    completes(&["--database", "=", "gaps", "--js"], &[]);
    completes(&["generate", "d"], &["defaults"]);
    completes(&["-b", ""], &[]);
}
