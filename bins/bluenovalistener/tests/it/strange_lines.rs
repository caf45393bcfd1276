//! What a noisy line, a strange firmware or a bad person may send, and the row that comes of it.

use bluenova_simulator::{Control, Fault, Message, Pace};
use bluenova_test_support::wait_until;

use crate::{
    rows::{Cell, Row, number, postgres_rows, row, same_row},
    support::{
        Home, TIME_LIMIT, battery, count, loopback, named, obedient_battery, shared_cluster,
        young_second,
    },
};

/// What one battery sends in an interval, and the columns that are not NULL (or 0) then.
struct Case {
    name: &'static str,
    messages: Vec<Message>,
    columns: Vec<(&'static str, Cell)>,
}

fn case(
    name: &'static str,
    messages: impl IntoIterator<Item = Message>,
    columns: impl IntoIterator<Item = (&'static str, Cell)>,
) -> Case {
    Case { name, messages: messages.into_iter().collect(), columns: columns.into_iter().collect() }
}

fn line(bytes: impl AsRef<[u8]>) -> Message {
    Message::Text(bytes.as_ref().to_vec())
}

fn pieces(pieces: &[&[u8]]) -> Message {
    Message::Fragments(pieces.iter().map(|piece| piece.to_vec()).collect())
}

fn word(text: &str) -> Cell {
    Cell::Text(text.to_owned())
}

fn cases() -> Vec<Case> {
    use Cell::Int;
    vec![
        case(
            "line ends",
            [line("SOC: 63\r\n"), line("System_State: NORMAL\r\n"), line("Breaker: CLOSED\n")],
            [("soc", Int(63)), ("system_state", word("NORMAL")), ("breaker", word("CLOSED"))],
        ),
        case(
            "several lines in one message",
            [line("SOC: 63\r\nSOH: 97.25\nnoise\r\n\r\nTemp: 24"), line("")],
            [("soc", Int(63)), ("health", number(97.25)), ("temp", Int(24))],
        ),
        case(
            "binary messages",
            [Message::Binary(b"Current: -41.75\r\n".into())],
            [("i_pack", number(-41.75))],
        ),
        case(
            "fragments",
            [
                pieces(&[b"Vpa", b"ck: 53", b"", b"017\r\nSO", b"C: 7"]),
                pieces(&[b"Errors: \"\xC3", b"\xA4\""]),
            ],
            [("v_pack", number(53.017)), ("soc", Int(7)), ("errors", word("ä"))],
        ),
        case(
            "the end of a message is the end of a line",
            [line("Vp_adc: 52"), line("996"), Message::Ping(b"?".into()), line("Vc_min: 3293.5")],
            [("adc_vp", number(0.052)), ("v_cell_min", number(3.2935))],
        ),
        case(
            "no UTF-8",
            [line(b"Errors: \"A\xFFB\""), line(b"System_State: \xF0\x9F\x94"), line(b"\x80\xFE")],
            [("errors", word("A\u{FFFD}B")), ("system_state", word("\u{FFFD}"))],
        ),
        case(
            "NUL and control characters",
            [
                line(b"Errors: \"A\0B\""),
                line(b"Breaker: \x1B[2JOPEN\x1B[0m\x07"),
                line(b"SOC: 63\0"),
                line(b"Vpack: 53017\x1B[0m"),
                line(b"\0SOC: 1"),
            ],
            [
                ("errors", word("AB")),
                ("breaker", word("\x1B[2JOPEN")),
                ("soc", Int(63)),
                ("v_pack", number(53.017)),
            ],
        ),
        case(
            "quotes and SQL",
            [
                line("Errors: \"x'); DROP TABLE battery_pack; --\""),
                line("System_State: ');DELETE FROM battery_pack;--"),
                line("Charge State: O'Neill\\' (3)"),
            ],
            [
                ("errors", word("x'); DROP TABLE battery_pack; --")),
                ("system_state", word("');DELETE FROM battery_pack;--")),
                ("charge_state", word("O'Neill\\'")),
            ],
        ),
        case(
            "long texts are cut at characters",
            [
                line(format!("Errors: \"{}\"", "ä".repeat(40))),
                line(format!("Charge State: {} (3)", "🔋".repeat(20))),
            ],
            [("errors", word(&"ä".repeat(32))), ("charge_state", word(&"🔋".repeat(16)))],
        ),
        case(
            "numbers out of range",
            [
                line("Temp: 99999"),
                line("SOC: -32768"),
                line("CellCount: 32768"),
                line("C04) T: 99999, V: 3300"),
                line("C05) T: 20, V: ??"),
                line("Vpack: 99999999999999999999999999999999999999999999"),
                line("MCU ID: 1FFFFFFFF"),
            ],
            [("soc", Int(-32768)), ("cell_04_v", number(3.3)), ("cell_05_t", Int(20))],
        ),
        case(
            "temperatures below zero",
            [line("Temp: -1"), line("C03) T: -20, V: 3311"), line("C16) T: -1, V: 3293.25")],
            [
                ("temp", Int(-1)),
                ("cell_03_t", Int(-20)),
                ("cell_03_v", number(3.311)),
                ("cell_16_t", Int(-1)),
                ("cell_16_v", number(3.29325)),
            ],
        ),
        case(
            "what is no number",
            [line("SOC: ??"), line("SOH: "), line("Current:"), line("Vpack: -"), line("Temp: 3")],
            [("temp", Int(3))],
        ),
        case(
            "exponents",
            [line("Current: -4.175e+01"), line("SOH: 1e2 %"), line("SOC: 6e1"), line("Temp: 3")],
            [("i_pack", number(-41.75)), ("health", number(100.0)), ("temp", Int(3))],
        ),
        case(
            "noise that looks alike",
            [
                line(" SOC: 1"),
                line("soc: 1"),
                line("SOC 1"),
                line("XSOC: 1"),
                line("C00) T: 1, V: 1"),
                line("C17) T: 1, V: 1"),
                line("DEBUG: ADC[5]: 1 = 1"),
                line("INFO: bad crc"),
                line("Temp: 4 C"),
            ],
            [("temp", Int(4))],
        ),
        case(
            "the latest counts, units don't",
            [line("SOC: 1"), line("SOC: 2 %"), line("DEBUG: ADC[2]: 2002 = 1613.5 mV, fine")],
            [("soc", Int(2)), ("adc_2", number(1.6135))],
        ),
        case(
            "energies",
            [
                line("Write EnergyOut: 1"),
                line("DEBUG: CALC PACK_CHARGE, STORE IN FLASH"),
                line("Write EnergyOut: 812.5"),
                line("Write EnergyOut: 900.25"),
                line("Write EnergyOut: 3"),
            ],
            [("energy_out", number(812.5)), ("energy_in", number(900.25))],
        ),
    ]
}

#[test]
fn strange_lines_cost_at_most_their_field() {
    let cluster = shared_cluster();
    cluster.create_database("strange_lines");
    let cases = cases();
    let mut server = obedient_battery(1);
    let mut controls = vec![server.control()];
    while controls.len() < cases.len() {
        controls.push(server.add(loopback(), battery(1), Pace::Lockstep).unwrap());
    }
    let mut args = vec!["-i".to_owned(), "86400".into(), "-r".into(), "-d".into()];
    args.push(cluster.url("strange_lines"));
    for (n, control) in controls.iter().enumerate() {
        args.extend(["-b".into(), named(&format!("no{n}"), control.local_addr())]);
    }
    let home = Home::new();
    let mut listener = home.listen(&args.iter().map(String::as_str).collect::<Vec<_>>());
    for (n, (case, control)) in cases.iter().zip(&controls).enumerate() {
        control.wait_for_clients(1, TIME_LIMIT).unwrap();
        control.send(line(format!("MCU ID: {:X}\0", n + 1))).unwrap();
        for message in &case.messages {
            control.send(message.clone()).unwrap();
        }
        control.send(line("that was all")).unwrap();
    }
    for (n, control) in controls.iter().enumerate() {
        listener.wait_until_said(&format!("no{n}: RX: that was all"));
        assert_eq!(control.clients().unwrap(), 1, "{}", cases[n].name);
    }
    let ended = listener.stop();
    assert_eq!(count(&ended.log, "connection lost"), 0);

    let rows = postgres_rows(&mut cluster.client("strange_lines"));
    assert_eq!(rows.len(), cases.len());
    for ((_, mcu_id), actual) in &rows {
        let case = &cases[usize::try_from(mcu_id - 1).unwrap()];
        same_row(case.name, actual, &row(&case.columns));
    }
}

/// Sends SOC, and waits for the row of it.
fn says_soc(control: &Control, soc: i64, rows: &mut impl FnMut() -> Vec<Row>) {
    let expected = row(&[("soc", Cell::Int(soc))]);
    control.send(line(format!("MCU ID: 1\r\nSOC: {soc}"))).unwrap();
    wait_until(&format!("SOC {soc} is stored"), TIME_LIMIT, || rows().contains(&expected));
}

#[test]
fn what_is_no_websocket_costs_the_connection_and_nothing_else() {
    let server = obedient_battery(1);
    let control = server.control();
    let home = Home::new();
    let (at, database) = (named("attic", control.local_addr()), home.sqlite("db"));
    let mut listener = home.listen(&["-b", &at, "-d", &database, "-i", "1"]);
    let mut rows = || crate::rows::sqlite_rows(&home.path("db")).into_values().collect();

    control.wait_for_clients(1, TIME_LIMIT).unwrap();
    says_soc(&control, 0, &mut rows);
    control.fault(Fault::Giant).unwrap();
    says_soc(&control, 1, &mut rows);
    listener.wait_for("attic: a message longer than 65536 bytes was skipped");
    assert_eq!(count(listener.log(), "; redialling"), 0, "a message too long costs itself");
    control.fault(Fault::Drop).unwrap();
    listener.wait_for("; redialling");
    listener.wait_for("attic: connected");
    control.wait_for_clients(1, TIME_LIMIT).unwrap();
    says_soc(&control, 2, &mut rows);
    control.send(Message::Raw(b"\x8F\x00 no frame at all".into())).unwrap();
    listener.wait_for("; redialling");
    listener.stop();
}

#[test]
fn a_battery_that_does_not_say_who_it_is_has_no_rows() {
    let server = obedient_battery(1);
    let control = server.control();
    let home = Home::new();
    let (at, database) = (named("attic", control.local_addr()), home.sqlite("db"));
    let mut listener = home.listen(&["-b", &at, "-d", &database, "-i", "1"]);
    control.wait_for_clients(1, TIME_LIMIT).unwrap();
    // It isn't said at once, since it may come with the next line.
    wait_until("it is said", TIME_LIMIT, || {
        control.send(line("SOC: 1")).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(50));
        count(listener.log(), "attic: no MCU ID seen") > 0
    });
    control.send(line("SOC: 2")).unwrap();
    young_second(time::UtcDateTime::now() + time::Duration::SECOND);
    control.send(line("MCU ID: FFFFFFFF\nSOC: 9")).unwrap();
    control.send(line("MCU ID: FFFFFFFE\nSOC: 3")).unwrap();
    listener.wait_for("attic: stored");
    let ended = listener.stop();
    assert_eq!(count(&ended.log, "no MCU ID"), 1, "said once: {}", ended.log.join("\n"));
    let rows = crate::rows::sqlite_rows(&home.path("db"));
    assert_eq!(rows.len(), 1);
    let latest = rows.into_iter().next_back().unwrap();
    assert_eq!(latest.0.1, 0xFFFF_FFFE);
    same_row("attic", &latest.1, &row(&[("soc", Cell::Int(3))]));
}

#[test]
fn two_addresses_of_one_battery_make_one_row() {
    let mut server = obedient_battery(1);
    let cable = server.control();
    let wireless = server.add(loopback(), battery(1), Pace::Lockstep).unwrap();
    let home = Home::new();
    let database = home.sqlite("db");
    let at = [named("cable", cable.local_addr()), named("wireless", wireless.local_addr())];
    let args = ["-b", &at[0], "-b", &at[1], "-d", &database, "-i", "86400", "-r"];
    let mut listener = home.listen(&args);
    for control in [&cable, &wireless] {
        control.wait_for_clients(1, TIME_LIMIT).unwrap();
        control.send(line("MCU ID: 9F3C07B2\nINFO: BAD CRC")).unwrap();
    }
    cable.send(line("SOC: 63")).unwrap();
    wireless.send(line("Temp: 24")).unwrap();
    listener.wait_until_said("cable: RX: SOC");
    listener.wait_until_said("wireless: RX: Temp");
    let ended = listener.stop();
    assert_eq!(count(&ended.log, "are the same battery, 9F3C07B2"), 1, "{:?}", ended.log);
    let rows = crate::rows::sqlite_rows(&home.path("db"));
    assert_eq!(rows.len(), 1, "{}", ended.log.join("\n"));
    let expected = [("soc", Cell::Int(63)), ("temp", Cell::Int(24)), ("bad_crc", Cell::Int(1))];
    same_row("both", rows.values().next().unwrap(), &row(&expected));
}

#[test]
fn a_battery_that_sends_no_known_line_is_said_to_send_no_mcu_id() {
    let server = obedient_battery(1);
    let control = server.control();
    let home = Home::new();
    let (at, database) = (named("attic", control.local_addr()), home.sqlite("db"));
    let mut listener = home.listen(&["-b", &at, "-d", &database, "-i", "1"]);
    control.wait_for_clients(1, TIME_LIMIT).unwrap();
    control.send(line("watchdog kicked")).unwrap();
    listener.wait_for("attic: no MCU ID seen");
    assert_eq!(count(&listener.stop().log, "no MCU ID"), 1);
}

#[test]
fn a_battery_that_hangs_up_after_each_message_is_dialled_less_and_less_often() {
    let server = obedient_battery(1);
    let control = server.control();
    let home = Home::new();
    let (at, database) = (named("attic", control.local_addr()), home.sqlite("db"));
    let mut listener = home.listen(&["-b", &at, "-d", &database, "-i", "60"]);
    let mut dialled = vec![];
    while dialled.len() < 5 {
        listener.wait_for("attic: connected");
        dialled.push(std::time::Instant::now());
        control.wait_for_clients(1, TIME_LIMIT).unwrap();
        control.send(line("MCU ID: 9F3C07B2")).unwrap();
        control.fault(Fault::Drop).unwrap();
        listener.wait_for("; redialling");
    }
    // 1 + 1 + 2 + 2 seconds.
    let took = dialled[4] - dialled[0];
    assert!(took >= std::time::Duration::from_secs(6), "{took:?}");
    listener.stop();
}
