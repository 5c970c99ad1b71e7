//! What one server tells another.

use lapwing::server::fleet::letter::{self, Head, Part, What};
use lapwing::server::fleet::rows::Rows;
use serde_json::Value;

use crate::Entry;

/// Letters, as they come over the broker.
pub const ENTRY: Entry = Entry {
    name: "letters",
    take,
    seeds: || {
        let head = |what: &str| format!("{{\"form\":1,\"from\":\"0123456789abcdef\",\"is\":{what}}}");
        let here = "\"here\",\"name\":\"lapwing-2\",\"address\":\"192.0.2.2:8765\",\"version\":\"0.1.0\",\"started\":\"2026-11-22T19:00:02.000000Z\",\
                    \"clients\":9,\"counts\":{\"silent\":1},\"watches\":true,\"wants\":[\"b81e07c4a95d2f60\"],\
                    \"topics\":[{\"topic\":\"arrays\",\"next\":1391,\"end\":1400,\"lag\":9,\"stale\":true}]";
        let row = "{\"session\":7,\"client\":\"sensor-2\",\"address\":\"127.0.0.1:52162\",\"cause\":\"client slow\",\"behind_ms\":8800.0,\"topics\":[]}";
        let clients = "\"clients\",\"run\":7,\"part\":0,\"whole\":true";
        let event =
            "{\"event\":\"joined\",\"time\":\"2026-11-22T19:00:00.000000Z\",\"session\":7,\"client\":\"sensor-2\"}";
        let report = "{\"event\":\"report\",\"time\":\"2026-11-22T19:00:00.000000Z\",\"session\":7,\"client\":\"sensor-2\",\"topic\":\"arrays\"}";
        vec![
            ("here", head(here).into_bytes()),
            ("leaves", head("\"leaves\"").into_bytes()),
            (
                "clients",
                format!("{}\n{row}\n{{\"session\":8,\"left\":true}}", head(clients)).into_bytes(),
            ),
            (
                "events",
                format!("{}\n{event}\n{event}", head("\"events\"")).into_bytes(),
            ),
            ("reports", format!("{}\n{report}", head("\"reports\"")).into_bytes()),
            (
                "signed-already",
                format!("{}\n{{\"server\":\"x\",\"session\":7}}", head(clients)).into_bytes(),
            ),
        ]
    },
};

const SERVER: &str = "b \"2\"";

fn take(data: &[u8]) {
    let Some((head, lines)) = Head::read(data) else { return };
    let lines: Vec<&str> = lines.collect();
    let again = head.text(lines.iter().copied());
    let (read, same) = Head::read(&again).expect("what is written is read");
    assert!(read == head && same.eq(lines.iter().copied()), "{head:?}");
    for line in &lines {
        let (event, report) = (letter::event(line, SERVER), letter::report(line, SERVER));
        assert!(event.is_none() || report.is_none(), "{line:?} is both");
        for told in [event, report].into_iter().flatten() {
            assert_signed(line, &told);
        }
    }
    // Whatever its letter is about, as rows its lines do no harm.
    let mut rows = Rows::default();
    rows.add("id", SERVER);
    let part = match head.what {
        What::Clients(part) => part,
        _ => Part {
            run: 1,
            part: 0,
            whole: true,
        },
    };
    let taken = rows.take("id", part, lines.iter().copied());
    assert!(taken.bad as usize <= lines.len() && rows.iter().count() <= lines.len());
    for row in rows.iter() {
        let told: Value = serde_json::from_str(&row.json).expect("a row is JSON");
        assert_eq!(
            (&told["server"], &told["session"]),
            (&Value::from(SERVER), &Value::from(row.session))
        );
        assert!(!row.json.contains('\n'));
    }
    let held = rows.iter().count();
    rows.remove("id");
    let gone = rows.take_lines(false);
    assert!(
        rows.iter().count() == 0 && gone.len() >= held,
        "each that was there is told as left"
    );
}

/// Who tells it is added, and nothing else changes.
fn assert_signed(line: &str, told: &str) {
    let mut told: Value = serde_json::from_str(told).expect("it is JSON");
    let before: Value = serde_json::from_str(line).expect("it was JSON");
    let server = told.as_object_mut().and_then(|told| told.remove("server"));
    assert_eq!((server, told), (Some(Value::from(SERVER)), before));
}
