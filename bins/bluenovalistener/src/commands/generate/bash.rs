use argh::CommandInfoWithArgs;
use bluenova_status::limits;

use super::{Values, names, own_flags, value_name};

/// The completion for bash 4 and later.
pub(super) fn completion(command: &CommandInfoWithArgs) -> String {
    let subcommands: Vec<_> = command.commands.iter().map(|it| it.name).collect();
    let of_subcommands = command.commands.iter().flat_map(|it| own_flags(command, &it.command));
    let (mut with_value, mut values) = (vec![], String::new());
    for flag in command.flags.iter().chain(of_subcommands) {
        let Some(name) = value_name(flag) else { continue };
        let names = names(flag).join("|");
        if with_value.contains(&names) {
            continue;
        }
        let complete = match Values::of(name) {
            _ if flag.long == "--limit" => {
                let limits = limits::names().map(|name| format!("{name}=")).join(" ");
                format!("compopt -o nospace; words='{limits}'")
            }
            Values::File => "compopt -o filenames; files=1".to_owned(),
            Values::Words(words) => format!("words='{}'", words.join(" ")),
            Values::Any => ":".to_owned(),
        };
        values += &format!("        {names}) {complete} ;;\n");
        with_value.push(names);
    }
    let mut cases = String::new();
    for subcommand in &command.commands {
        let mut case = own_flags(command, &subcommand.command)
            .map(|flag| format!(" {}", names(flag).join(" ")))
            .collect::<String>();
        if !case.is_empty() {
            case = format!("options+='{case}'; ");
        }
        for positional in subcommand.command.positionals {
            match Values::of(positional.name) {
                Values::File => case += "compopt -o filenames; files=1; ",
                Values::Words(words) => case += &format!("words='{}'; ", words.join(" ")),
                Values::Any => {}
            }
        }
        if !case.is_empty() {
            cases += &format!("            {}) {}\n", subcommand.name, case + ";;");
        }
    }
    let options: Vec<_> = command.flags.iter().flat_map(names).collect();
    TEMPLATE
        .replace("@WITH_VALUE@", &with_value.join("|"))
        .replace("@VALUES@", &values)
        .replace("@SUBCOMMAND_PATTERN@", &subcommands.join("|"))
        .replace("@SUBCOMMANDS@", &subcommands.join(" "))
        .replace("@OPTIONS@", &options.join(" "))
        .replace("@CASES@", &cases)
}

/// Words of `--name=value` are three for bash.
const TEMPLATE: &str = r#"# Made by "bluenovalistener generate bash".
_bluenovalistener()
{
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
    local i subcommand='' options='@OPTIONS@' words='' files=''
    if [[ $word == '=' ]]; then
        word=''
    elif [[ $before == '=' ]]; then
        before=${COMP_WORDS[COMP_CWORD - 2]}
    fi
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
            @WITH_VALUE@)
                [[ ${COMP_WORDS[i + 1]} == '=' ]] && ((i++))
                ((i++)) ;;
            @SUBCOMMAND_PATTERN@) subcommand=${COMP_WORDS[i]}; break ;;
        esac
    done
    case $before in
@VALUES@        *)
            if [[ -z $subcommand ]]; then
                words='@SUBCOMMANDS@'
            fi
            case $subcommand in
@CASES@            esac
            if [[ $word == -* ]]; then
                words=$options
                files=''
            fi ;;
    esac
    if [[ -n $files ]]; then
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
    else
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
    fi
}
complete -F _bluenovalistener bluenovalistener
"#;
