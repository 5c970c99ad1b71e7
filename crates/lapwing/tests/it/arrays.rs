//! Arrays as binary frames, for clients that ask for them.

use lapwing_wire::array::Array;
use lapwing_wire::time::micros_text;
use serde_json::{Value, json};

use crate::support::bearer::ask_stream;
use crate::support::client::{Client, Heard, Message, follow, speak};
use crate::support::frames::{BINARY, FIN, Raw, TEXT};
use crate::support::http::{get, post};
use crate::support::server::Server;

const TOPICS: &[&str] = &["--topic", "users=push", "--topic", "n=push?dtype=int16"];

/// A message of either form, and whether it came as an array.
#[track_caller]
fn message(client: &mut Client) -> (Message, bool) {
    match client.hear() {
        Heard::Text(text) => (serde_json::from_str(&text).expect("an envelope"), false),
        Heard::Binary(bytes) => (of_array(&bytes), true),
        other => panic!("no message but {other:?}"),
    }
}

fn of_array(bytes: &[u8]) -> Message {
    let array = Array::parse(bytes).expect("an array");
    let mut data = Vec::new();
    array.write_value(&mut data);
    Message {
        topic: array.topic.to_owned(),
        offset: array.offset.get(),
        time: micros_text(array.time),
        data: serde_json::from_slice(&data).expect("JSON"),
        data_base64: None,
    }
}

#[track_caller]
fn publish(server: &Server, topic: &str, body: &str) {
    let answer = post(server, &format!("/topics/{topic}/messages"), "application/json", body);
    assert_eq!(answer.status, 201, "{}", answer.body);
}

/// Of a topic whose elements are `int16`: which travel as text, though they are JSON.
const MISFITS: [&str; 7] = ["[1,32768]", "[[1],[2,3]]", "[]", "7", "[1.0]", "{\"a\":[1]}", "[\"1\"]"];

#[test]
fn arrays_come_as_binary_frames_and_everything_else_as_text() {
    let server = Server::start(TOPICS);
    let mut binary = follow(&server, "encoding=binary");
    let mut json = follow(&server, "encoding=json");
    publish(&server, "n", "[[1, 2], [3, -32768]]");
    publish(&server, "users", "[1, 2]");
    MISFITS.into_iter().for_each(|value| publish(&server, "n", value));
    let count = 2 + MISFITS.len();
    let mut came: Vec<_> = (0..count).map(|_| message(&mut binary)).collect();
    let mut expect = json.messages(count);
    // How topics interleave is not promised.
    came.sort_by(|(one, _), (other, _)| (&one.topic, one.offset).cmp(&(&other.topic, other.offset)));
    expect.sort_by(|one, other| (&one.topic, one.offset).cmp(&(&other.topic, other.offset)));
    for (expect, (came, is_array)) in expect.iter().zip(&came) {
        let fits = (came.topic.as_str(), came.offset) == ("n", 0);
        assert_eq!((came, *is_array), (expect, fits));
    }
    let (mut raw, _) = Raw::with_headers(&server, "topics=n,users&encoding=binary&from=earliest", "");
    let frames: Vec<u8> = (0..3).map(|_| raw.frame().unwrap().first_byte).collect();
    assert_eq!(frames.iter().filter(|byte| **byte == FIN | BINARY).count(), 1);
    assert_eq!(frames.iter().filter(|byte| **byte == FIN | TEXT).count(), 2);
}

#[test]
fn history_comes_as_what_is_new_does() {
    let server = Server::start(&[
        "--seed",
        "1",
        "--topic",
        "a=arrays?shape=3x4&pack=2&dtype=uint64&low=0&high=18446744073709551616&every=1ms",
    ]);
    let mut early = follow(&server, "encoding=binary&from=earliest");
    let early: Vec<_> = (0..300).map(|_| message(&mut early)).collect();
    let mut late = follow(&server, "encoding=binary&from=a:100");
    let mut text = follow(&server, "from=a:100");
    for (came, is_array) in &early[100..] {
        assert!(is_array);
        assert_eq!((came, true), (&message(&mut late).0, *is_array));
        assert_eq!(came, &text.message());
    }
}

#[test]
fn a_durable_topic_gives_its_arrays_after_a_restart() {
    let data = tempfile::tempdir().unwrap();
    let arguments = ["--topic", "n=push?dtype=float32&durability=os", "--data"];
    let arguments = [&arguments[..], &[data.path().to_str().unwrap()]].concat();
    let mut server = Server::start(&arguments);
    (0..50).for_each(|n| publish(&server, "n", &format!("[0.1,{n}.5]")));
    server.interrupt();
    assert!(server.wait().success());
    let server = Server::start(&arguments);
    let mut client = follow(&server, "encoding=binary&from=earliest");
    for n in 0..50 {
        let (came, is_array) = message(&mut client);
        assert!(is_array);
        assert_eq!((came.offset, &came.data[1]), (n, &json!(n as f64 + 0.5)));
    }
}

#[test]
fn what_cannot_be_is_refused_with_a_sentence() {
    let server = Server::start(TOPICS);
    let answer = ask_stream(&server, "/?encoding=binary&envelope=off", &[]);
    assert_eq!(answer.status, 400);
    assert!(answer.body.contains("leave one of them out"), "{}", answer.body);
    let answer = get(&server, "/topics/n/events?encoding=binary");
    assert_eq!(answer.status, 400);
    assert!(
        answer.body.contains("leave out topics=, envelope= and encoding="),
        "{}",
        answer.body
    );
}

#[test]
fn a_subscription_says_in_which_form_its_arrays_come() {
    let server = Server::start(TOPICS);
    let mut client = speak(&server, "");
    client.control("welcome");
    let mut subscribed = |command: Value| {
        client.command(&command);
        let answer = client.control("subscribed");
        (answer["number"].clone(), answer["dtype"].clone())
    };
    let none = (Value::Null, Value::Null);
    let wish = |topic: &str, encoding: &str| json!({"type": "subscribe", "topic": topic, "encoding": encoding});
    assert_eq!(subscribed(wish("users", "binary")), none, "it has no arrays");
    assert_eq!(subscribed(wish("n", "json")), none);
    assert_eq!(subscribed(wish("n", "binary")), (json!(1), json!("int16")));
    publish(&server, "n", "[1]");
    assert!(message(&mut client).1);
    // The same topic goes on in the other form, and in the form of the connection where nothing is asked.
    client.command(&json!({"type": "subscribe", "topic": "n"}));
    assert_eq!(client.control("subscribed")["number"], Value::Null);
    publish(&server, "n", "[2]");
    assert!(!message(&mut client).1);
    client.command(&json!({"type": "subscribe", "topic": "n", "encoding": "arrow"}));
    let error = client.control("error");
    assert_eq!(error["code"], "bad_command");
    assert!(
        error["message"].as_str().unwrap().contains("`json` or `binary`"),
        "{error}"
    );
    client.command(&json!({"type": "unsubscribe", "topic": "n"}));
    client.control("unsubscribed");
}

#[test]
fn the_form_of_a_connection_holds_where_a_subscription_says_nothing() {
    let server = Server::start(TOPICS);
    let mut client = speak(&server, "encoding=binary&topics=n");
    client.control("welcome");
    assert_eq!(client.control("subscribed")["dtype"], "int16");
    client.command(&json!({"type": "subscribe", "topic": "n", "from": "latest"}));
    assert_eq!(client.control("subscribed")["number"], 1);
    client.command(&json!({"type": "subscribe", "topic": "n", "encoding": "json"}));
    assert_eq!(client.control("subscribed")["number"], Value::Null);
    client.command(&json!({"type": "subscribe"}));
    let both = [client.control("subscribed"), client.control("subscribed")];
    assert_eq!(both.map(|one| one["number"].clone()), [Value::Null, json!(1)]);
    publish(&server, "n", "[5]");
    assert!(message(&mut client).1);
}

#[test]
fn compression_leaves_arrays_as_they_are_and_shortens_the_text_beside_them() {
    let server = Server::start(&[
        "--compression",
        "on",
        "--topic",
        "users=push",
        "--topic",
        "n=push?dtype=int16",
    ]);
    let headers = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
    let (mut client, head) = Raw::with_headers(&server, "encoding=binary", headers);
    assert!(head.contains("permessage-deflate"), "{head}");
    server.event("joined", |_| true);
    let long = format!("[{}1]", "1,".repeat(500));
    publish(&server, "n", &long);
    assert_eq!(client.frame().unwrap().first_byte, FIN | BINARY);
    publish(&server, "users", &long);
    assert_eq!(client.frame().unwrap().first_byte & !0x40, FIN | TEXT);
    let misfit = format!("[{}1.5]", "1,".repeat(500));
    publish(&server, "n", &misfit);
    assert_eq!(client.frame().unwrap().first_byte, FIN | TEXT);
}
