use std::{
    fs,
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use postgres::{Client, NoTls};

use crate::{
    Cleanup, Cluster, ReservedPort, SUPERUSER, TIME_LIMIT,
    programs::{Programs, program},
    wait_until,
};

/// A PgBouncer before a [`Cluster`], gone when the value is dropped or the process dies.
///
/// It listens on a free TCP port of 127.0.0.1 and asks for no password.
pub struct PgBouncer {
    port: ReservedPort,
    ini: PathBuf,
    child: Child,
    _cleanup: Cleanup,
}

impl PgBouncer {
    /// Starts a pooler with `sessions` sessions of the server for each database and user.
    /// `settings` are lines of its `pgbouncer.ini`: `pool_mode = transaction`, say. It lets the
    /// superuser and `homeauto` in.
    ///
    /// # Panics
    /// Where PgBouncer isn't installed or doesn't start.
    pub fn start(cluster: &Cluster, sessions: u32, settings: &str) -> Self {
        let programs = Programs::find();
        let directory = tempfile::Builder::new().prefix("bluenova-pgbouncer").tempdir_in("/tmp");
        let directory = directory.expect("/tmp is writable").keep();
        programs.give(&directory);
        let port = ReservedPort::new();
        let (server, server_port) = (cluster.socket_dir().display(), cluster.port());
        let ini = directory.join("pgbouncer.ini");
        let users = directory.join("users");
        fs::write(&users, format!("\"{SUPERUSER}\" \"\"\n\"homeauto\" \"\"\n"))
            .expect("the temporary directory is writable");
        let config = format!(
            "[databases]\n* = host={server} port={server_port}\n[pgbouncer]\n\
             listen_addr = 127.0.0.1\nlisten_port = {}\nunix_socket_dir =\n\
             auth_type = trust\nauth_file = {}\nadmin_users = {SUPERUSER}\n\
             default_pool_size = {sessions}\n{settings}\n",
            port.number(),
            users.display()
        );
        fs::write(&ini, config).expect("the temporary directory is writable");
        let mut command = programs.as_user(Command::new(program("pgbouncer")));
        command.arg(&ini).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap_or_else(|e| panic!("can't run {command:?}: {e}"));
        let pid = child.id().to_string();
        let cleanup = Cleanup::new(STOP_AND_REMOVE, &[directory.as_os_str(), pid.as_ref()]);
        wait_until("PgBouncer answers", TIME_LIMIT, || TcpStream::connect(port.address()).is_ok());
        Self { port, ini, child, _cleanup: cleanup }
    }

    /// URL of a database, by way of the pooler, as the superuser.
    pub fn url(&self, database: &str) -> String {
        let address = self.port.address();
        format!("postgresql://{SUPERUSER}@{address}/{database}?sslmode=disable")
    }

    /// Number of clients that are connected to `database`.
    ///
    /// # Panics
    /// Where the pooler doesn't answer.
    pub fn clients(&self, database: &str) -> usize {
        let mut console =
            Client::connect(&self.url("pgbouncer"), NoTls).expect("the pooler's console answers");
        let messages = console.simple_query("SHOW CLIENTS").expect("it lists its clients");
        let is_of_it = |message: &&postgres::SimpleQueryMessage| {
            matches!(message, postgres::SimpleQueryMessage::Row(row)
                if row.get("database") == Some(database))
        };
        messages.iter().filter(is_of_it).count()
    }
}

/// Kills the process `$2` and removes the directory `$1`. Once the process was waited for, its
/// number may be another's; then the file is gone.
const STOP_AND_REMOVE: &str = r#"
    if [ -e "$1/pgbouncer.ini" ]; then
        kill -KILL "$2"
    fi
    rm -rf "$1"
"#;

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = fs::remove_file(&self.ini);
        let _ = self.child.wait();
    }
}
