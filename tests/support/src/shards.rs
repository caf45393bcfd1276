use std::fs;

use postgres::Client;

use crate::{Cluster, TIME_LIMIT, documented_sql, wait_until};

/// The name of the database on each server, and of the user that the sink connects as.
const NAME: &str = "homeauto";

/// A database whose table `battery_pack` lies on two other servers, as docs/scaling.md describes
/// it.
pub struct Shards {
    /// The server that the sink connects to.
    pub coordinator: Cluster,
    /// The servers that have the rows.
    pub shards: [Cluster; 2],
}

impl Shards {
    /// Starts three servers; `schema` creates the table and its index.
    ///
    /// # Panics
    /// Where PostgreSQL isn't installed or doesn't start.
    pub fn start(schema: &str) -> Self {
        // Their logs show what they are asked.
        let shards = [(); 2].map(|()| Cluster::start_with(&[("log_statement", "all")]));
        for shard in &shards {
            create_database(shard, schema);
            execute(shard, &documented_sql("Shards")[0]);
            ask_for_passwords(shard);
        }
        let coordinator = start_coordinator(&shards, schema);
        Self { coordinator, shards }
    }

    /// Starts a further coordinator of the same shards.
    ///
    /// # Panics
    /// As [`start`](Self::start) does.
    pub fn second_coordinator(&self, schema: &str) -> Cluster {
        start_coordinator(&self.shards, schema)
    }

    /// Conninfo string of the database of a coordinator or shard, as the user of the sink.
    pub fn conninfo(cluster: &Cluster) -> String {
        cluster.conninfo(NAME).replace("user=postgres", "user=homeauto")
    }

    /// A connection to the database of a coordinator or shard, as the superuser.
    ///
    /// # Panics
    /// Where the server is away.
    pub fn superuser(cluster: &Cluster) -> Client {
        cluster.client(NAME)
    }
}

fn start_coordinator(shards: &[Cluster; 2], schema: &str) -> Cluster {
    let coordinator = Cluster::start();
    create_database(&coordinator, schema);
    let mut sql = documented_sql("Shards")[1].clone();
    for (number, shard) in shards.iter().enumerate() {
        let documented = format!("host 'db{number}.example'");
        assert!(sql.contains(&documented), "no {documented} in {sql}");
        let host = format!("host '{}', port '{}'", shard.socket_dir().display(), shard.port());
        sql = sql.replace(&documented, &host);
    }
    execute(&coordinator, &sql);
    coordinator
}

fn create_database(cluster: &Cluster, schema: &str) {
    cluster.create_database(NAME);
    execute(cluster, schema);
}

fn execute(cluster: &Cluster, sql: &str) {
    cluster.client(NAME).batch_execute(sql).unwrap_or_else(|e| panic!("{sql}: {e:?}"));
}

/// Makes the server ask `homeauto` for a password, which `postgres_fdw` insists on for users that
/// are no superusers.
fn ask_for_passwords(shard: &Cluster) {
    let rules = shard.data_dir().join("pg_hba.conf");
    let others = fs::read_to_string(&rules).expect("initdb has written a pg_hba.conf");
    let rule = format!("local all {NAME} scram-sha-256\n");
    fs::write(&rules, rule + &others).expect("the temporary directory is writable");
    execute(shard, "SELECT pg_reload_conf()");
    wait_until("the server asks for passwords", TIME_LIMIT, || !shard.lets_in(NAME, NAME));
}
