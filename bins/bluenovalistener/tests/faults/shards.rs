//! Scenario 23: the rows are on two other servers, as docs/scaling.md makes it, and one of the
//! three, or the program, is killed.

use std::time::Duration;

use bluenova_test_support::{Cluster, Shards, TIME_LIMIT, wait_until};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use postgres::{Client, NoTls};

use crate::{
    oracle::{Batteries, Program, fresh_row},
    rounds, seconds,
    server::{backend, kill_at_random_moments, recovers},
};

fn start() -> Shards {
    Shards::start(&bluenova_postgres::schema())
}

fn kill_9(pid: u32) {
    kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL).unwrap();
}

/// A connection, as soon as there is one to be had.
fn connect(coordinator: &Cluster) -> Client {
    let mut client = None;
    wait_until("the coordinator is back", TIME_LIMIT, || {
        client = Client::connect(&Shards::conninfo(coordinator), NoTls).ok();
        client.is_some()
    });
    client.unwrap()
}

/// The end of a scenario: a fresh row comes, and all others are there.
#[track_caller]
fn all_is_well(shards: &Shards, batteries: Batteries, program: Program) {
    recovers(&mut connect(&shards.coordinator), batteries, program);
    for shard in &shards.shards {
        let sql = "SELECT count(*) FROM battery_pack";
        let rows: i64 = Shards::superuser(shard).query_one(sql, &[]).unwrap().get(0);
        assert!(rows > 0, "a shard has no rows");
    }
}

/// As many as it takes for each shard to have the rows of one.
const BATTERIES: usize = 6;

#[test]
fn s23_kill_9_of_the_program() {
    let shards = start();
    let batteries = Batteries::start(BATTERIES);
    let mut program = Program::new(&batteries, &Shards::conninfo(&shards.coordinator));
    kill_at_random_moments(&mut program, rounds(5, 100), 23);
    all_is_well(&shards, batteries, program);
}

#[test]
fn s23_kill_9_of_a_shard() {
    let mut shards = start();
    let batteries = Batteries::start(BATTERIES);
    let mut program = Program::start(&batteries, &Shards::conninfo(&shards.coordinator));
    let mut random = fastrand::Rng::with_seed(23);
    for round in 0..rounds(3, 30) {
        fresh_row(&mut connect(&shards.coordinator));
        program.runs_for(Duration::from_millis(random.u64(0..1000)));
        let shard = &mut shards.shards[round % 2];
        kill_9(shard.postmaster_pid().unwrap());
        program.runs_for(seconds(1, 20));
        shard.start_again();
    }
    all_is_well(&shards, batteries, program);
}

/// The coordinator's lock goes with its session, while the shards still commit.
#[test]
fn s23_kill_9_of_the_coordinators_session_in_a_slow_commit() {
    let shards = start();
    for shard in &shards.shards {
        Shards::superuser(shard)
            .batch_execute(
                "CREATE FUNCTION take_time() RETURNS trigger LANGUAGE plpgsql AS $$
                 BEGIN
                     -- Once per transaction, however many rows it has.
                     IF current_setting('test.slow', true) IS DISTINCT FROM txid_current()::text
                     THEN
                         PERFORM set_config('test.slow', txid_current()::text, true);
                         PERFORM pg_sleep(3);
                     END IF;
                     RETURN NULL;
                 END $$;
                 CREATE CONSTRAINT TRIGGER take_time AFTER INSERT ON battery_pack
                 DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE PROCEDURE take_time()",
            )
            .unwrap();
    }
    let batteries = Batteries::start(BATTERIES);
    let mut program = Program::start(&batteries, &Shards::conninfo(&shards.coordinator));
    for _ in 0..rounds(2, 30) {
        let mut client = connect(&shards.coordinator);
        fresh_row(&mut client);
        let session = backend(&mut client, "COMMIT");
        kill_9(session.cast_unsigned());
        // The server takes it for a crash, and ends all sessions.
        wait_until("our session ends", TIME_LIMIT, || client.batch_execute("").is_err());
        program.listener().wait_for("delivering after");
    }
    for shard in &shards.shards {
        let sql = "DROP TRIGGER take_time ON battery_pack";
        Shards::superuser(shard).batch_execute(sql).unwrap();
    }
    all_is_well(&shards, batteries, program);
}
