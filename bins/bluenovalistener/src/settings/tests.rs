use std::path::Path;

use bluenova_record::ErrorChain;

use super::*;

fn settings(line: &str) -> Result<Settings, SettingsError> {
    let args = Args::read(line.split_whitespace().map(Into::into)).expect(line);
    Settings::resolve(&args, |name| (name == "HOME").then(|| "/home/me".to_owned()))
}

#[track_caller]
fn refused(line: &str, says: &str) {
    let args = Args::read(line.split_whitespace().map(Into::into)).expect(line);
    let error = Settings::resolve(&args, |_| None)
        .map(drop)
        .and_then(|()| LogSettings::resolve(&args).map(drop))
        .expect_err(line);
    let error = ErrorChain(&error).to_string();
    assert!(error.contains(says), "{line}: {error:?} lacks {says:?}");
}

#[test]
fn what_is_not_allowed_is_refused_with_what_is() {
    for given in ["0", "86401", "-1", "x", "1.5", "99999999999", ""] {
        refused(
            &format!("--interval={given}"),
            "a whole number of seconds, 1 to 86400, is allowed",
        );
    }
    refused("-n x", "-n \"x\": a whole number of files, 0 to 1000, is allowed");
    refused("-m 5X", "-m \"5X\"");
    refused("-m 99999999999G", "K, M or G");
    refused("-f 2", "0 or 1 is allowed");
    refused("--keep 0", "a whole number of days, 1 to 3650, is allowed");
    refused("--sync 0", "--sync \"0\": a whole number of seconds, 1 to 3600, is allowed");
    refused("--sync 3601", "seconds, 1 to 3600,");
    assert_eq!(settings("-d sqlite:x").unwrap().sync, Duration::from_secs(10));
    assert_eq!(settings("-d sqlite:x --sync 3600").unwrap().sync, Duration::from_secs(3600));
    refused("-b a=h -b b=h", "battery h:9000/ws/ is given twice");
    refused("-b a=h -b a=i", "two batteries are named \"a\"");
    refused("-b =h", "the name before = is missing");
    refused("-b 10.0.0.2,10.0.0.3", "for several batteries repeat -b");
    refused("-b fd00::7", "stands in brackets: [fd00::7]");
    refused("-b attic=fd00::7", "stands in brackets: attic=[fd00::7]");
    refused("-b h:0", "-b \"h:0\"");
    refused("-b h:70000", "-b \"h:70000\"");
    refused("-b ::1", "-b \"::1\"");
    refused("-d sqlite:", "the path is missing");
    refused("-d sqlite:x -u me", "-u can't be given together with -d sqlite:PATH");
    refused("-d sqlite:x --journal y", "--journal can't be given");
}

#[test]
fn limits_are_set_and_what_is_not_allowed_is_named() {
    let limits = settings("--limit low-charge=20,10 --limit=frost=off").unwrap().limits;
    let set: Vec<_> = limits
        .iter()
        .filter(|(limit, bounds)| {
            (bounds.amber, bounds.red) != (Some(limit.amber), Some(limit.red))
        })
        .map(|(limit, bounds)| (limit.name, bounds.amber, bounds.red))
        .collect();
    assert_eq!(set, [("low-charge", Some(20.0), Some(10.0)), ("frost", None, None)]);
    for (line, says) in [
        (
            "--limit low-chrage=20",
            "--limit \"low-chrage\" is no limit; the limits are low-charge, ",
        ),
        ("--limit low-chrage=20", "; did you mean low-charge?"),
        ("--limit frost=-300", "--limit frost=-300: AMBER or AMBER,RED, each -40 to 60 °C or off"),
        ("--limit frost", "--limit \"frost\": NAME=AMBER or NAME=AMBER,RED is allowed, as in low-"),
        ("--limit frost=1 --limit frost=2", "--limit frost is given twice"),
    ] {
        refused(line, says);
    }
}

#[test]
fn a_tilde_is_the_home_directory_or_an_error() {
    let journal = |line: &str| match settings(line).expect(line).store {
        Store::Postgres { journal, .. } => journal,
        Store::Sqlite { path } => path,
    };
    assert_eq!(journal("--journal=~/x"), Path::new("/home/me/x"));
    assert_eq!(journal("-d sqlite:~/x"), Path::new("/home/me/x"));
    assert!(journal("-d sqlite:x~/y").ends_with("x~/y"));
    refused("--journal=~/x", "$HOME must be set");
    refused("-d sqlite:~/x", "$HOME must be set");
    refused("-d sqlite:~you/x", "$HOME must be set");
    refused("-b @~/fleet", "$HOME must be set");
    refused("-l ~/x", "$HOME must be set");
}

#[test]
fn the_log_and_the_rows_have_files_of_their_own() {
    for (line, same) in [
        ("-l /x/db -d sqlite:/x/db", true),
        ("-l /x/j --journal /x/j", true),
        ("-l ~/db -d sqlite:/home/me/db", true),
        ("-l /x/log -d sqlite:/x/db", false),
        ("-d sqlite:/x/db", false),
    ] {
        let is_refused = matches!(settings(line), Err(SettingsError::SameFile { .. }));
        assert_eq!(is_refused, same, "{line}");
    }
}

#[test]
fn the_page_is_nowhere_unless_its_place_is_given() {
    assert_eq!(settings("").unwrap().http, None);
    for (given, expected) in [
        ("127.0.0.1:9080", "127.0.0.1:9080"),
        ("localhost:0", "127.0.0.1:0"),
        ("[::1]:9080", "[::1]:9080"),
        ("0.0.0.0:65535", "0.0.0.0:65535"),
        ("[fe80::1%2]:80", "[fe80::1%2]:80"),
    ] {
        let http = settings(&format!("--http {given}")).expect(given).http;
        assert_eq!(http.map(|address| address.to_string()).as_deref(), Some(expected));
    }
    for given in [
        "9080",
        ":9080",
        "127.0.0.1",
        "localhost",
        "::1:9080",
        "[::1]",
        "localhost:x",
        "127.0.0.1:65536",
        "127.0.0.1:9080/",
        "http://127.0.0.1:9080",
        "battery.lan:9080",
        "",
    ] {
        refused(&format!("--http={given}"), "127.0.0.1:9080 or [::1]:9080, is allowed");
    }
}

#[test]
fn the_page_may_have_names() {
    let hosts = settings("--http-host battery.lan --http-host=Nas").unwrap().http_hosts;
    assert_eq!(hosts, ["battery.lan", "Nas"]);
    for given in ["battery.lan:9080", "http://battery.lan", "a/b", "a,b", ""] {
        refused(&format!("--http-host={given}"), "--http-host");
    }
}

#[test]
fn a_password_is_never_repeated() {
    let args = ["-d", "postgresql://u:secret@h:notaport/x"].map(Into::into);
    let args = Args::read(args.into_iter()).unwrap();
    let error = Settings::resolve(&args, |_| None).unwrap_err();
    assert!(!ErrorChain(&error).to_string().contains("secret"));
    let shown = settings("-d postgresql://u:secret@h/x").unwrap().to_string();
    assert!(!shown.contains("secret"), "{shown}");
    for wrong in ["u:secret@h/x", "postgresql:/u:secret@h/x", "host=h,password=secret"] {
        let args = Args::read(["-d", wrong].map(Into::into).into_iter()).unwrap();
        let error = ErrorChain(&Settings::resolve(&args, |_| None).unwrap_err()).to_string();
        assert!(!error.contains("secret"), "{error}");
    }
}

#[test]
fn each_set_of_batteries_and_database_has_a_journal_of_its_own() {
    let journal = |line: &str| match settings(line).expect(line).store {
        Store::Postgres { journal, .. } => journal,
        Store::Sqlite { path } => path,
    };
    assert_eq!(journal("-b x=a -b b"), journal("-b b -b y=a"));
    assert_ne!(journal("-b a"), journal("-b b"));
    assert_ne!(journal("-d a"), journal("-d b"));
    // The path of a file counts, not what is in it.
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fleet").display().to_string();
    let of_file = |content: &str| {
        std::fs::write(&path, content).unwrap();
        journal(&format!("-b @{path} -b c"))
    };
    assert_eq!(of_file("x=a"), of_file("b\nd"));
    assert_ne!(of_file("x=a"), journal("-b x=a -b c"));
    assert_eq!(journal("--journal /x/y"), Path::new("/x/y"));
    assert!(journal("").starts_with("/home/me/.local/state/bluenova"));
}

#[test]
fn an_empty_mqtt_password_in_the_environment_is_none() {
    let resolve = |password: &str| {
        let line = "-d sqlite:/x --mqtt mqtt://h";
        let args = Args::read(line.split_whitespace().map(Into::into)).expect(line);
        let env = |name: &str| (name == "BLUENOVA_MQTT_PASSWORD").then(|| password.to_owned());
        Settings::resolve(&args, env).map(drop)
    };
    resolve("").expect("there is no password");
    assert!(matches!(resolve("x"), Err(SettingsError::MqttUser)));
}
