use std::{
    collections::{HashMap, HashSet},
    fmt,
    fs::File,
    io::{self, Read},
    net::Ipv6Addr,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use bluenova_websocket::Address;
use nix::fcntl::OFlag;

use super::{SettingsError, absolute};

const DEFAULT_BATTERY: &str = "10.0.0.2";

/// Maximum number of characters of a name.
const NAME_CHARS: usize = 32;

/// Maximum size of a file of batteries in bytes: some 100,000 batteries.
const FILE_LIMIT: u64 = 16 << 20;

/// Maximum length of a line in bytes: errors have all of it.
const LINE_LIMIT: usize = 1000;

/// A battery to listen to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Battery {
    /// Name for people, in the log and on the page.
    pub(crate) name: String,
    pub(crate) address: Address,
}

impl Battery {
    /// Whether it has no name of its own, but one that was made from its address.
    pub(crate) fn is_unnamed(&self) -> bool {
        self.name == self.address.host() || self.name == self.address.to_string()
    }
}

/// The values of `-b`: batteries, and files of batteries.
#[derive(Clone, Debug, Default)]
pub(crate) struct BatteryArguments {
    batteries: Vec<Battery>,
    files: Vec<PathBuf>,
}

/// Where a battery was given: with `-b`, or in a line of a file.
#[derive(Clone, Copy)]
struct Origin<'a>(Option<(&'a Path, usize)>);

impl BatteryArguments {
    /// Reads the values of `-b`, but no file yet. Paths become absolute, since a daemon changes its
    /// directory.
    pub(super) fn resolve(
        given: &[String],
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, SettingsError> {
        let mut arguments = Self::default();
        for given in given {
            match given.strip_prefix('@') {
                Some("") => return Err(SettingsError::NoBatteryPath),
                Some(path) => arguments.files.push(absolute("-b @", path, &env)?),
                None => arguments.batteries.push(battery(Origin(None), given)?),
            }
        }
        if given.is_empty() {
            arguments.batteries.push(battery(Origin(None), DEFAULT_BATTERY)?);
        }
        Ok(arguments)
    }

    /// The batteries: those of the command line, and behind them those that the files have now, in
    /// their order.
    ///
    /// # Errors
    /// A file can't be read or has no battery, a line of it is wrong, or two batteries have the
    /// same address or name.
    pub(crate) fn read(&self) -> Result<Vec<Battery>, SettingsError> {
        let mut texts = vec![];
        for path in &self.files {
            texts.push((path, read_file(path)?));
        }
        let given = self.batteries.iter().cloned();
        let mut batteries: Vec<_> = given.map(|battery| (Origin(None), battery)).collect();
        for (path, text) in &texts {
            let before = batteries.len();
            for (number, line) in lines(text) {
                let origin = Origin(Some((path, number)));
                if line.len() > LINE_LIMIT {
                    return Err(SettingsError::LongLine { origin: origin.to_string() });
                }
                batteries.push((origin, battery(origin, line)?));
            }
            if batteries.len() == before {
                return Err(SettingsError::NoBatteryIn { path: path.display().to_string() });
            }
        }
        name_by_address(&mut batteries);
        refuse_doubles(&batteries)?;
        Ok(batteries.into_iter().map(|(_, battery)| battery).collect())
    }

    pub(crate) fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// What the name of the journal depends on: addresses, and the paths of files, so that it stays
    /// when the batteries in a file change.
    pub(super) fn identity(&self) -> Vec<String> {
        let addresses = self.batteries.iter().map(|battery| battery.address.to_string());
        let files = self.files.iter().map(|path| format!("@{}", path.display()));
        addresses.chain(files).collect()
    }
}

impl Origin<'_> {
    /// What was given there, for the beginning of an error.
    fn with(self, text: &str) -> String {
        let separator = if self.0.is_some() { ":" } else { "" };
        format!("{self}{separator} {text:?}")
    }
}

impl fmt::Display for Origin<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("-b"),
            Some((path, number)) => write!(f, "{}, line {number}", path.display()),
        }
    }
}

fn read_file(path: &Path) -> Result<String, SettingsError> {
    let shown = || path.display().to_string();
    let mut bytes = vec![];
    open(path)
        .and_then(|file| file.take(FILE_LIMIT + 1).read_to_end(&mut bytes))
        .and_then(|size| match size as u64 > FILE_LIMIT {
            true => Err(io::ErrorKind::FileTooLarge.into()),
            false => Ok(()),
        })
        .map_err(|source| SettingsError::BatteryFile { path: shown(), source })?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes()[..valid].iter().filter(|byte| **byte == b'\n').count();
        SettingsError::NotUtf8 { path: shown(), line }
    })
}

/// Opens a regular file. Anything else may have no end or, as a FIFO, hang until somebody writes,
/// and the thread that reads it is the one that ends the program.
fn open(path: &Path) -> io::Result<File> {
    let file = File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("not a regular file")),
    }
}

/// The lines that have a battery, without their comments, and their numbers.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = text.lines().map(|line| without_comment(line).trim());
    (1..).zip(lines).filter(|(_, line)| !line.is_empty())
}

/// `#` begins a comment, unless it stands inside a word.
fn without_comment(line: &str) -> &str {
    let begins = |at: &usize| *at == 0 || line[..*at].ends_with(char::is_whitespace);
    let comment = line.match_indices('#').map(|(at, _)| at).find(begins);
    comment.map_or(line, |at| &line[..at])
}

/// Gives unnamed batteries behind one host a name each: their address.
fn name_by_address(batteries: &mut [(Origin<'_>, Battery)]) {
    let mut counts: HashMap<String, u32> = HashMap::new();
    for (_, battery) in &*batteries {
        *counts.entry(battery.name.clone()).or_default() += 1;
    }
    for (_, battery) in batteries {
        let is_shared = counts.get(&battery.name).is_some_and(|count| *count > 1);
        if is_shared && battery.name == battery.address.host() {
            battery.name = battery.address.to_string();
        }
    }
}

fn refuse_doubles(batteries: &[(Origin<'_>, Battery)]) -> Result<(), SettingsError> {
    let (mut addresses, mut names) = (HashMap::new(), HashMap::new());
    for (origin, battery) in batteries {
        if let Some(first) = addresses.insert(battery.address.to_string(), *origin) {
            let origins = both(first, *origin);
            return Err(SettingsError::SameAddress { origins, address: battery.address.clone() });
        }
        if let Some(first) = names.insert(&battery.name, *origin) {
            let origins = both(first, *origin);
            return Err(SettingsError::SameName { origins, name: battery.name.clone() });
        }
    }
    Ok(())
}

fn both(first: Origin<'_>, second: Origin<'_>) -> String {
    let origins = HashSet::from([first.to_string(), second.to_string()]);
    match origins.len() {
        1 => second.to_string(),
        _ => format!("{first} and {second}"),
    }
}

/// Reads `[NAME=]HOST[:PORT][/PATH]`.
fn battery(origin: Origin<'_>, text: &str) -> Result<Battery, SettingsError> {
    let given = || origin.with(text);
    // An equals sign further on belongs to the path.
    let (name, address) = match text.find(['=', ':', '/', '[']) {
        Some(at) if text[at..].starts_with('=') => (Some(&text[..at]), &text[at + 1..]),
        _ => (None, text),
    };
    if name == Some("") {
        return Err(SettingsError::NoName { given: given() });
    }
    if address.parse::<Ipv6Addr>().is_ok() {
        let name = name.map(|name| format!("{name}=")).unwrap_or_default();
        let in_brackets = format!("{name}[{address}]");
        return Err(SettingsError::NoBrackets { given: given(), in_brackets });
    }
    if address.split('/').next().is_some_and(|authority| authority.contains(',')) {
        return Err(SettingsError::SeveralBatteries { given: given() });
    }
    let address: Address =
        address.parse().map_err(|source| SettingsError::Address { given: given(), source })?;
    let name = name.unwrap_or(address.host());
    if name.is_empty()
        || name.chars().count() > NAME_CHARS && name != address.host()
        || name.contains(char::is_control)
    {
        return Err(SettingsError::Name { given: given() });
    }
    Ok(Battery { name: name.to_owned(), address })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use bluenova_record::ErrorChain;

    use super::*;

    fn read(given: &[&str]) -> Result<Vec<Battery>, SettingsError> {
        let given: Vec<String> = given.iter().map(|&battery| battery.to_owned()).collect();
        BatteryArguments::resolve(&given, |_| None)?.read()
    }

    #[track_caller]
    fn check(given: &[&str], expected: &[(&str, &str)]) {
        let batteries = read(given).unwrap();
        let names: Vec<_> =
            batteries.iter().map(|battery| (&*battery.name, battery.address.to_string())).collect();
        let names: Vec<_> = names.iter().map(|(name, address)| (*name, &**address)).collect();
        assert_eq!(names, expected, "{given:?}");
    }

    #[test]
    fn batteries_have_names() {
        check(&[], &[("10.0.0.2", "10.0.0.2:9000/ws/")]);
        check(&["bat.lan:90"], &[("bat.lan", "bat.lan:90/ws/")]);
        check(&["attic=10.0.0.3/x?a=b"], &[("attic", "10.0.0.3:9000/x?a=b")]);
        check(&["10.0.0.3/x?a=b"], &[("10.0.0.3", "10.0.0.3:9000/x?a=b")]);
        check(&["six=[::1]:1"], &[("six", "[::1]:1/ws/")]);
        check(
            &["h:1", "h:2", "other"],
            &[("h:1/ws/", "h:1/ws/"), ("h:2/ws/", "h:2/ws/"), ("other", "other:9000/ws/")],
        );
    }

    /// A file with that content, and its path behind an `@`.
    fn file(content: &[u8]) -> (tempfile::NamedTempFile, String) {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(&file, content).unwrap();
        let at = format!("@{}", file.path().display());
        (file, at)
    }

    #[test]
    fn a_file_has_a_battery_in_each_line() {
        let content = "\u{feff}# the fleet\r\n\r\nattic=10.0.0.3\r\n  [::1]:1/x \t# in the \
                       shed=x\r\n\t#gone=10.0.0.4\nno#1=h\nlast";
        let (_file, at) = file(content.as_bytes());
        let in_file = [
            ("attic", "10.0.0.3:9000/ws/"),
            ("::1", "[::1]:1/x"),
            ("no#1", "h:9000/ws/"),
            ("last", "last:9000/ws/"),
        ];
        check(&[&at], &in_file);
        // Those of the command line come first.
        let all = [&[("cellar", "c:9000/ws/"), ("d", "d:9000/ws/")], &in_file[..]].concat();
        check(&["cellar=c", &at, "d"], &all);
        let (_other, other) = file(b"last:1");
        let expected =
            [&in_file[..3], &[("last:9000/ws/", "last:9000/ws/"), ("last:1/ws/", "last:1/ws/")]];
        check(&[&at, &other], &expected.concat());
    }

    #[track_caller]
    fn refused(given: &[&str], says: &str) {
        let error = ErrorChain(&read(given).expect_err(says)).to_string();
        assert!(error.contains(says), "{error:?} lacks {says:?}");
    }

    #[test]
    fn what_is_wrong_in_a_file_has_its_line() {
        for (content, says) in [
            ("a=h\n\n=x", ", line 3: \"=x\": the name before = is missing"),
            ("# a\nh:0 # b", ", line 2: \"h:0\": \"0\" is not a port"),
            ("a,b", ", line 1: \"a,b\": for several batteries"),
            ("fd00::7", ", line 1: \"fd00::7\": an IPv6 address stands in brackets: [fd00::7]"),
            ("@other", ", line 1: \"@other\": \"@other\" is not a host name"),
            ("# none\n\n", ": there is no battery in this file"),
            ("", ": there is no battery in this file"),
        ] {
            let (_file, at) = file(content.as_bytes());
            refused(&[&at], &format!("{}{says}", &at[1..]));
        }
        let (_file, at) = file(b"a=h\nb=\xff");
        refused(&[&at], &format!("{}, line 2: not UTF-8", &at[1..]));
        refused(&["@/no/fleet"], "-b @/no/fleet: the file can't be read: No such file");
        refused(&["@"], "-b @FILE: the path of the file is missing");
        let (_file, at) = file(format!("a=h\n{}", "x".repeat(LINE_LIMIT + 1)).as_bytes());
        refused(&[&at], &format!("{}, line 2: longer than a battery: 1000 bytes", &at[1..]));
    }

    #[test]
    fn what_is_no_file_of_batteries_is_neither_waited_for_nor_read_to_its_end() {
        refused(&["@/dev/zero"], "-b @/dev/zero: the file can't be read: not a regular file");
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for path in [&*fifo, directory.path()] {
            refused(&[&format!("@{}", path.display())], "not a regular file");
        }
        let (large, at) = file(b"a=h\n");
        large.as_file().set_len(FILE_LIMIT + 1).unwrap();
        refused(&[&at], "the file can't be read: file too large");
    }

    #[test]
    fn a_battery_is_given_once() {
        let (_file, at) = file(b"a=h\n\nb=h:9000/ws/");
        let path = &at[1..];
        let twice = "battery h:9000/ws/ is given twice";
        refused(&[&at], &format!("{path}, line 1 and {path}, line 3: {twice}"));
        let (_file, at) = file(b"a=h");
        let path = &at[1..];
        refused(&["x=h", &at], &format!("-b and {path}, line 1: {twice}"));
        refused(&["a=x", &at], &format!("-b and {path}, line 1: two batteries are named \"a\""));
        refused(&[&at, &at], &format!("{path}, line 1: {twice}"));
        refused(&["a=h", "b=h"], &format!("-b: {twice}"));
    }
}
