use argh::CommandInfoWithArgs;

use super::{manual::limits, names, value_name};

/// `/etc/default/bluenovalistener`: the options of the packages' service, every one explained.
pub(super) fn file(command: &CommandInfoWithArgs) -> String {
    let mut file = HEAD.to_owned();
    // The service runs in the foreground, and a version is for people.
    for flag in command.flags.iter().filter(|it| !NOT_FOR_A_SERVICE.contains(&it.long)) {
        let value = value_name(flag).map(|name| format!(" {}", name.to_uppercase()));
        let usage = names(flag).join(", ") + &value.unwrap_or_default();
        file += &format!("#\n# {usage}\n{}", comment(flag.description));
    }
    file += "#\n# The limits of --limit, with amber and red as they are by default:\n#\n";
    for (limit, meaning) in limits() {
        file += &format!("# {limit}\n{}", comment(meaning));
    }
    file
}

const NOT_FOR_A_SERVICE: [&str; 3] = ["--daemon", "--version", "--help"];

const HEAD: &str = r#"# Options of the service bluenovalistener. After a change:
#
#     sudo systemctl restart bluenovalistener
#     sudo bluenovalistener-service check
#
# Several batteries: OPTIONS="-b attic=10.0.0.2 -b cellar=10.0.0.3 --http 127.0.0.1:9080"
# The quotes stay. With --http 0.0.0.0:9080 everybody in the network can read the page.
# Passwords don't belong here: everybody can read this file. That of PostgreSQL goes into
# /var/lib/bluenova/.pgpass, of mode 0600 and owned by homeauto; the service's user needs none for a
# server on this machine that has Debian's settings.
# The service can write below /var/lib/bluenova and /var/log/bluenova only, and can't read below
# /home.

OPTIONS="-b 10.0.0.2 -d homeauto"

# Environment of PostgreSQL's clients, if the server is elsewhere:
#PGHOST=192.168.1.5
#PGPORT=5432

# All options:
"#;

/// A text as lines of a comment.
fn comment(text: &str) -> String {
    let (mut lines, mut line) = (String::new(), "#    ".to_owned());
    for word in text.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > 98 {
            lines += &(line + "\n");
            line = "#    ".to_owned();
        }
        line = line + " " + word;
    }
    lines + &line + "\n"
}
