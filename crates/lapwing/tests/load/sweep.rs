//! The grid of block times over the size of a block and the number of clients.

use std::time::Duration;

use lapwing_wire::time::{WallTime, micros_text};
use serde_json::Value;

use crate::feed::{Feed, Guest, granted};
use crate::program::lapwing;
use crate::rig::{SHORT, Server, looked_at, object, start};

/// What a sweep may find, on a quiet machine and on one that has no time for it.
pub const CONCLUSIONS: &[&str] = &[
    " the source sets the pace: ",
    " delivery sets it: ",
    " the tester was the bottleneck: ",
];

const GRID: &[&str] = &["--sweep", "--sweep-clients", "1,4", "--sweep-blocks", "1,5"];

fn points(found: &Value) -> Vec<(u64, u64, &str)> {
    let points = found["sweep"]["points"].as_array().expect("points").iter();
    let number = |point: &Value, key: &str| point[key].as_u64().expect("a number");
    points
        .map(|point| {
            (
                number(point, "clients"),
                number(point, "size"),
                point["pace"].as_str().expect("words"),
            )
        })
        .collect()
}

#[test]
fn a_grid_has_every_size_for_every_number_of_clients() {
    let server = Server::start(&["--topic", "users=users?rate=100/s"]);
    let found = object(&start(&server.url, &[SHORT, GRID].concat()).finish().with_code(0));
    let places: Vec<_> = points(&found)
        .iter()
        .map(|(clients, size, _)| (*clients, *size))
        .collect();
    assert_eq!(places, [(1, 1), (1, 5), (4, 1), (4, 5)]);
    // A busy machine may hold up any of them; who set the pace is told of each.
    assert!(
        points(&found).iter().all(|(_, _, pace)| pace.ends_with("-limited")),
        "{found:#}"
    );
    let runs = found["runs"].as_array().expect("runs");
    assert_eq!(runs.len(), 2);
    assert!(runs.iter().all(|run| run["verdict"] == "proven"), "{found:#}");
}

#[test]
fn people_see_a_row_for_each_number_of_clients_and_what_follows() {
    let server = Server::start(&["--topic", "users=users?rate=100/s", "--topic", "slow=users?every=1h"]);
    let grid = [
        "--sweep",
        "--sweep-clients",
        "1,2,2",
        "--sweep-blocks",
        "1,5,500,5,1000",
    ];
    let end = lapwing(&[&["bench", &server.url], SHORT, &grid].concat())
        .finish()
        .with_code(0);
    let text = end.stdout.join("\n");
    assert!(end.stdout[0].starts_with("topic users, about "), "{text}");
    assert!(end.stdout[2].ends_with("block 1000"), "{text}");
    let row = |line: &str| line.split_whitespace().next().map(str::to_owned);
    assert_eq!(
        [row(&end.stdout[3]), row(&end.stdout[4])],
        [Some("1".to_owned()), Some("2".to_owned())],
        "{text}"
    );
    assert!(
        text.contains("No block of 500 or 1,000 was timed whole") && CONCLUSIONS.iter().any(|told| text.contains(told)),
        "{text}"
    );
    assert!(end.stdout.iter().all(|line| line.is_ascii()), "{text}");
    assert!(end.stdout[..5].iter().all(|line| line.len() <= 80), "{text}");
    assert_eq!(
        text.matches("2 clients: proven").count(),
        1,
        "named twice it is one: {text}"
    );
}

/// Sends until nobody listens: every 5 ms a message that was made 1 ms after the one before.
fn lag(mut guest: Guest) {
    guest.welcome(&["users"]);
    guest.subscribe();
    guest.grant(&granted("users", 1, 0));
    let made = |offset: i64| micros_text(WallTime::from_nanos(1_795_287_600_000_000_000 + offset * 1_000_000));
    let message = |offset| {
        format!(
            "{{\"topic\":\"users\",\"offset\":{offset},\"time\":\"{}\",\"data\":0}}",
            made(offset)
        )
    };
    let mut offset = 0;
    while guest.try_send(&message(offset)) {
        offset += 1;
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn blocks_that_take_longer_than_their_making_are_delivery_limited() {
    let feed = Feed::bind();
    let bench = start(
        &feed.url(),
        &[SHORT, &["--sweep", "--sweep-clients", "1", "--sweep-blocks", "5"]].concat(),
    );
    looked_at(&feed);
    lag(feed.accept_lapwing());
    let found = object(&bench.finish().with_code(0));
    let [(1, 5, pace)] = points(&found)[..] else {
        panic!("{found:#}")
    };
    // A machine so busy that the tester has no time says that instead.
    assert!(matches!(pace, "delivery-limited" | "tester-limited"), "{found:#}");
}
