//! The control messages of `lapwing.v1`, of both sides.

use lapwing_wire::control::{ClientMessage, ServerMessage, Subscribe};
use lapwing_wire::report::Spans;

use crate::Entry;
use crate::input::text;

/// What a client says.
pub const CLIENT: Entry = Entry {
    name: "client_message",
    take: client,
    seeds: || {
        [
            ("subscribe", r#"{"type":"subscribe","topic":"users","from":"-30s"}"#),
            (
                "resume",
                r#"{"type":"subscribe","topic":"users","epoch":"00000000000000000000000000000001","offset":41}"#,
            ),
            ("all", r#"{"type":"subscribe"}"#),
            ("unsubscribe", r#"{"type":"unsubscribe","topic":"users"}"#),
            ("auth", r#"{"type":"auth","token":"lapwing_hunter2"}"#),
            ("say", r#"{"type":"say","text":"\u001b[2J\u202eoh"}"#),
            (
                "report",
                r#"{"type":"report","topic":"arrays","block_size":5,"first_block":2,"last_block":3,"blocks":2,"first":10,"last":19,"messages":10,"bytes":900,"elapsed_ms":{"count":2,"total":4.0,"min":1.5,"median":2.0,"max":2.5},"span_ms":4.0,"spread_ms":{"count":2,"total":1.0,"min":0.4,"median":0.5,"max":0.6},"flags":[],"reconnects":0,"time":"2026-11-21T19:00:00.123456Z"}"#,
            ),
        ]
        .map(|(name, text)| (name, text.as_bytes().to_vec()))
        .into()
    },
};

/// What a server says.
pub const SERVER: Entry = Entry {
    name: "server_message",
    take: server,
    seeds: || {
        [
            (
                "welcome",
                r#"{"type":"welcome","session":1,"name":"client 1","server":"lapwing/0.1.0","topics":["users"],"report_interval_ms":1000,"heartbeat_ms":10000}"#,
            ),
            (
                "subscribed",
                r#"{"type":"subscribed","topic":"users","epoch":"00000000000000000000000000000001","first":0,"next":9,"level":"none","from":9,"answer":"ok"}"#,
            ),
            ("gap", r#"{"type":"gap","topic":"users","from":3,"to":9,"reason":"retention"}"#),
            ("heartbeat", r#"{"type":"heartbeat","time":"2026-11-21T19:00:00.123456Z","next":{"users":9}}"#),
            ("error", r#"{"type":"error","code":"bad_command","message":"no"}"#),
            ("expiring", r#"{"type":"expiring","in_ms":30000}"#),
            ("bye", r#"{"type":"bye","reason":"restart","retry_ms":500,"next":{"users":9}}"#),
        ]
        .map(|(name, text)| (name, text.as_bytes().to_vec()))
        .into()
    },
};

fn client(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let Ok(said) = ClientMessage::parse(text) else { return };
    let again = ClientMessage::parse(&said.to_text()).expect("what is written is read");
    assert_eq!(without_fractions(again), without_fractions(said.clone()));
    match said {
        ClientMessage::Subscribe(wish) => {
            if let Ok(start) = wish.start() {
                let written = Subscribe::new(wish.topic.clone(), start);
                assert_eq!(written.start(), Ok(start), "a place to begin comes back as it was");
            }
        }
        ClientMessage::Report(report) => {
            if report.is_plausible() {
                assert!(report.first <= report.last && report.blocks >= 1);
                assert!(report.spread_ms.max.is_finite() && report.spread_ms.min >= 0.0);
            }
            let _ = report.is_wholly_timed();
        }
        ClientMessage::Unsubscribe { .. } | ClientMessage::Auth { .. } | ClientMessage::Say { .. } => {}
    }
}

/// The last digit of a fraction may change on its way through text, which nobody minds.
fn without_fractions(said: ClientMessage) -> ClientMessage {
    let whole = |spans: Spans| Spans {
        total: 0.0,
        min: 0.0,
        median: 0.0,
        max: 0.0,
        ..spans
    };
    match said {
        ClientMessage::Report(mut report) => {
            report.elapsed_ms = report.elapsed_ms.map(whole);
            report.span_ms = report.span_ms.map(|_| 0.0);
            report.spread_ms = whole(report.spread_ms);
            ClientMessage::Report(report)
        }
        said => said,
    }
}

fn server(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let Ok(said) = serde_json::from_str::<ServerMessage>(text) else {
        return;
    };
    let again: ServerMessage = serde_json::from_str(&said.to_text()).expect("what is written is read");
    assert_eq!(again, said);
}
