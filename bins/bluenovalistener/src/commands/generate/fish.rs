use argh::CommandInfoWithArgs;
use bluenova_status::limits;

use super::{Flag, Values, in_short, own_flags, value_name};

/// The completion for fish.
pub(super) fn completion(command: &CommandInfoWithArgs) -> String {
    let mut lines = vec![
        "# Made by \"bluenovalistener generate fish\".".to_owned(),
        // No files, but where they are asked for.
        complete("-f"),
    ];
    lines.extend(command.flags.iter().map(|flag| option("", flag)));
    let none_yet = "-n __fish_use_subcommand";
    for subcommand in &command.commands {
        let (name, info) = (subcommand.name, &subcommand.command);
        let text = quoted(in_short(info.description));
        lines.push(complete(&format!("{none_yet} -a {name} -d {text}")));
        let behind = format!("-n '__fish_seen_subcommand_from {name}' ");
        lines.extend(own_flags(command, info).map(|flag| option(&behind, flag)));
        for positional in info.positionals {
            match Values::of(positional.name) {
                Values::File => lines.push(complete(&format!("{behind}-F"))),
                Values::Words(words) => {
                    lines.push(complete(&format!("{behind}-a '{}'", words.join(" "))));
                }
                Values::Any => {}
            }
        }
    }
    lines.join("\n") + "\n"
}

fn complete(rest: &str) -> String {
    format!("complete -c bluenovalistener {rest}")
}

fn option(condition: &str, flag: &Flag) -> String {
    let short = flag.short.map(|short| format!("-s {short} ")).unwrap_or_default();
    let long = flag.long.trim_start_matches('-');
    let value = match value_name(flag).map(Values::of) {
        None => String::new(),
        _ if flag.long == "--limit" => {
            format!(" -x -a '{}'", limits::names().map(|name| format!("{name}=")).join(" "))
        }
        Some(Values::File) => " -r -F".to_owned(),
        Some(Values::Words(words)) => format!(" -x -a '{}'", words.join(" ")),
        Some(Values::Any) => " -x".to_owned(),
    };
    let text = quoted(in_short(flag.description));
    complete(&format!("{condition}{short}-l {long}{value} -d {text}"))
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}
