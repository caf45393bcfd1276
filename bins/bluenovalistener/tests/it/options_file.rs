//! Options in the file of a package's service, with quotes as they may be mistyped.

use std::{fs, process::Command};

use crate::support::{Home, output, text};

const ADVICE: &str = "One pair of double quotes stands around all options, on one line";

/// The packages' script, which reads the file as a shell does.
const SCRIPT: &str = include_str!("../../../../packaging/debian/bluenovalistener-service");

fn write(home: &Home, options: &str) -> String {
    let path = home.path("default");
    // Apostrophes in the comments behind are quotes, too, for what has begun before.
    let text = format!("\n\nOPTIONS={options}\n\n# PostgreSQL's environment\n#PGHOST=x\n");
    // The first line is in Latin 1.
    fs::write(&path, [b"# Options f\xfcr den Keller", text.as_bytes()].concat()).unwrap();
    path.display().to_string()
}

/// What the program says where a service manager hands it these arguments.
fn refused(home: &Home, options: &str, arguments: &[&str]) -> String {
    let path = write(home, options);
    let mut command = home.command(arguments);
    command.env("BLUENOVA_OPTIONS_FILE", &path).env("NOTIFY_SOCKET", "/nowhere/notify");
    let refused = output(command);
    let error = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{error}");
    error.replace(&path, "FILE")
}

/// The arguments are those that systemd makes of the options: it reads on until the quote ends,
/// and splits the value into words, in which quotes count once more.
#[test]
fn an_error_of_the_service_names_file_and_line() {
    let home = Home::new();
    let error = refused(&home, "\"-i 5", &["-i", "5", "#", "PostgreSQLs environment\n#PGHOST=x\n"]);
    assert!(error.starts_with("bluenovalistener: \"#\" is neither an option nor "), "{error}");
    let says = "FILE, line 3: the quote in front of the options has no end. ";
    assert!(error.contains(says) && error.contains(ADVICE), "{error}");

    let options = "\"-b \"10.0.0.2\" -d x\"";
    let error = refused(&home, options, &["-b", "10.0.0.2 -d x"]);
    let says = "FILE, line 3: there is something behind the quote that ends the options. ";
    assert!(error.contains(says) && error.contains(ADVICE), "{error}");

    // Where the quotes are right, where the options are is enough.
    let error = refused(&home, "\"-i 0\"", &["-i", "0"]);
    assert!(error.ends_with("\nThe service's options are in FILE, line 3.\n"), "{error}");
}

#[test]
fn a_command_line_of_a_person_is_not_the_file_s() {
    let home = Home::new();
    let path = write(&home, "\"-i 5\"");
    let mut command = home.command(&["-i", "0"]);
    command.env("BLUENOVA_OPTIONS_FILE", &path);
    let error = text(&output(command).stderr);
    assert!(error.contains("1 to 86400") && !error.contains(&path), "{error}");
}

#[test]
fn check_warns_of_quotes_that_a_shell_takes_and_systemd_does_not() {
    let home = Home::new();
    let path = write(&home, "\"-b \"127.0.0.1:1\" -i 5\"");
    let database = home.sqlite("db");
    let mut command = home.command(&["-b", "127.0.0.1:1", "-d", &database, "check"]);
    command.env("BLUENOVA_OPTIONS_FILE", &path);
    let said = text(&output(command).stdout);
    let first = said.lines().next().unwrap();
    assert!(first.starts_with(&format!("WARNING options: {path}, line 3: there is ")), "{said}");
}

#[test]
fn the_script_says_where_the_options_are_wrong() {
    let home = Home::new();
    for (options, says) in [
        ("\"-i 5", "nterminated quoted string|unexpected EOF"),
        ("-i 5", "not found"),
        ("\"-l 'x\"", "a quote within OPTIONS has no end"),
    ] {
        let path = write(&home, options);
        let usual = "file=/etc/default/bluenovalistener\n";
        assert_eq!(SCRIPT.matches(usual).count(), 1);
        let script = SCRIPT.replace(usual, &format!("file='{path}'\n"));
        let mut command = Command::new("sh");
        let refused = output({
            command.args(["-c", &script, "bluenovalistener-service", "check"]);
            command
        });
        let error = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{options}: {error}");
        assert!(says.split('|').any(|says| error.contains(says)), "{options}: {error}");
        let see = format!("See {path} (OPTIONS in line 3): one pair of ");
        assert!(error.contains(&see), "{error}");
    }
}
