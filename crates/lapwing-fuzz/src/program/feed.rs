//! What a server sends to a listener: any text frames, as a feed and as a topic that is followed.

use std::num::NonZeroU64;
use std::time::Duration;

use lapwing::client::array_text::ArrayText;
use lapwing::client::event::Mode;
use lapwing::client::feed::{self, OFFSET_MAX, Said};
use lapwing::client::track::{Place, Track};
use lapwing::load::glance::{self, Time};
use lapwing_wire::array::ArrayWriter;
use lapwing_wire::control::ServerMessage;
use lapwing_wire::dtype::Dtype;
use lapwing_wire::envelope::Message;
use lapwing_wire::json::compact;
use lapwing_wire::position::Offset;
use lapwing_wire::time::{WallTime, micros_text};
use lapwing_wire::topic::TopicName;

use crate::Entry;
use crate::input::{Input, text};

/// Frames with a zero byte between them, behind a choice of the mode.
pub const ENTRY: Entry = Entry {
    name: "feed",
    take,
    seeds: || {
        let message = |offset: u64| {
            format!(r#"{{"topic":"t","offset":{offset},"time":"2026-11-21T19:00:00.123456Z","data":{{"a":1}}}}"#)
        };
        let granted = |epoch: u8, from: u64, answer: &str| {
            format!(
                r#"{{"type":"subscribed","topic":"t","epoch":"{epoch:032x}","first":0,"next":90,"level":"none","from":{from},"answer":"{answer}"}}"#
            )
        };
        let gap = r#"{"type":"gap","topic":"t","from":3,"to":9,"reason":"retention"}"#.to_owned();
        let frames = |choice: &str, frames: &[String]| format!("{choice}{}", frames.join("\0")).into_bytes();
        vec![
            (
                "plain",
                frames(
                    "\x01",
                    &[message(4), message(5), "[1, 2]".into(), "no json".into(), message(9)],
                ),
            ),
            (
                "granted",
                frames("\0", &[granted(1, 3, "ok"), message(3), message(4), message(6)]),
            ),
            ("gap", frames("\0", &[granted(1, 0, "ok"), message(0), gap, message(9)])),
            (
                "histories",
                frames(
                    "\0",
                    &[
                        granted(1, 0, "ok"),
                        message(0),
                        granted(2, 0, "reset"),
                        message(0),
                        granted(1, 0, "reset"),
                        message(1),
                    ],
                ),
            ),
            ("later-control", frames("\0", &[r#"{"type":"telegram"}"#.into()])),
            ("array", array_frame()),
            (
                "other-layout",
                frames(
                    "\x01",
                    &[r#"{"topic":"t", "offset": 7, "data": [1,
2], "time":"x"}"#
                        .into()],
                ),
            ),
        ]
    },
};

fn array_frame() -> Vec<u8> {
    let mut frame = Vec::new();
    let writer = ArrayWriter::new(TopicName::parse("t").expect("valid"), 0, Dtype::Float64);
    let is_array = writer.write(Offset::new(5), WallTime::default(), b"[[1.5],[-2.0]]", &mut frame);
    assert!(is_array, "it is one");
    frame
}

fn take(data: &[u8]) {
    array(data);
    let mut input = Input::new(data);
    let mode = if input.byte() == 0 { Mode::Lapwing } else { Mode::Plain };
    let topic = TopicName::parse("t").expect("valid");
    let mut track = Track::new(topic.clone(), NonZeroU64::new(5).expect("not 0"));
    let (mut at, mut messages) = (Duration::ZERO, 0);
    for frame in input.rest().split(|&byte| byte == 0).filter_map(text) {
        glances(frame);
        at += Duration::from_millis(7);
        match feed::read(frame, mode) {
            Said::Message(message) => {
                assert!(message.offset.get() < OFFSET_MAX);
                let line = feed::one_line(message.value);
                assert!(
                    compact(&line).is_some() && !line.contains(['\n', '\r']),
                    "one line of JSON"
                );
                if message.topic == topic.as_str() {
                    messages += u64::from(arrives(&mut track, message.offset, at, frame.len() as u64));
                }
            }
            // What a listener refuses before it asks its track.
            Said::Control(ServerMessage::Subscribed(granted))
                if granted.topic == topic
                    && [granted.first, granted.from, granted.next]
                        .iter()
                        .all(|offset| offset.get() < OFFSET_MAX) =>
            {
                let _ = track.on_subscribed(&granted);
            }
            Said::Control(ServerMessage::Gap(gap)) if gap.topic == topic && gap.to.get() < OFFSET_MAX => {
                let before = track.next();
                if let Some(from) = track.on_gap(gap.from, gap.to) {
                    assert!(from < gap.to && before.is_none_or(|before| before == from));
                    assert_eq!(track.next(), Some(gap.to));
                }
            }
            Said::Control(_) | Said::UnknownControl => {}
            Said::Json(json) => assert_eq!(compact(&json).as_deref(), Some(&*json)),
            Said::Text(text) => assert!(compact(text).is_none()),
        }
        assert!(
            track.next().is_none_or(|next| next.get() <= OFFSET_MAX),
            "sums of offsets fit"
        );
    }
    assert_eq!(track.arrivals(), messages);
    let _ = track.finish();
    if let Some(report) = track.report(at, Duration::ZERO, 0, WallTime::default()) {
        assert!(report.messages <= messages && report.blocks >= 1);
    }
}

/// A message at its place, as a listener takes it; says whether it counts.
fn arrives(track: &mut Track, offset: Offset, at: Duration, bytes: u64) -> bool {
    let before = track.next();
    match track.place(offset) {
        Place::Next => assert!(before.is_none_or(|next| next == offset)),
        Place::Repeat => {
            assert!(before.is_some_and(|next| offset < next));
            return false;
        }
        Place::Unasked => return false,
        Place::Jump { from, .. } => assert!(before == Some(from) && from < offset),
        Place::NewHistory => {}
    }
    assert_eq!(track.next(), Some(offset.next()));
    let mut last = None;
    for timing in track.on_message(Some(offset), at, bytes) {
        assert!(timing.first <= timing.last && timing.messages >= 1 && last <= Some(timing.block));
        last = Some(timing.block);
    }
    true
}

/// A binary frame is the same message to both, and one whose value is a line of JSON.
fn array(frame: &[u8]) {
    let mut text = ArrayText::default();
    let (Some(message), Some(glance)) = (text.read(frame), glance::array(frame)) else {
        return assert!(glance::array(frame).is_none());
    };
    assert_eq!((glance.topic, glance.offset), (message.topic, message.offset.get()));
    assert!(matches!(glance.time, Time::Wall(time) if micros_text(time) == message.time));
    assert!(glance.offset < OFFSET_MAX && compact(message.value).is_some());
    assert_eq!(feed::one_line(message.value), message.value);
}

/// Reading by layout says what the parser says.
fn glances(frame: &str) {
    let (Some(glance), Ok(message)) = (glance::message(frame), Message::parse(frame)) else {
        return;
    };
    assert_eq!((glance.topic, glance.offset), (message.topic, message.offset.get()));
    assert_eq!(glance.time, Time::Text(message.time));
    // White space before a value is no part of it; a server of ours writes none.
    let value = glance.value.trim_ascii_start();
    assert!(value.starts_with(message.value.as_bytes()));
}
