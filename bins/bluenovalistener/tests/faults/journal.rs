//! Scenarios 8 and 15: the journal's disk is full, can't be written or loses the file; the file is
//! replaced or damaged.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::Write,
    net::SocketAddr,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use bluenova_journal::{Journal, Retention};
use bluenova_record::{COLUMNS, PackRecord, Value};
use bluenova_test_support::{Cluster, Point, Proxy, as_root, wait_until};
use fastrand::Rng;
use nix::sys::signal::Signal;
use postgres::Client;
use time::UtcDateTime;

use crate::{
    backlog::row,
    is_full,
    oracle::{
        Batteries, Program, check_without_journal, fresh_row, mcu_id, prepare, undoubled_rows,
    },
    rounds,
    rows::{Cell, Row, Rows, sqlite_rows, stamp},
    support::{Home, count, get, named, shared_cluster, stored, talking_battery, text},
};

/// How long it may take until a file that failed is tried again.
const NEXT_TRY: Duration = Duration::from_secs(150);

/// The program with its battery, its database and the proxy before it.
struct Setup {
    client: Client,
    proxy: Proxy,
    batteries: Batteries,
    program: Program,
}

impl Setup {
    fn new(cluster: &Cluster, database: &str) -> Self {
        cluster.create_database(database);
        let mut client = cluster.client(database);
        prepare(&mut client);
        let proxy = Proxy::start(cluster);
        let batteries = Batteries::start(1);
        let program = Program::new(&batteries, &proxy.url(database));
        Self { client, proxy, batteries, program }
    }

    fn starts(&mut self) {
        self.program.launch();
        self.program.wait_until_connected();
    }

    fn server_goes(&self) {
        self.proxy.cut(Point::Accept);
        self.proxy.cut_all();
    }

    /// Ends a program whose rows are in memory only, the file being writable again: by
    /// SIGTERM, or by force once they are in the file.
    fn ends_after_the_rows_are_in_the_file(&mut self) {
        if is_full() {
            let listener = self.program.listener();
            wait_until("the file is written again", NEXT_TRY, || {
                count(listener.log(), "written again, with") > 0
            });
            self.program.kill();
        } else {
            self.program.stop();
            assert_eq!(count(&self.program.log(), "written again, with"), 1, "{}", self.log());
        }
    }

    fn log(&self) -> String {
        self.program.log().join("\n")
    }

    /// The next run must deliver what the last one has left.
    fn checks_in_the_next_run(&mut self) {
        self.proxy.heal();
        self.starts();
        fresh_row(&mut self.client);
        self.program.stop();
    }

    fn checks(mut self) {
        let sent = self.batteries.end();
        check_without_journal(&mut self.client, &sent, &self.program);
    }
}

/// A file system of its own under the program's home, until dropped.
struct Disk(PathBuf);

impl Disk {
    /// # Panics
    /// Where this may not be mounted: there the test can't be made, and says so.
    fn mount(home: &Home, arguments: &[&str]) -> Self {
        let path = home.path("");
        run(as_root("mount").args(arguments).arg(&path));
        Self(path)
    }

    fn remount(&self, options: &str) {
        run(as_root("mount").args(["-o", &format!("remount,{options}")]).arg(&self.0));
    }

    /// Takes all the room that there is.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("filler");
        let mut file = File::create(&path).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
        path
    }
}

/// A file system of a real disk's kind under a program's home, and the home of its image.
fn ext4(home: &Home) -> (Home, Disk) {
    let of_image = Home::new();
    let image = of_image.path("image");
    File::create(&image).unwrap().set_len(16 << 20).unwrap();
    run(Command::new("mkfs.ext4").arg("-q").arg(&image));
    let disk = Disk::mount(home, &["-o", "loop", &image.display().to_string()]);
    (of_image, disk)
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily, since in a test that fails the program has files open.
        _ = as_root("umount").arg("-l").arg(&self.0).status();
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|e| panic!("can't run {command:?}: {e}"));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {error} (this test needs the right to mount)");
}

/// Other options mean another journal; what waits in the old one is delivered all the same.
#[test]
fn s15_other_options_leave_no_row_behind() {
    let mut setup = Setup::new(shared_cluster(), "journal_leftover");
    setup.program = Program::new(&setup.batteries, &setup.proxy.url("journal_leftover"))
        .with_journal_of_its_own();
    setup.starts();
    fresh_row(&mut setup.client);
    setup.server_goes();
    setup.program.records(3);
    setup.program.kill();

    setup.program.dials("localhost");
    let args: Vec<&str> = setup.program.args().into_iter().chain(["check"]).collect();
    let check = text(&setup.program.home().run(&args).stdout);
    let is_said = |line: &str| line.starts_with("ok      journal: ") && line.contains("rows wait");
    assert!(check.lines().any(is_said), "{check}");
    setup.starts();
    setup.program.records(2);
    let log = setup.program.listener().log().join("\n");
    assert!(log.contains("rows wait; they are delivered to"), "{log}");
    setup.proxy.heal();
    setup.program.listener().wait_until_said("no row waits there any more");
    fresh_row(&mut setup.client);
    setup.program.kill();

    // Back again: the first journal goes on.
    setup.server_goes();
    setup.program.dials("127.0.0.1");
    setup.starts();
    setup.program.records(2);
    setup.program.kill();
    setup.program.dials("localhost");
    setup.checks_in_the_next_run();
    setup.checks();
}

#[test]
fn s08_a_full_disk_costs_no_row() {
    let mut setup = Setup::new(shared_cluster(), "journal_full");
    let disk = Disk::mount(setup.program.home(), &["-t", "tmpfs", "-o", "size=1m", "tmpfs"]);
    setup.starts();
    setup.program.records(2);
    let filler = disk.fill();
    setup.program.listener().wait_for("kept in memory only");
    setup.program.records(2);
    // They are not kept there longer than they must be.
    fresh_row(&mut setup.client);

    setup.server_goes();
    setup.program.records(2);
    fs::remove_file(filler).unwrap();
    setup.ends_after_the_rows_are_in_the_file();
    setup.checks_in_the_next_run();
    drop(disk);
    setup.checks();
}

#[test]
fn s08_a_disk_that_cannot_be_written_costs_no_row() {
    let mut setup = Setup::new(shared_cluster(), "journal_read_only");
    let (image, disk) = ext4(setup.program.home());
    let image = image.path("image").display().to_string();
    disk.remount("ro");
    setup.starts();
    setup.program.listener().wait_for("kept in memory only");
    setup.program.records(2);
    fresh_row(&mut setup.client);
    setup.server_goes();
    setup.program.records(2);
    disk.remount("rw");
    setup.ends_after_the_rows_are_in_the_file();
    setup.checks_in_the_next_run();

    // As the system does it itself after an error of the disk.
    setup.starts();
    setup.program.records(2);
    disk.remount("abort");
    setup.program.listener().wait_for("kept in memory only");
    setup.program.records(2);
    fresh_row(&mut setup.client);
    setup.program.stop();
    drop(disk);
    let disk = Disk::mount(setup.program.home(), &["-o", "loop", &image]);
    setup.checks_in_the_next_run();
    drop(disk);
    setup.checks();
}

#[test]
fn s08_a_file_that_is_deleted_costs_no_row() {
    let mut setup = Setup::new(shared_cluster(), "journal_deleted");
    setup.starts();
    setup.program.records(2);
    // Rows wait in it, and go on to do so.
    setup.server_goes();
    setup.program.records(2);
    delete_journal(&setup.program);
    setup.program.records(2);
    setup.proxy.heal();
    fresh_row(&mut setup.client);

    // They must not be lost with the process either, if that ends well.
    setup.server_goes();
    setup.program.records(2);
    if is_full() {
        setup.ends_after_the_rows_are_in_the_file();
    } else {
        setup.program.stop();
    }
    setup.checks_in_the_next_run();
    setup.checks();
}

fn delete_journal(program: &Program) {
    for suffix in ["", "-wal", "-shm"] {
        fs::remove_file(program.home().path(&format!("journal.sqlite{suffix}"))).unwrap();
    }
}

/// What people, and their tools, do to a file of which they don't think that it is in use.
type Change = (&'static str, fn(&Path));

const CHANGES: [Change; 5] = [
    ("deleted, and its log left", |path| fs::remove_file(path).unwrap()),
    ("renamed", |path| fs::rename(path, path.with_extension("renamed")).unwrap()),
    ("replaced by a copy of itself", |path| {
        let copy = path.with_extension("copy");
        fs::copy(path, &copy).unwrap();
        fs::rename(copy, path).unwrap();
    }),
    ("put back", |path| fs::rename(path.with_extension("renamed"), path).unwrap()),
    // SQLite makes an empty file then, and removes the log.
    ("deleted, and asked for", |path| {
        fs::remove_file(path).unwrap();
        let somebody = rusqlite::Connection::open(path).unwrap();
        somebody.query_row("SELECT count(*) FROM sqlite_schema", (), |_| Ok(())).unwrap();
    }),
];

const REPLACED: &str = "was deleted or replaced while in use";

#[test]
fn s08_a_file_that_is_replaced_costs_no_row_and_doubles_none() {
    let mut setup = Setup::new(shared_cluster(), "journal_replaced");
    setup.starts();
    setup.program.records(2);
    setup.server_goes();
    for (what, change) in CHANGES {
        println!("journal: {what}");
        setup.program.records(2);
        change(&setup.program.home().path("journal.sqlite"));
        // It is noticed at the next row, so that this process may be killed.
        setup.program.listener().wait_for(REPLACED);
        setup.program.records(2);
    }
    setup.program.kill();
    setup.checks_in_the_next_run();
    setup.checks();
}

#[test]
fn s08_a_disk_that_is_taken_away_and_put_back_costs_no_row_and_doubles_none() {
    let mut setup = Setup::new(shared_cluster(), "journal_unmounted");
    let other = Home::new();
    let bind = ["--bind", other.directory().to_str().unwrap()];
    let disk = Disk::mount(setup.program.home(), &bind);
    setup.starts();
    setup.server_goes();
    setup.program.records(2);
    // The program has its files open, so that this is a lazy unmount.
    drop(disk);
    setup.program.listener().wait_for(REPLACED);
    setup.program.records(2);
    let disk = Disk::mount(setup.program.home(), &bind);
    setup.program.listener().wait_for(REPLACED);
    setup.program.records(2);
    setup.program.kill();
    setup.checks_in_the_next_run();
    drop(disk);
    setup.checks();
}

#[test]
fn s08_a_database_that_is_replaced_has_every_row_once() {
    let battery = talking_battery(1);
    let home = Home::new();
    let (state, database) = (home.path("state"), home.path("state/database"));
    let (address, url) = (named("no0", battery.local_addr()), home.sqlite("state/database"));
    let mut listener = home.listen(&["-i", "1", "-b", &address, "-d", &url]);
    let move_to_another_disk: fn(&Path) = |path| {
        let state = path.parent().unwrap();
        let disk = state.with_extension("disk");
        fs::create_dir(&disk).unwrap();
        for file in fs::read_dir(state).unwrap().map(Result::unwrap) {
            fs::copy(file.path(), disk.join(file.file_name())).unwrap();
        }
        fs::rename(state, state.with_extension("before")).unwrap();
        symlink(disk, state).unwrap();
    };
    for (what, change) in CHANGES.into_iter().chain([("moved", move_to_another_disk)]) {
        println!("database: {what}");
        listener.wait_for(": stored ");
        listener.wait_for(": stored ");
        change(&database);
        listener.wait_for(REPLACED);
        listener.wait_for(": stored ");
    }
    let log = listener.end(Signal::SIGKILL).log;
    let stored: BTreeSet<_> = stored(&log, "no0").into_iter().collect();
    let found: BTreeSet<_> = sqlite_rows(&database).into_keys().map(|(stamp, _)| stamp).collect();
    // A row may have been stored before it could be said.
    assert!(stored.is_subset(&found), "{stored:?}\n{found:?}\n{}", log.join("\n"));
    assert!(found.len() <= stored.len() + 1, "{stored:?}\n{found:?}\n{}", log.join("\n"));
    assert!(state.is_symlink());
}

const ROWS: u32 = 300;
const DELIVERED: usize = 100;

/// A journal's page, and what a row takes of one at least.
const PAGE_BYTES: usize = 512;
const LEAST_ROW: usize = 200;

/// How many damaged journals are tried at the same time.
const TOGETHER: usize = 4;

type Key = (String, i64);

/// A journal's file, and the log of one whose program was killed.
struct Original {
    file: Vec<u8>,
    log: Vec<u8>,
}

/// A journal with `rows`, of which some were delivered; `killed` ones have a part of them in the
/// log.
fn original(rows: &[PackRecord], killed: bool) -> Original {
    let home = Home::new();
    let path = home.path("journal.sqlite");
    let (early, late) = rows.split_at(rows.len() / 2);
    let mut journal = None;
    for rows in [early, late] {
        drop(journal.take());
        let mut opened = Journal::open(&path, Retention::default()).unwrap();
        for row in rows {
            opened.append(std::slice::from_ref(row)).unwrap();
        }
        journal = Some(opened);
    }
    let mut outbox = journal.as_ref().unwrap().outbox().unwrap();
    let delivered = outbox.undelivered(DELIVERED).unwrap();
    outbox.delivered(delivered.last).unwrap();
    outbox.flush().unwrap();
    if !killed {
        drop((outbox, journal));
    }
    let log = fs::read(home.path("journal.sqlite-wal")).unwrap_or_default();
    Original { file: fs::read(&path).unwrap(), log }
}

/// What was done to a journal.
struct Damage {
    what: String,
    /// Rows that it may cost, and rows that it may change: SQLite has no checksums in its file.
    most: usize,
    /// Whether a loss must show. A torn log is what a power failure leaves.
    must_show: bool,
}

/// Damages the file, or the log if there is one, somewhere.
fn damage(Original { file, log }: &mut Original, random: &mut Rng) -> Damage {
    // A page has two rows at most, and a bad one in the log costs the one after it besides.
    let (name, bytes, page) = if log.is_empty() { ("file", file, 2) } else { ("log", log, 4) };
    let at = random.usize(0..bytes.len());
    let (how, most) = match random.u8(0..4) {
        0 => {
            let gone = bytes.len() - at;
            bytes.truncate(at);
            ("cut", gone / LEAST_ROW + 2)
        }
        1 => {
            let end = bytes.len().min(at + PAGE_BYTES);
            bytes[at..end].fill(0);
            ("cleared", page * 2)
        }
        _ => {
            bytes[at] ^= 1 << random.u8(0..8);
            ("flipped", page)
        }
    };
    Damage { what: format!("{name} {how} at {at}"), most, must_show: name != "log" }
}

/// Damages the file where that shows only when its rows are read.
fn damage_late(Original { file, .. }: &mut Original) -> Damage {
    let at = file.len() * 3 / 4;
    file[at..at + PAGE_BYTES].fill(0);
    Damage { what: format!("file cleared late at {at}"), most: 4, must_show: true }
}

/// The program starts with a damaged journal, and goes on as ever.
fn goes_on(
    cluster: &Cluster,
    batteries: &Batteries,
    database: &str,
    journal: &Original,
) -> Program {
    cluster.create_database(database);
    let mut client = cluster.client(database);
    prepare(&mut client);
    let mut program = Program::new(batteries, &cluster.url(database));
    fs::write(program.home().path("journal.sqlite"), &journal.file).unwrap();
    fs::write(program.home().path("journal.sqlite-wal"), &journal.log).unwrap();
    // As whoever had it before has left it.
    fs::write(program.home().path("journal.sqlite.lock"), "1\n").unwrap();
    program.launch();
    program.wait_until_connected();
    program.records(1);
    if is_full() {
        // Damage that shows late is mended when the journal is looked after, once a minute.
        fresh_row(&mut client);
    }
    program.stop_with_nothing_left();
    program
}

/// Checks that the damage has cost no more than it may, and was reported.
fn cost_what_was_damaged(found: &Rows, rows: &[PackRecord], program: &Program, damage: &Damage) {
    let Damage { what, most, must_show } = damage;
    let originals: Vec<_> = rows.iter().map(key_and_cells).collect();
    let is_whole = |(key, cells): &&(Key, Row)| found.get(key) == Some(cells);
    let missing =
        originals[DELIVERED..].len() - originals[DELIVERED..].iter().filter(is_whole).count();
    let whole = originals.iter().filter(is_whole).count();
    let changed = found.len() - whole;
    let log = program.log().join("\n");
    assert!(missing <= *most && changed <= *most, "{what}: {missing} lost, {changed} else\n{log}");
    let files = fs::read_dir(program.home().path("")).unwrap().flatten();
    let aside =
        files.filter(|file| file.file_name().to_string_lossy().contains(".damaged-")).count();
    let recoveries = count(&program.log(), " was damaged: ");
    assert_eq!(recoveries, usize::from(aside > 0), "{what}\n{log}");
    let lines = program.log().len() - count(&program.log(), ": stored ");
    let starts = count(&program.log(), " every 1 s into ");
    assert!(lines < 15 * starts, "{what}\n{log}");
    assert!(!log.contains("Does another listener"), "{what}\n{log}");
    assert!(missing <= changed || aside > 0 || !must_show, "{what}: {missing} lost\n{log}");
    println!("journal: {what}: {missing} lost, {changed} changed, {aside} files aside");
}

fn key_and_cells(record: &PackRecord) -> (Key, Row) {
    let cell = |value| match value {
        None => Cell::Null,
        Some(Value::SmallInt(number)) => Cell::Int(number.into()),
        Some(Value::BigInt(number)) => Cell::Int(number),
        Some(Value::Real(number)) => Cell::Real(number),
        Some(Value::Text(text)) => Cell::Text(text.to_owned()),
        Some(Value::Timestamp(_)) => unreachable!("that is the key"),
    };
    let columns =
        COLUMNS.iter().filter(|column| !["insert_time_utc", "mcu_id"].contains(&column.name));
    let cells = columns.map(|column| (column.name.to_owned(), cell(column.get(record)))).collect();
    ((stamp(record.insert_time_utc), record.mcu_id.into()), cells)
}

#[test]
fn s15_a_damaged_file_costs_what_was_damaged() {
    let cluster = shared_cluster();
    let batteries = Batteries::start(1);
    let start = UtcDateTime::now().replace_nanosecond(0).unwrap() - time::Duration::DAY;
    let rows: Vec<PackRecord> = (0..ROWS).map(|n| row(start, n)).collect();
    let mut random = Rng::with_seed(2);
    let mut runs = vec![];
    for round in 0..rounds(2, 16) {
        let damaged: Vec<_> = (0..TOGETHER)
            .map(|n| {
                let late = n == 0;
                let mut journal = original(&rows, !late && random.bool());
                let damage = if late {
                    damage_late(&mut journal)
                } else {
                    damage(&mut journal, &mut random)
                };
                (format!("damaged_{round}_{n}"), journal, damage)
            })
            .collect();
        thread::scope(|scope| {
            let started: Vec<_> = damaged
                .iter()
                .map(|(database, journal, _)| {
                    scope.spawn(|| goes_on(cluster, &batteries, database, journal))
                })
                .collect();
            for (running, (database, _, damage)) in started.into_iter().zip(&damaged) {
                let program = running.join().unwrap_or_else(|_| panic!("{}", damage.what));
                let mut client = cluster.client(database);
                let ours = i64::from(mcu_id(0));
                let mut found = undoubled_rows(&mut client);
                found.retain(|(_, id), _| *id != ours);
                cost_what_was_damaged(&found, &rows, &program, damage);
                client.execute("DELETE FROM battery_pack WHERE mcu_id <> $1", &[&ours]).unwrap();
                runs.push((client, program));
            }
        });
    }
    let sent = batteries.end();
    for (mut client, program) in runs {
        check_without_journal(&mut client, &sent, &program);
    }
}

/// A file system that takes no writes, and lets those who write wait, until dropped.
struct FrozenDisk<'a>(&'a Disk);

impl<'a> FrozenDisk<'a> {
    fn freeze(disk: &'a Disk) -> Self {
        run(as_root("fsfreeze").arg("--freeze").arg(&disk.0));
        Self(disk)
    }
}

impl Drop for FrozenDisk<'_> {
    fn drop(&mut self) {
        _ = as_root("fsfreeze").arg("--unfreeze").arg(&self.0.0).status();
    }
}

#[test]
fn s08_a_disk_that_hangs_is_reported_and_costs_no_row() {
    let mut setup = Setup::new(shared_cluster(), "journal_hangs");
    let (_image, disk) = ext4(setup.program.home());
    let address = SocketAddr::from(([127, 0, 0, 1], 0)).to_string();
    setup.program = setup.program.with(["--http".to_owned(), address]);
    setup.starts();
    setup.program.records(2);

    let frozen = FrozenDisk::freeze(&disk);
    let said = setup.program.listener().wait_for("has not answered for");
    assert!(said.contains("rows are in memory only ("), "{said}");
    let page = setup.program.listener().log().iter().find(|line| line.contains("page at "));
    let page = page.unwrap().rsplit("http://").next().unwrap().trim_matches('/').parse().unwrap();
    let health = get(page, "/healthz");
    assert_eq!(health.status, 503);
    assert!(health.body.contains("has not answered for"), "{}", health.body);
    drop(frozen);
    setup.program.listener().wait_for("answers again");
    fresh_row(&mut setup.client);
    setup.program.stop();
    drop(disk);
    setup.checks();
}

#[test]
fn s08_a_program_that_ends_while_the_disk_hangs_says_what_is_lost() {
    let battery = talking_battery(1);
    let home = Home::new();
    let (_image, disk) = ext4(&home);
    let address = named("no0", battery.local_addr());
    let mut listener = home.listen(&["-i", "1", "-b", &address, "-d", &home.sqlite("database")]);
    listener.wait_for(": stored ");
    let frozen = FrozenDisk::freeze(&disk);
    listener.wait_for("rows are in memory only");
    listener.signal(Signal::SIGTERM);
    let said = listener.wait_for("not stored yet, and lost with the program");
    drop(frozen);
    assert!(!said.contains(" 0 rows"), "{said}");
    assert_eq!(listener.ended().status.code(), Some(1));
}

/// What a recovery reads of a file in which it finds nothing takes long enough to be killed in it.
const LONG_RECOVERY: u64 = 64 << 30;

#[test]
fn s15_a_program_that_ends_during_a_recovery_loses_no_row_and_doubles_none() {
    let start = UtcDateTime::now().replace_nanosecond(0).unwrap() - time::Duration::DAY;
    let rows: Vec<PackRecord> = (0..ROWS).map(|n| row(start, n)).collect();
    let mut journal = original(&rows, false);
    let length = journal.file.len() as u64;
    journal.file[..16].fill(0);
    let mut setup = Setup::new(shared_cluster(), "recovery_killed");
    let path = setup.program.home().path("journal.sqlite");
    fs::write(&path, &journal.file).unwrap();
    fs::write(setup.program.home().path("journal.sqlite.lock"), "1\n").unwrap();
    let change_length = |length| {
        File::options().write(true).open(&path).unwrap().set_len(length).unwrap();
    };
    change_length(LONG_RECOVERY);

    // While the server takes rows, and while it doesn't.
    setup.starts();
    setup.program.listener().wait_for("journal.sqlite.stand-in");
    setup.program.records(1);
    fresh_row(&mut setup.client);
    setup.program.kill();
    setup.server_goes();
    setup.starts();
    setup.program.records(2);
    setup.program.kill();
    setup.starts();
    setup.program.records(2);
    setup.program.stop();
    let log = setup.log();
    assert_eq!(count(&setup.program.log(), " was damaged: "), 0, "{log}");
    assert_eq!(count(&setup.program.log(), "is still being recovered"), 1, "{log}");
    assert_eq!(count(&setup.program.log(), "in memory only"), 0, "{log}");

    change_length(length);
    setup.starts();
    setup.program.listener().wait_for(" was damaged: ");
    setup.proxy.heal();
    fresh_row(&mut setup.client);
    setup.program.stop();
    let files = fs::read_dir(setup.program.home().path("")).unwrap().flatten();
    let names: Vec<_> = files.map(|file| file.file_name().into_string().unwrap()).collect();
    assert!(!names.iter().any(|name| name.contains(".stand-in")), "{names:?}");

    let ours = i64::from(mcu_id(0));
    let mut found = undoubled_rows(&mut setup.client);
    found.retain(|(_, id), _| *id != ours);
    let missing: Vec<_> = rows[DELIVERED..]
        .iter()
        .map(key_and_cells)
        .filter(|(key, row)| found.get(key) != Some(row))
        .collect();
    assert!(missing.is_empty(), "{missing:?}\n{}", setup.log());
    setup.client.execute("DELETE FROM battery_pack WHERE mcu_id <> $1", &[&ours]).unwrap();
    setup.checks();
}
