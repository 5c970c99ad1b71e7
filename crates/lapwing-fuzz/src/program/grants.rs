//! Where a reader begins: any wish, granted by a log within what it holds.

use lapwing::clock::Now;
use lapwing::log::Log;
use lapwing::log::batch::NewMessage;
use lapwing::log::retention::Retention;
use lapwing_wire::control::Answer;
use lapwing_wire::envelope::Kind;
use lapwing_wire::position::Epoch;
use lapwing_wire::start::Start;
use lapwing_wire::time::WallTime;
use lapwing_wire::topic::TopicName;

use crate::Entry;
use crate::input::{Input, text};

/// How many messages the log has, and what `from=` says.
pub const ENTRY: Entry = Entry {
    name: "grants",
    take,
    seeds: || {
        [
            ("latest", "\u{5}latest"),
            ("offset", "\u{5}3"),
            ("ahead", "\u{5}6"),
            ("last", "\u{5}last:18446744073709551615"),
            ("ago", "\u{5}-18446744073709551615s"),
            ("position", "\u{5}@00000000000000000000000000000007:2"),
            ("foreign", "\0@00000000000000000000000000000001:0"),
        ]
        .map(|(name, text)| (name, text.as_bytes().to_vec()))
        .into()
    },
};

fn take(data: &[u8]) {
    let mut input = Input::new(data);
    let count = u64::from(input.byte() % 20);
    let Some(Ok(start)) = text(input.rest()).map(str::parse::<Start>) else {
        return;
    };
    let topic = TopicName::parse("t").expect("valid");
    let log = Log::new(topic, Epoch::from_bits(7), Retention::DEFAULT);
    let now = |nth: u64| Now {
        wall: WallTime::from_nanos(1_795_287_600_000_000_000 + nth as i64 * 1_000_000),
        mono: nth * 1_000_000,
    };
    for nth in 0..count {
        log.append(&[NewMessage::new(Kind::Json, b"1")], now(nth))
            .expect("room");
    }
    let grant = log.grant(start, now(count));
    assert_eq!((grant.first, grant.next.get()), (log.first(), count));
    assert!(
        grant.first <= grant.from && grant.from <= grant.next,
        "{start} grants {grant:?}"
    );
    assert!(grant.missing_from.is_none_or(|missing| missing < grant.from));
    assert_eq!(grant.diverged_at.is_some(), grant.answer == Answer::Diverged);
}
