//! The sources that make their messages themselves: people and arrays.

use serde_json::{Value, json};

use crate::support::client::{Message, follow};
use crate::support::server::{Plan, Server};

const BOTH: &[&str] = &[
    "--topic",
    "users=users?every=10ms",
    "--topic",
    "arrays=arrays?every=10ms",
];

#[test]
fn item_4_the_same_seed_gives_the_same_people_and_arrays_in_another_process() {
    let of_seed = |seed: &str, topics: &[&str]| {
        let server = Server::start(&[topics, &["--seed", seed]].concat());
        assert_eq!(server.event("ready", |_| true)["seed"].to_string(), seed);
        let data = |topic: &str| follow(&server, &format!("topics={topic}&from=earliest")).data(10);
        (data("users"), data("arrays"))
    };
    let (people, arrays) = of_seed("7", BOTH);
    let reversed = [&BOTH[2..], &BOTH[..2]].concat();
    assert_eq!(
        of_seed("7", &reversed),
        (people.clone(), arrays.clone()),
        "the order of topics does not matter"
    );
    let (others, other_arrays) = of_seed("8", BOTH);
    assert_ne!(people, others);
    assert_ne!(arrays, other_arrays);
    assert_ne!(people[0], people[1]);
    assert_ne!(arrays[0], arrays[1]);
}

#[test]
fn item_4_the_parts_of_a_person_belong_together_and_reach_nobody() {
    let server = Server::start(BOTH);
    for person in follow(&server, "topics=users&from=earliest").data(100) {
        for key in ["name", "sex", "username", "email", "birth_date", "job", "phone"] {
            assert!(
                person[key].as_str().is_some_and(|value| !value.is_empty()),
                "{key}: {person}"
            );
        }
        let retired = person["job"].as_str().is_some_and(|job| job.starts_with("Retired"));
        assert_eq!(person["company"].is_null(), retired, "{person}");
        assert!(person["address"]["city"].is_string(), "{person}");
        let email = person["email"].as_str().unwrap();
        let reserved = ["example", "example.org", "example.net", "example.com"]
            .iter()
            .any(|domain| email.ends_with(&format!("@{domain}")) || email.ends_with(&format!(".{domain}")));
        let reserved = reserved || [".example", ".test", ".invalid"].iter().any(|end| email.ends_with(end));
        assert!(reserved, "{email}");
    }
}

#[test]
fn item_4_people_come_from_the_locale_that_was_asked_for() {
    let server = Server::start(&[
        "--topic",
        "de=users?every=10ms&locale=de",
        "--topic",
        "sv=users?every=10ms&locale=sv",
    ]);
    let countries = |topic: &str| -> Vec<Value> {
        let people = follow(&server, &format!("topics={topic}&from=earliest")).data(5);
        people
            .into_iter()
            .map(|person| person["address"]["country"].clone())
            .collect()
    };
    assert_eq!(countries("de"), vec![json!("Deutschland"); 5]);
    assert_eq!(countries("sv"), vec![json!("Sverige"); 5]);
}

#[test]
fn item_5_arrays_have_the_shape_type_and_bounds_that_were_asked_for() {
    let server = Server::start(&[
        "--topic",
        "bytes=arrays?shape=2x3&dtype=uint8&low=250&high=256&every=10ms",
        "--topic",
        "signed=arrays?shape=100&dtype=int8&low=-3&high=2&every=10ms",
        "--topic",
        "floats=arrays?shape=4&dtype=float64&every=10ms",
    ]);
    let data = |topic: &str| follow(&server, &format!("topics={topic}&from=earliest")).data(10);
    for array in data("bytes") {
        assert_eq!(shape(&array), [2, 3], "{array}");
        assert!(
            integers(&array).iter().all(|value| (250..=255).contains(value)),
            "{array}"
        );
    }
    let signed: Vec<i64> = data("signed").iter().flat_map(integers).collect();
    let mut seen = signed.clone();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen, [-3, -2, -1, 0, 1], "high itself is left out, all others come");
    for array in data("floats") {
        let values: Vec<f64> = array
            .as_array()
            .unwrap()
            .iter()
            .map(|value| value.as_f64().unwrap())
            .collect();
        assert_eq!(values.len(), 4);
        assert!(values.iter().all(|value| (0.0..1.0).contains(value)), "{array}");
    }
}

#[test]
fn item_5_pack_is_arrays_a_message_and_burst_is_messages_a_tick() {
    let server = Server::start(&["--topic", "arrays=arrays?pack=3&shape=2&burst=4&every=50ms"]);
    let messages = follow(&server, "topics=arrays&from=earliest").messages(16);
    for message in &messages {
        assert_eq!(shape(&message.data), [3, 2], "{message:?}");
    }
    let mut ticks: Vec<usize> = Vec::new();
    for (at, message) in messages.iter().enumerate() {
        match at > 0 && messages[at - 1].time == message.time {
            true => *ticks.last_mut().unwrap() += 1,
            false => ticks.push(1),
        }
    }
    // A tick that was late comes together with the next.
    assert!(ticks.iter().all(|count| count % 4 == 0), "{ticks:?}");
}

#[test]
fn item_5_without_topics_people_and_packages_of_arrays_are_there_from_the_start() {
    let server = Server::start(&[]);
    let ready = server.event("ready", |_| true);
    assert_eq!(
        ready["topics"],
        json!({"arrays": "arrays?every=2s&burst=5", "users": "users?every=1s"})
    );
    let mut users = follow(&server, "topics=users&from=earliest");
    assert_eq!(
        users.message().offset,
        0,
        "the first message does not wait for the first second"
    );
    let package: Vec<Message> = follow(&server, "topics=arrays&from=earliest").messages(5);
    assert_eq!(
        package.iter().map(|message| message.offset).collect::<Vec<_>>(),
        [0, 1, 2, 3, 4]
    );
    for message in &package {
        assert_eq!(message.time, package[0].time, "a package comes at once");
        assert_eq!(shape(&message.data), [10]);
        assert!(integers(&message.data).iter().all(|value| (0..100).contains(value)));
    }
}

#[test]
fn item_5_the_banner_tells_what_runs() {
    let server = Plan::new(&["--seed", "8812"]).text().start();
    let banner = [
        "is ready, for this machine only",
        "users    users?every=1s            keeps 60 s or 64 MiB; skip when a client is slow",
        "arrays   arrays?every=2s&burst=5   keeps 60 s or 64 MiB; skip when a client is slow",
        "Seed  8812",
    ];
    for part in banner {
        server.err().with(part);
    }
    server.err().with(&format!("Page   http://{}", server.address()));
}

fn shape(array: &Value) -> Vec<usize> {
    match array {
        Value::Array(items) => [vec![items.len()], items.first().map(shape).unwrap_or_default()].concat(),
        _ => Vec::new(),
    }
}

fn integers(array: &Value) -> Vec<i64> {
    match array {
        Value::Array(items) => items.iter().flat_map(integers).collect(),
        value => vec![value.as_i64().expect("an integer")],
    }
}
