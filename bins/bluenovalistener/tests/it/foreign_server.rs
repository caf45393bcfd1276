//! The program against a WebSocket server that is not ours: `websockets` from PyPI.

use std::{
    env,
    io::Write,
    process::{ChildStdin, Command, Stdio},
};

use crate::{
    rows::{Cell, number, row, same_row, sqlite_rows, volts},
    support::{Home, Listener, named, stored},
};

struct ForeignServer {
    process: Listener,
    input: ChildStdin,
    address: String,
    _home: Home,
}

impl ForeignServer {
    fn start(compression: &str) -> Self {
        let python = env::var_os("BLUENOVA_PYTHON").expect(
            "this test needs a Python that has `websockets`, named in BLUENOVA_PYTHON; `./test` \
             makes one and runs this",
        );
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/foreign_server.py");
        let mut command = Command::new(python);
        let home = Home::new();
        command.args(["-u", script, compression]).stdin(Stdio::piped());
        // So that it ends with us, however we do.
        command.env("HOME", home.directory());
        let mut process = Listener::start(command);
        let input = process.input();
        let port = process.wait_for("listening ").replace("listening ", "127.0.0.1:");
        Self { process, input, address: port, _home: home }
    }

    fn says(&mut self, commands: &str) {
        self.input.write_all(commands.as_bytes()).unwrap();
        self.input.flush().unwrap();
    }
}

fn check(compression: &str) {
    let mut server = ForeignServer::start(compression);
    let home = Home::new();
    let (at, database) = (named("attic", &server.address), home.sqlite("db"));
    let mut listener = home.listen(&["-b", &at, "-d", &database, "-i", "86400", "-r"]);
    let request = format!("request /ws/ {0} http://{0}", server.address);
    assert_eq!(server.process.wait_for("request "), request);

    server.says(concat!(
        "text MCU ID: 9F3C07B2\\r\\n\n",
        "text --- PO PARAMS --- (i=3, and more)\n",
        "text after assignRank() --> own rank = 2\\r\\n\n",
        "text C07) T: -21, V: 3311.5\n",
        "ping\n",
        "fragments Vpa|ck: 5301|7\\r\\nCurr|ent: -41.75\n",
        "binary Temp: 24\\r\\nSOC: 63\\r\\n\n",
        "text Errors: \"\\xe4\\x00\"\n",
        "text DEBUG: ADC[2]: 2002 = 1613.5\n",
        "text INFO: BAD CRC\n",
        "text \n",
    ));
    server.process.wait_for("pong");
    // The server says good-bye in the middle of the interval. Energies go with the connection.
    server.says("close\n");
    listener.wait_for("attic: connection lost");
    server.process.wait_for("closed 1001");
    assert_eq!(server.process.wait_for("request "), request);
    server.says(concat!(
        "text MCU ID: 9F3C07B2\n",
        "text SOC: 64\n",
        "text INFO: BAD CRC\n",
        "text DEBUG: CALC PACK_CHARGE, STORE IN FLASH\n",
        "text Write EnergyOut: 812.5\n",
        "text Write EnergyOut: 900.25\n",
        "text that was all\n",
    ));
    listener.wait_for("attic: RX: that was all");
    let ended = listener.stop();
    server.process.wait_for("closed 1000");
    let said = server.process.log();
    assert!(!said.iter().any(|line| line.starts_with("message")), "{said:?}");

    let rows = sqlite_rows(&home.path("db"));
    let [(stamp, mcu_id)] = rows.keys().collect::<Vec<_>>()[..] else { panic!("{rows:?}") };
    assert_eq!(*mcu_id, 0x9F3C_07B2);
    assert_eq!(stored(&ended.log, "attic"), [stamp.as_str()]);
    let expected = row(&[
        ("n_units", Cell::Int(3)),
        ("unit_rank", Cell::Int(2)),
        ("cell_07_t", Cell::Int(-21)),
        ("cell_07_v", volts(3311.5)),
        ("v_pack", volts(53017)),
        ("i_pack", number(-41.75)),
        ("temp", Cell::Int(24)),
        ("soc", Cell::Int(64)),
        ("errors", Cell::Text("ä".to_owned())),
        ("adc_2", volts(1613.5)),
        ("bad_crc", Cell::Int(2)),
        ("energy_out", number(812.5)),
        ("energy_in", number(900.25)),
    ]);
    same_row(stamp, rows.values().next().unwrap(), &expected);
}

#[test]
fn a_server_that_would_compress() {
    check("deflate");
}

#[test]
fn a_server_that_does_not_compress() {
    check("none");
}
