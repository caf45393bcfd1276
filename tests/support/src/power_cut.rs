//! Disks as a power cut may leave them, made from a record of what a program did to its files.
//!
//! The record is made by a library that the program is started with ([`DiskRecord::command`]; it
//! takes a C compiler). [`DiskRecord::cut`] then makes the directory anew as it may be after the
//! power failed at some event: what was synced is there; of what was not, each block of 512 or 4096
//! bytes is there or as it was before, at random. So are the names of files that were made, renamed
//! or removed since the directory was synced. Cutting a file to a length is done or not, with
//! everything before it.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    fs::{self, File},
    io::Read,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
};

use fastrand::Rng;
use tempfile::TempDir;

const LIBRARY: &str = include_str!("power_cut/trace.c");

/// A directory, and what a program does to the files in it.
#[derive(Debug)]
pub struct DiskRecord {
    directory: PathBuf,
    /// Files that were there before the program was started: name, inode and content.
    before: Vec<(String, u64, Vec<u8>)>,
    own: TempDir,
}

/// What a program did to the files of a directory, in order.
#[derive(Debug)]
pub struct DiskHistory {
    files: Vec<TracedFile>,
    /// The files that were there before.
    names: BTreeMap<String, FileNumber>,
    events: Vec<Event>,
}

/// Position in [`DiskHistory::files`]: an inode may be that of one file after the other.
type FileNumber = usize;

#[derive(Debug)]
struct TracedFile {
    inode: u64,
    content: Vec<u8>,
}

#[derive(Debug)]
enum Event {
    Create(FileNumber, String),
    Write(FileNumber, u64, Vec<u8>),
    Truncate(FileNumber, u64),
    Sync(FileNumber),
    Rename(String, String),
    Unlink(String),
    SyncDirectory,
}

impl DiskRecord {
    /// To be made before the program is started. The directory must be there.
    pub fn new(directory: &Path) -> Self {
        let own = tempfile::tempdir().unwrap();
        let source = own.path().join("trace.c");
        fs::write(&source, LIBRARY).unwrap();
        let mut compiler = Command::new(env::var_os("CC").unwrap_or_else(|| "cc".into()));
        compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(own.path().join("trace.so"));
        let output = compiler.arg(&source).arg("-ldl").output();
        let output = output.expect("this test needs a C compiler");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let files = fs::read_dir(directory).unwrap().map(|file| file.unwrap().path());
        let before = files.map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::metadata(&path).unwrap().ino(), fs::read(&path).unwrap())
        });
        Self { directory: directory.to_owned(), before: before.collect(), own }
    }

    /// Has the program that `command` starts recorded.
    pub fn command(&self, command: &mut Command) {
        command.envs(self.environment());
    }

    fn environment(&self) -> [(&'static str, OsString); 3] {
        [
            ("LD_PRELOAD", self.own.path().join("trace.so").into()),
            ("POWER_CUT_RECORD", self.own.path().join("record").into()),
            ("POWER_CUT_DIRECTORY", self.directory.clone().into()),
        ]
    }

    /// What was done so far.
    pub fn history(&self) -> DiskHistory {
        let mut history = DiskHistory { files: vec![], names: BTreeMap::new(), events: vec![] };
        for (name, inode, content) in &self.before {
            let number = history.add(*inode, content.clone());
            history.names.insert(name.clone(), number);
        }
        let mut record = vec![];
        File::open(self.own.path().join("record")).unwrap().read_to_end(&mut record).unwrap();
        let mut rest = &record[..];
        while let Some((what, data)) = next_record(&mut rest) {
            history.read(what, data);
        }
        history
    }
}

/// Numbers (see `struct record`) and data; `None` at the end, or where a kill cut the record.
fn next_record<'a>(rest: &mut &'a [u8]) -> Option<([u64; 4], &'a [u8])> {
    let mut number = || Some(u64::from_ne_bytes(*rest.split_off(..8)?.first_chunk()?));
    let numbers = [number()?, number()?, number()?, number()?];
    Some((numbers, rest.split_off(..numbers[3] as usize)?))
}

impl DiskHistory {
    fn add(&mut self, inode: u64, content: Vec<u8>) -> FileNumber {
        self.files.push(TracedFile { inode, content });
        self.files.len() - 1
    }

    fn read(&mut self, [what, inode, offset, _]: [u64; 4], data: &[u8]) {
        let name = || String::from_utf8(data.to_vec()).unwrap();
        let known = self.files.iter().rposition(|file| file.inode == inode);
        let file = || known.expect("a file that was there or made");
        let event = match what {
            1 => Event::Create(self.add(inode, vec![]), name()),
            2 => Event::Write(file(), offset, data.to_vec()),
            3 => Event::Truncate(file(), offset),
            4 => Event::Sync(file()),
            5 => {
                let both = name();
                let (from, to) = both.split_once('/').unwrap();
                Event::Rename(from.to_owned(), to.to_owned())
            }
            6 => Event::Unlink(name()),
            7 => Event::SyncDirectory,
            _ => panic!("{what} is no event"),
        };
        self.events.push(event);
    }

    /// How many events there are.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether nothing was done.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// After how many events the name of a file had just changed.
    pub fn name_changes(&self) -> Vec<usize> {
        let is_change = |event: &Event| {
            matches!(event, Event::Create(..) | Event::Rename(..) | Event::Unlink(_))
        };
        let events = self.events.iter().enumerate();
        events.filter(|(_, event)| is_change(event)).map(|(n, _)| n + 1).collect()
    }

    /// How many of the first `events` events there are until the file `name` was synced last.
    pub fn synced(&self, name: &str, events: usize) -> usize {
        self.syncs(name, events).last().copied().unwrap_or(0)
    }

    /// After how many of the first `events` events the file `name` had just been synced.
    pub fn syncs(&self, name: &str, events: usize) -> Vec<usize> {
        let mut names = self.names.clone();
        let mut syncs = vec![];
        for (n, event) in self.events[..events].iter().enumerate() {
            match event {
                Event::Sync(file) if names.get(name) == Some(file) => syncs.push(n + 1),
                _ => change_names(&mut names, event),
            }
        }
        syncs
    }

    /// How often any file or the directory was synced.
    pub fn count_syncs(&self) -> usize {
        let is_sync = |event: &&Event| matches!(event, Event::Sync(_) | Event::SyncDirectory);
        self.events.iter().filter(is_sync).count()
    }

    /// Makes the directory as the program saw it after the first `events` events.
    pub fn copy(&self, events: usize, directory: &Path) {
        self.make(events, None, directory);
    }

    /// Makes the directory as a power cut after the first `events` events may leave it.
    pub fn cut(&self, events: usize, seed: u64, directory: &Path) {
        self.make(events, Some(&mut Rng::with_seed(seed)), directory);
    }

    fn make(&self, events: usize, mut random: Option<&mut Rng>, directory: &Path) {
        let events = &self.events[..events];
        let files = self.files.iter().enumerate().map(|(number, file)| {
            let mut disk = FileOnDisk { content: file.content.clone(), pending: vec![] };
            for event in events {
                match event {
                    Event::Write(of, ..) | Event::Truncate(of, _) if *of == number => {
                        disk.pending.push(event);
                    }
                    Event::Sync(of) if *of == number => disk.settle(),
                    _ => {}
                }
            }
            match &mut random {
                Some(random) => disk.lose(random),
                None => disk.settle(),
            }
            disk.content
        });
        let files: Vec<_> = files.collect();
        let names = self.names_after(events, random);
        for (name, &number) in &names {
            fs::write(directory.join(name), &files[number]).unwrap();
        }
        for name in names.keys().filter(|name| name.ends_with(".lock")) {
            self.translate_identities(&directory.join(name), &names, directory);
        }
    }

    fn names_after(
        &self,
        events: &[Event],
        mut random: Option<&mut Rng>,
    ) -> BTreeMap<String, FileNumber> {
        let synced = events.iter().rposition(|event| matches!(event, Event::SyncDirectory));
        let likely = random.as_mut().map_or(1.0, |random| [0.1, 0.5, 0.9][random.usize(0..3)]);
        let mut names = self.names.clone();
        for (n, event) in events.iter().enumerate() {
            let is_kept = match &mut random {
                Some(random) if synced.is_none_or(|synced| n > synced) => random.f64() < likely,
                _ => true,
            };
            if is_kept {
                change_names(&mut names, event);
            }
        }
        names
    }

    /// The lock of a journal holds which files it is in: their inodes here are others.
    fn translate_identities(
        &self,
        lock: &Path,
        names: &BTreeMap<String, FileNumber>,
        directory: &Path,
    ) {
        let text = fs::read_to_string(lock).unwrap();
        let translate = |line: &str| {
            let (_, inode) = line.split_once(' ')?;
            let inode: u64 = inode.parse().ok()?;
            let mut of_inode = names.iter().filter(|(_, file)| self.files[**file].inode == inode);
            let file = of_inode.next().map(|(name, _)| fs::metadata(directory.join(name)).unwrap());
            Some(file.map_or("0 0".to_owned(), |file| format!("{} {}", file.dev(), file.ino())))
        };
        let lines = text.lines().map(|line| translate(line).unwrap_or_else(|| line.to_owned()));
        fs::write(lock, lines.map(|line| line + "\n").collect::<String>()).unwrap();
    }
}

fn change_names(names: &mut BTreeMap<String, FileNumber>, event: &Event) {
    match event {
        Event::Create(file, name) => {
            names.insert(name.clone(), *file);
        }
        Event::Rename(from, to) => {
            // Its creation may be lost.
            if let Some(file) = names.remove(from) {
                names.insert(to.clone(), file);
            }
        }
        Event::Unlink(name) => {
            names.remove(name);
        }
        _ => {}
    }
}

/// What is on the disk of a file, and what is on its way there.
struct FileOnDisk<'a> {
    content: Vec<u8>,
    pending: Vec<&'a Event>,
}

impl FileOnDisk<'_> {
    /// All of it arrives.
    fn settle(&mut self) {
        for event in std::mem::take(&mut self.pending) {
            match event {
                Event::Write(_, offset, data) => self.write(*offset as usize, data),
                Event::Truncate(_, length) => self.content.resize(*length as usize, 0),
                _ => {}
            }
        }
    }

    /// A part of it arrives.
    fn lose(&mut self, random: &mut Rng) {
        let pending = std::mem::take(&mut self.pending);
        let mut parts = pending.split_inclusive(|event| matches!(event, Event::Truncate(..)));
        let truncates = pending.iter().filter(|event| matches!(event, Event::Truncate(..))).count();
        for _ in 0..random.usize(0..=truncates) {
            self.pending = parts.next().unwrap_or_default().to_vec();
            self.settle();
        }
        let writes = parts.next().unwrap_or_default();
        let block = [512, 4096][random.usize(0..2)];
        let likely = [0.1, 0.5, 0.9][random.usize(0..3)];
        // The writes to each block, of which the first so many arrive.
        let mut pieces: BTreeMap<usize, Vec<(usize, &[u8])>> = BTreeMap::new();
        for event in writes {
            let Event::Write(_, offset, data) = event else { continue };
            let (mut offset, mut data) = (*offset as usize, &data[..]);
            while !data.is_empty() {
                let length = data.len().min(block - offset % block);
                pieces.entry(offset / block).or_default().push((offset, &data[..length]));
                (offset, data) = (offset + length, &data[length..]);
            }
        }
        for pieces in pieces.into_values() {
            let end = pieces.iter().map(|(offset, data)| offset + data.len()).max().unwrap_or(0);
            let arrive = if random.f64() < likely { pieces.len() } else { 0 };
            let arrive = if random.u8(0..4) == 0 { random.usize(0..=pieces.len()) } else { arrive };
            for (offset, data) in &pieces[..arrive] {
                self.write(*offset, data);
            }
            // The length may arrive without the block.
            if end > self.content.len() && random.bool() {
                self.content.resize(end, 0);
            }
        }
    }

    fn write(&mut self, offset: usize, data: &[u8]) {
        let end = offset + data.len();
        if self.content.len() < end {
            self.content.resize(end, 0);
        }
        self.content[offset..end].copy_from_slice(data);
    }
}
