use super::*;

#[track_caller]
fn read(line: &str) -> Args {
    Args::read(line.split_whitespace().map(OsString::from)).expect(line)
}

#[test]
fn the_first_listeners_command_line() {
    let args = read("-daemon -b 10.0.0.2 -d homeauto -u me -i 10 -l x.log -n 5 -m 1000000 -f 1 -r");
    assert!(args.daemon && args.raw);
    assert_eq!(args.battery, ["10.0.0.2"]);
    assert_eq!(args.database.as_deref(), Some("homeauto"));
    assert_eq!(args.user.as_deref(), Some("me"));
    assert_eq!(args.interval.as_deref(), Some("10"));
    assert_eq!(args.log_file.as_deref(), Some("x.log"));
    assert_eq!(args.log_keep.as_deref(), Some("5"));
    assert_eq!(args.log_size.as_deref(), Some("1000000"));
    assert_eq!(args.log_flush.as_deref(), Some("1"));
    assert!(args.mode.is_none());
}

#[test]
fn long_names_with_and_without_equals_sign() {
    let args = read(
        "--daemon --battery=attic=10.0.0.2 --battery 10.0.0.3 --database=dbname=x --user u \
         --interval=60 --log-file l --log-keep=1 --log-size 1M --log-flush=0 --raw \
         --journal=j --keep 3 --sync=5 --http=[::1]:9080",
    );
    assert_eq!(args.battery, ["attic=10.0.0.2", "10.0.0.3"]);
    assert_eq!(args.database.as_deref(), Some("dbname=x"));
    assert_eq!(args.interval.as_deref(), Some("60"));
    assert_eq!(args.journal.as_deref(), Some("j"));
    assert_eq!(args.keep.as_deref(), Some("3"));
    assert_eq!(args.sync.as_deref(), Some("5"));
    assert_eq!(args.http.as_deref(), Some("[::1]:9080"));
}

#[test]
fn a_value_after_a_short_name_stays_whole() {
    assert_eq!(read("-b attic=10.0.0.2").battery, ["attic=10.0.0.2"]);
}

#[track_caller]
fn refused(line: &str) -> String {
    let exit = Args::read(line.split_whitespace().map(OsString::from)).expect_err(line);
    assert!(exit.status.is_err(), "{line}: {}", exit.output);
    exit.output
}

/// `-b`, and `--battery` in front of the word, are the listener's option.
#[test]
fn batteries_behind_export_are_those_to_export() {
    let args = read("--battery cellar export -b attic=10.0.0.2 --battery attic --battery=7 -o -");
    assert_eq!(args.battery, ["cellar", "attic=10.0.0.2"]);
    let Some(Mode::Export(export)) = args.mode else { panic!("{:?}", args.mode) };
    assert_eq!(export.battery, ["attic", "7"]);
    assert_eq!(export.output.as_deref(), Some("-"));
}

#[test]
fn options_may_stand_behind_the_subcommand() {
    let args = read("-i 5 check -b 10.0.0.2 --raw -d x");
    assert!(matches!(args.mode, Some(Mode::Check(_))) && args.raw);
    assert_eq!((args.battery, args.database), (vec!["10.0.0.2".to_owned()], Some("x".into())));
    let args = read("set-aside -d x --retry");
    assert!(matches!(args.mode, Some(Mode::SetAside(SetAside { retry: true }))));
    let args = read("resend --since=7d -d x");
    let Some(Mode::Resend(Resend { since })) = args.mode else { panic!("{args:?}") };
    assert_eq!(since.as_deref(), Some("7d"));
    assert!(matches!(read("schema -d x").mode, Some(Mode::Schema(_))));
    let args = read("demo --seconds 3 --http=127.0.0.1:0");
    assert_eq!(args.http.as_deref(), Some("127.0.0.1:0"));
    // A value that is a subcommand's name stays a value.
    assert!(read("-d check").mode.is_none());
}

#[test]
fn the_version_has_several_names() {
    for line in ["-V", "--version", "version"] {
        assert!(read(line).version, "{line}");
    }
}

#[test]
fn a_mistyped_word_is_answered_with_the_right_one() {
    for (word, right) in [("chek", "check"), ("shema", "schema"), ("setaside", "set-aside")] {
        assert!(refused(word).ends_with(&format!("did you mean {right}?")), "{word}");
    }
    let error = refused("10.0.0.2");
    assert!(
        error.contains(
            "check, demo, export, gaps, generate, import, report, resend, schema, set-aside"
        ),
        "{error}"
    );
}

#[test]
fn import_has_files_and_options_on_either_side_of_them() {
    for line in [
        "import a.log --timezone=Europe/Berlin b.log --dry-run -i 60",
        "-i 60 import --dry-run --timezone Europe/Berlin a.log b.log",
    ] {
        let args = read(line);
        let Some(Mode::Import(import)) = args.mode else { panic!("{line}") };
        assert_eq!((import.files, import.dry_run), (vec!["a.log".into(), "b.log".into()], true));
        assert_eq!(import.timezone.as_deref(), Some("Europe/Berlin"));
        assert_eq!(args.interval.as_deref(), Some("60"));
    }
}

#[test]
fn help_has_the_table_of_limits() {
    let help = |line: &str| {
        let exit = Args::read(line.split_whitespace().map(OsString::from)).unwrap_err();
        assert!(exit.status.is_ok(), "{line}");
        exit.output
    };
    let of_listener = help("--help");
    for limit in &LIMITS {
        let line = format!("  {}={} {}\n", limit.name, limit.default_values(), limit.unit);
        assert!(of_listener.contains(limit.meaning), "{line}");
        assert!(of_listener.contains(&line), "{line} in {of_listener}");
    }
    assert!(!help("check --help").contains("low-charge"));
}

#[test]
fn an_option_is_given_once() {
    assert_eq!(refused("-i 10 -i 20"), "-i is given twice");
    assert_eq!(refused("-d x check --database=y"), "-d is given twice");
    assert_eq!(refused("--keep 1 --keep=1"), "--keep is given twice");
    assert_eq!(read("-b a -b b").battery.len(), 2);
}

#[test]
fn no_password_is_in_an_error() {
    for line in [
        "-d=postgresql://u:sesame@h/db",
        "postgresql://u:sesame@h/db",
        "check postgresql://u:sesame@h/db",
        "-x=password=sesame",
        "PASSWORD=sesame",
        "sslpassword=sesame",
        "--postgresql://u:sesame@h/db",
        "u:sesame@h",
    ] {
        let error = refused(line);
        assert!(!error.contains("sesame"), "{line}: {error}");
    }
}

#[test]
fn an_option_that_is_none_gets_a_suggestion() {
    for (line, says) in [
        ("export --colums soc", "did you mean --columns?"),
        ("--intervall 5", "\"--intervall\" is no option; did you mean --interval?"),
        ("-deamon", "did you mean -daemon?"),
        ("--raw=1", "did you mean --raw?"),
        ("--databse=postgresql://u:secret@h/db", "did you mean --database?"),
        ("--check -d x", "did you mean check?"),
        ("-i10", "\"-i10\" is no option; a blank stands between -i and its value"),
        ("-b=10.0.0.2", "a blank stands between -b and its value"),
        ("-d=postgresql://u:secret@h/db", "is no option; a blank stands between -d"),
        ("check --retrie", "did you mean --retry?"),
        (
            "--mqtt-password=secret",
            "\"--mqtt-password=…\" is no option; did you mean --mqtt-password-file?",
        ),
        ("--log x", "did you mean --log-file?"),
        (
            "-x",
            "\"-x\" is no option; those of one letter are -b, -d, -u, -i, -l, -n, -m, -f, -r, -o",
        ),
        ("-B 10.0.0.2", "\"-B\" is no option; did you mean -b?"),
        ("-v", "\"-v\" is no option; did you mean -V?"),
        ("report --fron 1d", "did you mean --from?"),
        ("report --form 1d", "did you mean --from?"),
        ("-to", "did you mean --to?"),
        ("gaps --columns soc", "\"--columns\" is no option of gaps, but of export"),
        ("check -o x", "\"-o\" is no option of check, but of export, report"),
        (
            "--from 1d",
            "\"--from\" stands behind the word that it is an option of: export, gaps, report",
        ),
        ("gaps 1h", "\"1h\" is a word too many behind gaps"),
        ("gaps -- --from", "\"--from\" is a word too many behind gaps"),
        ("generate man man", "\"man\" is a word too many behind generate"),
        ("generate", "generate: something is missing behind it: man|bash|zsh|fish|defaults"),
        ("-i", "-i: its value is missing behind it"),
        ("export --columns", "--columns: its value is missing behind it"),
        ("-", "\"-\" is no option"),
    ] {
        let said = refused(line);
        assert!(said.contains(says) && !said.contains("secret"), "{line}: {said}");
    }
    let exit = Args::read(std::iter::once(OsString::new())).unwrap_err();
    assert!(exit.output.contains("\"\" is neither an option nor a subcommand"), "{}", exit.output);
}
