use argh::CommandInfoWithArgs;
use bluenova_status::limits;

use super::{Flag, Values, in_short, may_be_repeated, names, own_flags, value_name};

/// The completion for zsh, to be named `_bluenovalistener`.
pub(super) fn completion(command: &CommandInfoWithArgs) -> String {
    let options: String = command.flags.iter().flat_map(specs).collect();
    let subcommands: String = command
        .commands
        .iter()
        .map(|it| {
            format!(
                "        {}\n",
                quoted(&format!("{}:{}", it.name, in_short(it.command.description)))
            )
        })
        .collect();
    let mut cases = String::new();
    for subcommand in &command.commands {
        let mut own: String = own_flags(command, &subcommand.command).flat_map(specs).collect();
        for positional in subcommand.command.positionals {
            own += &match Values::of(positional.name) {
                Values::File => "        '*:file:_files'\n".to_owned(),
                Values::Words(words) => format!("        '2:what:({})'\n", words.join(" ")),
                Values::Any => continue,
            };
        }
        let own = own.replace("        ", "                ");
        cases +=
            &format!("            {}) specs+=(\n{own}            ); break ;;\n", subcommand.name);
    }
    let of_subcommands = command.commands.iter().flat_map(|it| own_flags(command, &it.command));
    let with_value =
        command.flags.iter().chain(of_subcommands).filter(|it| value_name(it).is_some());
    let with_value: Vec<_> = with_value.flat_map(names).collect();
    TEMPLATE
        .replace("@WITH_VALUE@", &with_value.join("|"))
        .replace("@OPTIONS@", &options)
        .replace("@SUBCOMMANDS@", &subcommands)
        .replace("@CASES@", &cases)
}

/// The specifications of an option for `_arguments`, one for each of its names.
fn specs(flag: &Flag) -> Vec<String> {
    let names = names(flag);
    let repeat =
        if may_be_repeated(flag) { "*".to_owned() } else { format!("({})", names.join(" ")) };
    let escape = |text: &str| text.replace('[', "\\[").replace(']', "\\]").replace(':', "\\:");
    let text = escape(in_short(flag.description));
    let value = value_name(flag).map(|name| {
        let action = match Values::of(name) {
            _ if flag.long == "--limit" => {
                let limits = limits::names().map(|name| format!("{name}=")).join(" ");
                format!("compadd -S '' {limits}")
            }
            Values::File => "_files".to_owned(),
            Values::Words(words) => format!("({})", words.join(" ")),
            Values::Any => " ".to_owned(),
        };
        // compadd is given what `_arguments` adds to it.
        let action = if action.starts_with("compadd") { format!("{{{action}}}") } else { action };
        format!(":{}:{action}", escape(name))
    });
    let value = value.unwrap_or_default();
    let spec = |name: &String| {
        let mark = match (value.is_empty(), name.starts_with("--")) {
            (true, _) => "",
            (false, true) => "=",
            (false, false) => "+",
        };
        let spec = format!("{repeat}{name}{mark}[{text}]{value}");
        format!("        {}\n", quoted(&spec))
    };
    names.iter().map(spec).collect()
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

const TEMPLATE: &str = r#"#compdef bluenovalistener
# Made by "bluenovalistener generate zsh".
_bluenovalistener_subcommands() {
    local -a subcommands=(
@SUBCOMMANDS@    )
    _describe subcommand subcommands
}

_bluenovalistener() {
    local i
    local -a specs=(
        '1: :_bluenovalistener_subcommands'
@OPTIONS@    )
    for ((i = 2; i < CURRENT; i++)); do
        case $words[i] in
            @WITH_VALUE@) ((i++)) ;;
@CASES@        esac
    done
    _arguments $specs
}

_bluenovalistener "$@"
"#;
