use std::{thread, time::Duration};

use bluenova_mqtt::Session;
use bluenova_test_support::{Mosquitto, Received};

use crate::{BIRTH, WILL, end_of, options, refusal, retained, shown, state};

fn received(topic: &str, payload: &str) -> Received {
    Received { topic: topic.to_owned(), payload: payload.to_owned(), is_kept: false }
}

#[test]
fn messages_arrive_in_their_order_and_retained_ones_are_kept() {
    let broker = Mosquitto::start();
    let mut subscriber = broker.subscribe("bluenova/#");
    let mut session = Session::open(&options(&broker.url())).unwrap();
    let long = "x".repeat(100_000);
    let sent = [
        retained("bluenova/a/availability", "online"),
        state("bluenova/a/state", "1"),
        retained("bluenova/long", &long),
        state("bluenova/a/state", "2"),
        retained("bluenova/a/availability", ""),
        retained(WILL, "online"),
    ];
    for message in sent.clone() {
        session.publish(message).unwrap();
    }
    session.flush().unwrap();
    for message in sent {
        let payload = String::from_utf8(message.payload).unwrap();
        assert_eq!(subscriber.next_message(), received(&message.topic, &payload));
    }
    let kept = [("bluenova/long", long.as_str()), (WILL, "online")];
    assert_eq!(broker.kept(), kept.map(|(t, p)| (t.to_owned(), p.to_owned())).into());
}

#[test]
fn the_last_will_is_published_when_the_connection_ends_without_farewell() {
    let broker = Mosquitto::start();
    let mut subscriber = broker.subscribe(WILL);
    let mut session = Session::open(&options(&broker.url())).unwrap();
    session.publish(retained(WILL, "online")).unwrap();
    session.flush().unwrap();
    assert_eq!(subscriber.next_message(), received(WILL, "online"));
    // As the system does for a process that is killed.
    drop(session);
    assert_eq!(subscriber.next_message(), received(WILL, "offline"));
    assert_eq!(broker.kept()[WILL], "offline");
}

#[test]
fn the_farewell_is_the_last_message_and_the_last_will_stays_away() {
    let broker = Mosquitto::start();
    let mut subscriber = broker.subscribe("#");
    let mut session = Session::open(&options(&broker.url())).unwrap();
    session.publish(state("bluenova/a/state", "1")).unwrap();
    session.close(retained(WILL, "farewell")).unwrap();
    broker.publish("marker", "", false);
    let expected =
        [received("bluenova/a/state", "1"), received(WILL, "farewell"), received("marker", "")];
    for message in expected {
        assert_eq!(subscriber.next_message(), message);
    }
}

#[test]
fn a_birth_message_is_received_once_and_not_an_old_one() {
    let broker = Mosquitto::start();
    broker.publish(BIRTH, "old", true);
    let mut session = Session::open(&options(&broker.url())).unwrap();
    // Its acknowledgement comes behind all that was sent before.
    session.publish(retained(WILL, "online")).unwrap();
    session.flush().unwrap();
    assert_eq!(session.advance(Duration::from_millis(100)).unwrap(), None);
    broker.publish("homeassistant/status/other", "x", false);
    broker.publish(BIRTH, "online", true);
    let birth = loop {
        if let Some(birth) = session.advance(Duration::from_millis(10)).unwrap() {
            break birth;
        }
    };
    assert_eq!(birth, b"online");
    assert_eq!(session.advance(Duration::from_millis(100)).unwrap(), None);
}

#[test]
fn a_broker_that_is_killed_ends_the_session_and_a_new_one_begins_with_the_next() {
    let mut broker = Mosquitto::start();
    let mut session = Session::open(&options(&broker.url())).unwrap();
    broker.kill();
    assert_eq!(shown(&end_of(&mut session)), "the broker has closed the connection");
    let closed = "the connection to the broker has ended already";
    assert_eq!(shown(&session.publish(state("bluenova/a/state", "old")).unwrap_err()), closed);
    assert_eq!(shown(&session.advance(Duration::ZERO).unwrap_err()), closed);
    let refused =
        format!("can't connect to 127.0.0.1:{}: Connection refused (os error 111)", broker.port());
    assert_eq!(refusal(&options(&broker.url())), refused);
    broker.start_again();
    let mut subscriber = broker.subscribe("bluenova/#");
    let mut session = Session::open(&options(&broker.url())).unwrap();
    session.publish(state("bluenova/a/state", "new")).unwrap();
    assert_eq!(subscriber.next_message(), received("bluenova/a/state", "new"));
}

#[test]
fn another_client_with_the_same_id_ends_the_session() {
    let broker = Mosquitto::start();
    let mut first = Session::open(&options(&broker.url())).unwrap();
    let mut second = Session::open(&options(&broker.url())).unwrap();
    assert_eq!(shown(&end_of(&mut first)), "the broker has closed the connection");
    second.publish(retained(WILL, "online")).unwrap();
    second.flush().unwrap();
}

/// A session that publishes only now and then stays: both sides ask for signs of life.
#[test]
fn a_quiet_session_stays() {
    let broker = Mosquitto::start();
    let mut session = Session::open(&options(&broker.url())).unwrap();
    session.advance(Duration::from_secs(40)).unwrap();
    session.publish(retained(WILL, "online")).unwrap();
    session.flush().unwrap();
}

/// One that publishes all the time hears of the broker, too, though nothing is to be acknowledged.
#[test]
fn a_session_that_publishes_values_alone_stays() {
    let broker = Mosquitto::start();
    let mut subscriber = broker.subscribe("bluenova/#");
    let mut session = Session::open(&options(&broker.url())).unwrap();
    for second in 0..40 {
        session.publish(state("bluenova/a/state", &second.to_string())).unwrap();
        assert_eq!(subscriber.next_message().payload, second.to_string());
        session.advance(Duration::from_secs(1)).unwrap();
    }
}

#[test]
fn a_thousand_batteries_at_once() {
    let broker = Mosquitto::start();
    let mut subscriber = broker.subscribe("bluenova/#");
    let reader = thread::spawn(move || {
        for battery in 0..1000 {
            let topic = format!("bluenova/{battery}/state");
            assert_eq!(subscriber.next_on(&topic).payload, battery.to_string());
        }
    });
    let mut session = Session::open(&options(&broker.url())).unwrap();
    let announcement = "x".repeat(20_000);
    for battery in 0..1000 {
        session.publish(retained(&format!("ha/{battery}/config"), &announcement)).unwrap();
        let topic = format!("bluenova/{battery}/state");
        session.publish(state(&topic, &battery.to_string())).unwrap();
    }
    session.flush().unwrap();
    reader.join().unwrap();
    assert_eq!(broker.kept().len(), 1000);
}
