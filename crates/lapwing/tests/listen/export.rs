//! What `lapwing export` makes of a recording, and what it refuses.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use lapwing::clock::Now;
use lapwing::recording::arrival::{Arrival, Value};
use lapwing::recording::line::LineWriter;
use lapwing::recording::note::{Missed, Note};
use lapwing_wire::position::{Epoch, Offset};
use rustix::process::Signal;

use crate::feed::{Feed, topic};
use crate::program::{DEADLINE, Finished, lapwing, record};

#[test]
fn a_feed_that_was_recorded_becomes_an_array_with_its_offsets_and_times_beside_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = dir.path().join("feed.ndjson");
    let feed = Feed::bind();
    let listener = record(&feed.url(), &log, &["--count", "6"]);
    let mut guest = feed.accept_lapwing();
    guest.welcome_and_grant(7, &[("users", 3)]);
    guest.messages("users", 3..9);
    listener.finish().with_code(0);
    let end = export(&log, &dir.path().join("feed.npy"), &[]).with_code(0);
    assert_eq!(end.stderr, [""; 0]);
    assert!(
        end.stdout[0].contains(": users, 6 messages, offsets 3-8, int64 (6, 1), "),
        "{end:#?}"
    );
    let array = npy(&std::fs::read(dir.path().join("feed.npy")).expect("there"));
    assert_eq!((array.descr.as_str(), array.shape.as_str()), ("<i8", "(6, 1)"));
    assert_eq!(array.int64s(), [3, 4, 5, 6, 7, 8]);
    let offsets = npy(&std::fs::read(dir.path().join("feed.offsets.npy")).expect("there"));
    assert_eq!(offsets.int64s(), [3, 4, 5, 6, 7, 8]);
    for name in ["times", "received"] {
        let times = npy(&std::fs::read(dir.path().join(format!("feed.{name}.npy"))).expect("there"));
        assert_eq!((times.descr.as_str(), times.shape.as_str()), ("<M8[ns]", "(6,)"));
    }
    assert_eq!(names(dir.path()).len(), 5, "and nothing else: {:?}", names(dir.path()));
}

#[test]
fn each_topic_has_its_file_and_one_that_is_named_has_the_file_itself() {
    let made = Made::new()
        .message("arrays", 7, 0, "[1,2]")
        .message("users", 9, 5, r#"{"name":"Ann","age":30}"#)
        .message("arrays", 7, 1, "[3,4]");
    let end = made.export("out.npz", &[]).with_code(0);
    assert_eq!(end.stdout.len(), 2, "{end:#?}");
    assert_eq!(names(made.path()), ["feed.ndjson", "out-arrays.npz", "out-users.npz"]);
    assert_eq!(made.member("out-arrays.npz", "data").int64s(), [1, 2, 3, 4]);
    assert_eq!(made.member("out-users.npz", "age").int64s(), [30]);
    let name = made.member("out-users.npz", "name");
    assert_eq!(
        (name.descr.as_str(), name.data.as_slice()),
        ("<U3", b"A\0\0\0n\0\0\0n\0\0\0".as_slice())
    );
    made.export("one.npy", &["--topic", "arrays"]).with_code(0);
    assert!(names(made.path()).contains(&"one.npy".to_owned()));
    made.refused(
        "two.npy",
        &[],
        1,
        "topic users holds objects with fields such as \"name\", and npy takes one array",
    );
    made.refused(
        "two.npy",
        &["--topic", "orders"],
        2,
        "has no messages of topic \"orders\"",
    );
    made.refused("two.npy", &["--topic", "a b"], 2, "\"a b\" in --topic");
}

#[test]
fn shapes_and_types_that_differ_are_refused_with_their_offsets_and_nothing_is_written() {
    for (values, says) in [
        (
            ["[1,2]", "[3,4,5]"],
            "data of topic arrays has no one shape: (2,) at offset 0, (3,) at offset 1",
        ),
        (
            ["1", "[3]"],
            "data of topic arrays has no one shape: () at offset 0, (1,) at offset 1",
        ),
        (
            ["[[1],[2]]", "[[1],[2,3]]"],
            "data of topic arrays at offset 1 has lists of several lengths or depths in it",
        ),
        (
            ["[1]", "[true]"],
            "data of topic arrays has no one type: numbers at offset 0, booleans at offset 1",
        ),
        (
            ["1", "18446744073709551616"],
            "holds a whole number of more than 64 bits at offset 1",
        ),
        (
            ["-1", "9223372036854775808"],
            "holds a whole number beyond int64, beside some below 0 at offset 1",
        ),
        (
            ["0.5", "9007199254740993"],
            "holds a whole number that float64 would round, beside fractions at offset 1",
        ),
        (
            ["1", "\"one\""],
            "data of topic arrays has no one type: numbers at offset 0, text at offset 1",
        ),
        (
            ["[1]", "[null]"],
            "holds objects, or lists with text, objects or null in them, at offset 1",
        ),
        (
            ["1", "null"],
            "data of topic arrays holds null at offset 1, and npy takes arrays of numbers",
        ),
    ] {
        let made = Made::new()
            .message("arrays", 7, 0, values[0])
            .message("arrays", 7, 1, values[1]);
        made.refused("feed.npy", &[], 1, says);
    }
    let made = Made::new().message("arrays", 7, 0, "\"a\"");
    made.refused(
        "feed.npy",
        &[],
        1,
        "data of topic arrays holds text at offset 0, and npy takes arrays of numbers",
    );
    let made = Made::new().value("arrays", 7, 0, Value::Bytes(&[1]));
    made.refused(
        "feed.npz",
        &[],
        1,
        "field \"data_base64\" of topic arrays holds bytes at offset 0",
    );
    let made = Made::new().message("arrays", 7, 0, r#"{"a":1,"a":2}"#);
    made.refused(
        "feed.csv",
        &[],
        1,
        "field \"a\" stands twice in topic arrays at offset 0",
    );
}

#[test]
fn a_number_that_does_not_fit_the_type_is_refused_with_its_offset() {
    let made = Made::new()
        .message("arrays", 7, 0, "[-128]")
        .message("arrays", 7, 1, "[127]");
    made.export("fits.npz", &["--dtype", "int8"]).with_code(0);
    let data = made.member("fits.npz", "data");
    assert_eq!(
        (data.descr.as_str(), data.data.as_slice()),
        ("|i1", [0x80, 0x7f].as_slice())
    );
    made.refused(
        "feed.npy",
        &["--dtype", "uint8"],
        1,
        "-128 does not fit uint8: topic arrays at offset 0",
    );
    let made = made.message("arrays", 7, 2, "[128]");
    made.refused(
        "feed.npz",
        &["--dtype", "int8"],
        1,
        "128 does not fit int8: topic arrays at offset 2",
    );
    made.refused(
        "feed.npy",
        &["--dtype", "int7"],
        2,
        "--dtype \"int7\" is no type of numbers",
    );
    made.refused("feed.csv", &["--dtype", "int8"], 2, "--dtype means nothing for CSV");
    let users = Made::new().message("users", 7, 0, r#"{"a":1}"#);
    users.refused(
        "feed.npz",
        &["--dtype", "int8"],
        1,
        "--dtype is for topics of numbers, and topic users holds something else",
    );
}

#[test]
fn each_offset_is_there_once_and_what_is_left_out_is_told() {
    let made = Made::new()
        .messages("users", 1, 0..3)
        .messages("users", 1, 1..2)
        .note(&Note::Gap {
            topic: topic("users"),
            from: Offset::new(3),
            to: Offset::new(5),
            reason: Missed::Retention,
        })
        .messages("users", 1, 5..9)
        .note(&Note::Diverged {
            topic: topic("users"),
            epoch: Epoch::from_bits(2),
            at: Offset::new(7),
            to: Some(Offset::new(9)),
        })
        .messages("users", 2, 7..8)
        .messages("users", 2, 9..10)
        .messages("users", 2, 8..9)
        .raw(b"{\"topic\":\"users\",\"offset\":10}\n{\"topic");
    let end = made.export("feed.csv", &[]).with_code(3);
    let rows = made.rows("feed.csv");
    let column = |at: usize| rows[1..].iter().map(|row| row[at].clone()).collect::<Vec<_>>();
    assert_eq!(column(0), ["0", "1", "2", "5", "6", "7", "9"]);
    assert_eq!(column(4), column(0), "each with its own data");
    let epochs: Vec<_> = column(1).iter().map(|epoch| epoch[31..].to_owned()).collect();
    assert_eq!(epochs, ["1", "1", "1", "1", "1", "2", "2"]);
    let said = end.stdout.join("\n");
    assert!(
        said.contains("left out: 1 repeated, 1 out of order, 2 lost by the server, 1 damaged, 1 torn"),
        "{said}"
    );
    for part in [
        "gap",
        "3-4",
        "orphaned",
        "7-8",
        "late",
        "torn",
        "not proven: 1 missing, 1 repeated",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let end = made.export("feed.npz", &["--json"]).with_code(3);
    let told: serde_json::Value = serde_json::from_str(&end.stdout[0]).expect("JSON");
    assert_eq!(told["verdict"], "not_proven");
    assert_eq!(told["topics"][0]["messages"], 7);
    assert_eq!(
        (&told["left_out"]["orphaned"], &told["announced"]),
        (&2.into(), &2.into())
    );
    assert_eq!(made.member("feed.npz", "data").int64s(), [0, 1, 2, 5, 6, 7, 9]);
    let epochs = made.member("feed.npz", "epochs");
    assert_eq!((epochs.descr.as_str(), epochs.shape.as_str()), ("|S32", "(7,)"));
}

#[test]
fn a_gap_that_is_told_is_no_fault_when_that_is_allowed() {
    let made = Made::new()
        .messages("users", 1, 0..2)
        .note(&Note::Gap {
            topic: topic("users"),
            from: Offset::new(2),
            to: Offset::new(4),
            reason: Missed::Policy,
        })
        .messages("users", 1, 4..5);
    made.export("one.npy", &[]).with_code(3);
    let end = made.export("two.npy", &["--allow-gaps"]).with_code(0);
    let last = end.stdout.last().expect("a verdict");
    assert_eq!(last, "complete but for what was told: 2 announced as gone");
}

#[test]
fn parts_are_read_before_their_file_also_compressed_ones() {
    let dir = tempfile::tempdir().expect("a folder");
    let lines = |offsets| Made::new().messages("users", 1, offsets).lines;
    let packed = zstd::encode_all(&lines(0..3)[..], 3).expect("memory");
    let part = dir.path().join("feed.000001.ndjson.zst");
    std::fs::write(&part, &packed).expect("room");
    std::fs::write(dir.path().join("feed.000002.ndjson"), lines(3..6)).expect("room");
    let log = dir.path().join("feed.ndjson");
    std::fs::write(&log, lines(6..9)).expect("room");
    export(&log, &dir.path().join("all.npy"), &[]).with_code(0);
    let all = npy(&std::fs::read(dir.path().join("all.npy")).expect("there"));
    assert_eq!(all.int64s(), (0..9).collect::<Vec<_>>());
    // What cannot be taken apart ends early, and the files behind it are still there.
    std::fs::write(&part, &packed[..packed.len() - 8]).expect("room");
    let end = export(&log, &dir.path().join("rest.npy"), &[]).with_code(3);
    assert!(
        end.stdout.join("\n").contains("cannot be taken apart from here on"),
        "{end:#?}"
    );
    let rest = npy(&std::fs::read(dir.path().join("rest.npy")).expect("there")).int64s();
    assert!(rest.ends_with(&[3, 4, 5, 6, 7, 8]), "{rest:?}");
    let other = dir.path().join("other.ndjson");
    let end = lapwing(&[
        "export",
        text(&log),
        text(&other),
        "--to",
        text(&dir.path().join("x.npy")),
    ]);
    end.finish()
        .with_code(2)
        .said("are two recordings, and one is exported at a time");
}

#[test]
fn nothing_that_is_there_is_replaced_unless_that_is_asked_for_and_the_recording_never() {
    let made = Made::new().messages("users", 1, 0..2);
    let (log, target) = (made.log(), made.path().join("feed.npy"));
    std::fs::write(made.path().join("feed.times.npy"), "mine").expect("room");
    made.refused("feed.npy", &[], 1, "feed.times.npy is there already");
    export(&log, &target, &["--force"]).with_code(0);
    assert_ne!(
        std::fs::read(made.path().join("feed.times.npy")).expect("there"),
        b"mine"
    );
    // By any name: a link to it is the recording, too.
    std::fs::hard_link(&log, made.path().join("link.csv")).expect("room");
    for flags in [&[][..], &["--force"]] {
        export(&log, &made.path().join("link.csv"), flags)
            .with_code(2)
            .said("link.csv is the recording itself");
    }
    std::fs::create_dir(made.path().join("folder.csv")).expect("room");
    export(&log, &made.path().join("folder.csv"), &["--force"])
        .with_code(2)
        .said("is no file that could be replaced");
    export(&log, &made.path().join("nowhere/feed.csv"), &[])
        .with_code(1)
        .said("nowhere/feed.csv: no such file or directory");
    assert_eq!(std::fs::read(&log).expect("there"), made.lines);
}

#[test]
fn what_is_no_recording_or_no_form_is_told() {
    let dir = tempfile::tempdir().expect("a folder");
    let to = dir.path().join("feed.csv");
    export(&dir.path().join("none.ndjson"), &to, &[])
        .with_code(1)
        .said("no such file or directory");
    let log = dir.path().join("notes.ndjson");
    std::fs::write(&log, "19:00 users 3 [3]\n").expect("room");
    export(&log, &to, &[])
        .with_code(1)
        .said("is no recording: no line of it ends in a checksum");
    std::fs::write(&log, "").expect("room");
    export(&log, &to, &[]).with_code(1).said("has no messages");
    export(&log, &dir.path().join("feed.xlsx"), &[])
        .with_code(2)
        .said("its name ends in none of .npy, .npz, .parquet, .csv");
    export(Path::new("-"), &to, &[])
        .with_code(2)
        .said("it cannot come from stdin");
    lapwing(&["export", text(&log)]).finish().with_code(2).said("--to");
}

#[test]
fn columns_and_texts_have_limits() {
    let fields = |count: usize| {
        let fields: Vec<_> = (0..count).map(|at| format!("\"f{at}\":{at}")).collect();
        format!("{{{}}}", fields.join(","))
    };
    let made = Made::new().message("users", 1, 0, &fields(1000));
    made.export("at.csv", &[]).with_code(0);
    let made = made.message("users", 1, 1, &fields(1001));
    made.refused(
        "beyond.csv",
        &[],
        1,
        "topic users has more than 1000 fields: \"f1000\" at offset 1 is one more",
    );
    made.export("beyond.csv", &["--columns-max", "1001"]).with_code(0);
    made.refused(
        "x.csv",
        &["--columns-max", "10001"],
        2,
        "--columns-max \"10001\" is out of range: 1 to 10000",
    );
    made.refused("x.csv", &["--columns-max", "0"], 2, "is out of range: 1 to 10000");
    // Lists that agree have a column for each number while there is room, and one cell of JSON otherwise.
    let lists = Made::new().message("arrays", 1, 0, "[1,2]");
    lists.export("two.csv", &["--columns-max", "2"]).with_code(0);
    assert_eq!(lists.rows("two.csv")[0][4..], ["data.0", "data.1"]);
    lists.export("one.csv", &["--columns-max", "1"]).with_code(0);
    assert_eq!(
        (&lists.rows("one.csv")[0][4..], &lists.rows("one.csv")[1][4..]),
        (&["data".to_owned()][..], &["[1,2]".to_owned()][..])
    );
    let named = |chars: usize| format!("{{\"name\":\"{}\"}}", "é".repeat(chars));
    let made = Made::new().message("users", 1, 0, &named(1024));
    made.export("at.npz", &[]).with_code(0);
    assert_eq!(made.member("at.npz", "name").descr, "<U1024");
    let made = made.message("users", 1, 1, &named(1025));
    made.refused(
        "beyond.npz",
        &[],
        1,
        "field \"name\" of topic users has 1025 characters at offset 1; at most 1024 are taken",
    );
    made.export("beyond.npz", &["--text-max", "1025"]).with_code(0);
    made.refused(
        "x.npz",
        &["--text-max", "1000001"],
        2,
        "--text-max \"1000001\" is out of range: 1 to 1000000",
    );
}

#[test]
fn text_in_csv_comes_back_whatever_it_holds() {
    let made = Made::new()
        .message(
            "users",
            1,
            0,
            r#"{"a":"x, \"y\"\r\nz","b":1.50,"offset":"mine","c":{"d":[1,"e"]},"f":null}"#,
        )
        .message("users", 1, 1, r#"{"a":"=1+1","b":true,"f":"\ud800"}"#)
        .value("users", 1, 2, Value::Bytes(&[0, 255]));
    made.export("feed.csv", &[]).with_code(0);
    let rows = made.rows("feed.csv");
    let head = [
        "offset",
        "epoch",
        "time",
        "received",
        "a",
        "b",
        "data.offset",
        "c.d",
        "f",
        "data_base64",
    ];
    assert_eq!(rows[0], head);
    assert_eq!(rows[1][4..], ["x, \"y\"\r\nz", "1.50", "mine", "[1,\"e\"]", "", ""]);
    assert_eq!(rows[2][4..], ["=1+1", "true", "", "", "\"\\ud800\"", ""]);
    assert_eq!(rows[3][4..], ["", "", "", "", "", "AP8="]);
    let whole = std::fs::read_to_string(made.path().join("feed.csv")).expect("UTF-8");
    assert!(
        whole.ends_with("\r\n") && whole.contains("\"x, \"\"y\"\"\r\nz\""),
        "{whole}"
    );
}

#[test]
fn what_is_missing_in_an_archive_stands_beside_it() {
    let made = Made::new()
        .message("users", 1, 0, r#"{"a":1,"../b":"x","offsets":0.5}"#)
        .message("users", 1, 1, r#"{"a":null,"../b":"y","offsets":1}"#)
        .message("users", 1, 2, r#"{"../b":"","offsets":2}"#);
    made.export("feed.npz", &[]).with_code(0);
    assert_eq!(made.member("feed.npz", "a").int64s(), [1, 0, 0]);
    let missing = made.member("feed.npz", "a.missing");
    assert_eq!(
        (missing.descr.as_str(), missing.data.as_slice()),
        ("|b1", [0, 1, 1].as_slice())
    );
    assert_eq!(
        made.member("feed.npz", "..%2Fb").descr,
        "<U1",
        "no member leads out of a folder"
    );
    assert_eq!(made.member("feed.npz", "data.offsets").descr, "<f8");
    assert_eq!(made.member("feed.npz", "offsets").int64s(), [0, 1, 2]);
}

#[test]
fn a_feed_without_offsets_is_exported_without_them() {
    let mut made = Made::new();
    for value in ["1", "2"] {
        let arrival = Arrival {
            topic: &topic("-"),
            offset: None,
            epoch: None,
            time: None,
            received: Now::default(),
            value: Value::Json(value),
            bytes: 1,
        };
        LineWriter::default().message(&arrival, &mut made.lines);
    }
    made.export("feed.npz", &[]).with_code(0);
    assert_eq!(made.member("feed.npz", "offsets").int64s(), [-1, -1]);
    assert_eq!(
        made.member("feed.npz", "times").int64s(),
        [i64::MIN, i64::MIN],
        "not a time"
    );
    made.export("feed.csv", &[]).with_code(0);
    assert_eq!(made.rows("feed.csv")[1][..3], ["", "", ""]);
}

/// The recording is a pipe: it is given out once for each reading, and the program waits where a test wants it to.
#[test]
fn ctrl_c_leaves_nothing_behind() {
    for json in ["--json", "--output=text"] {
        let dir = tempfile::tempdir().expect("a folder");
        let log = pipe(dir.path());
        let program = lapwing(&["export", text(&log), "--to", text(&dir.path().join("feed.npy")), json]);
        std::fs::write(&log, Made::new().messages("users", 1, 0..5).lines).expect("it reads");
        begins_to_write(dir.path());
        program.signal(Signal::INT);
        let end = program.finish().with_code(1);
        end.said("stopped before the end: nothing was written");
        assert!(end.stdout.is_empty(), "{end:?}");
        assert_eq!(names(dir.path()), ["feed.ndjson"]);
    }
}

#[test]
fn a_recording_that_becomes_another_meanwhile_is_told() {
    for second in [
        Made::new().messages("users", 1, 0..4),
        Made::new().messages("users", 1, 0..4).message("users", 1, 4, "9"),
        Made::new().messages("users", 1, 0..4).message("users", 1, 4, "\"4\""),
    ] {
        let dir = tempfile::tempdir().expect("a folder");
        let log = pipe(dir.path());
        let program = lapwing(&["export", text(&log), "--to", text(&dir.path().join("feed.npy"))]);
        std::fs::write(&log, Made::new().messages("users", 1, 0..5).lines).expect("it reads");
        begins_to_write(dir.path());
        std::fs::write(&log, second.lines).expect("it reads again");
        let end = program.finish().with_code(1);
        end.said("the recording was changed by somebody else while it was read");
        assert_eq!(names(dir.path()), ["feed.ndjson"]);
    }
}

#[test]
fn what_is_written_meanwhile_is_left_for_the_next_time() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = pipe(dir.path());
    let target = dir.path().join("feed.npy");
    let program = lapwing(&["export", text(&log), "--to", text(&target)]);
    std::fs::write(&log, Made::new().messages("users", 1, 0..5).lines).expect("it reads");
    begins_to_write(dir.path());
    std::fs::write(&log, Made::new().messages("users", 1, 0..9).lines).expect("it reads again");
    program.finish().with_code(0);
    assert_eq!(npy(&std::fs::read(target).expect("there")).int64s(), [0, 1, 2, 3, 4]);
}

#[test]
fn memory_is_bounded_however_long_the_recording_is() {
    let message = format!("[{}]", vec!["7"; 25_000].join(","));
    let mut made = Made::new();
    for offset in 0..320 {
        made = made.message("arrays", 1, offset, &message);
    }
    // 16 MB of JSON, and 64 MB as an array.
    for target in ["feed.npz", "feed.npy", "feed.csv"] {
        let target = made.path().join(target);
        let program = lapwing(&[
            "export",
            text(&made.log()),
            "--to",
            text(&target),
            "--columns-max",
            "1000",
        ]);
        let status = format!("/proc/{}/status", program.id());
        let mut peak_kib = 0;
        let began = Instant::now();
        // A process that has ended has no memory any more.
        while let Some(kib) = std::fs::read_to_string(&status).ok().and_then(|status| peak(&status)) {
            peak_kib = kib.max(peak_kib);
            assert!(began.elapsed() < DEADLINE, "it does not end");
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        program.finish().with_code(0);
        assert!(
            (1..40 << 10).contains(&peak_kib),
            "{}: {peak_kib} KiB",
            target.display()
        );
    }
}

#[cfg(not(feature = "parquet"))]
#[test]
fn where_parquet_is_not_built_in_that_is_said_with_what_builds_it() {
    let made = Made::new().messages("users", 1, 0..2);
    made.refused("feed.parquet", &[], 2, "this lapwing was built without Parquet");
}

#[cfg(feature = "parquet")]
#[test]
fn parquet_begins_and_ends_as_parquet_does() {
    let made = Made::new()
        .message("users", 1, 0, "1")
        .message("users", 1, 1, "\"one\"");
    let end = made.export("feed.parquet", &[]).with_code(0);
    assert!(
        end.stdout[1].contains("as JSON, since it has no one type: data"),
        "{end:#?}"
    );
    let file = std::fs::read(made.path().join("feed.parquet")).expect("there");
    assert!(file.starts_with(b"PAR1") && file.ends_with(b"PAR1"));
    let made = Made::new()
        .message("arrays", 1, 0, "[1]")
        .message("arrays", 1, 1, "[300]");
    made.refused(
        "feed.parquet",
        &["--dtype", "uint8"],
        1,
        "300 does not fit uint8: topic arrays at offset 1",
    );
}

/// A recording as a test wants it.
struct Made {
    dir: tempfile::TempDir,
    lines: Vec<u8>,
}

impl Made {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().expect("a folder"),
            lines: Vec::new(),
        }
    }

    fn value(mut self, name: &str, epoch: u128, offset: u64, value: Value<'_>) -> Self {
        let arrival = Arrival {
            topic: &topic(name),
            offset: Some(Offset::new(offset)),
            epoch: Some(Epoch::from_bits(epoch)),
            time: Some("2026-11-21T19:00:14.1Z"),
            received: Now::default(),
            value,
            bytes: 1,
        };
        LineWriter::default().message(&arrival, &mut self.lines);
        self
    }

    fn message(self, name: &str, epoch: u128, offset: u64, json: &str) -> Self {
        self.value(name, epoch, offset, Value::Json(json))
    }

    /// Messages that say their offset.
    fn messages(self, name: &str, epoch: u128, offsets: std::ops::Range<u64>) -> Self {
        offsets.fold(self, |made, offset| {
            made.message(name, epoch, offset, &offset.to_string())
        })
    }

    fn note(mut self, note: &Note) -> Self {
        LineWriter::default().note(note, Now::default(), &mut self.lines);
        self
    }

    fn raw(mut self, bytes: &[u8]) -> Self {
        self.lines.extend_from_slice(bytes);
        self
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn log(&self) -> PathBuf {
        let log = self.path().join("feed.ndjson");
        std::fs::write(&log, &self.lines).expect("room");
        log
    }

    fn export(&self, to: &str, flags: &[&str]) -> Finished {
        export(&self.log(), &self.path().join(to), flags)
    }

    /// It says so, and leaves the folder as it was.
    #[track_caller]
    fn refused(&self, to: &str, flags: &[&str], code: i32, says: &str) {
        self.log();
        let before = names(self.path());
        let end = self.export(to, flags).with_code(code);
        end.said(says);
        assert!(end.stdout.is_empty(), "{end:#?}");
        assert_eq!(names(self.path()), before);
    }

    fn rows(&self, csv: &str) -> Vec<Vec<String>> {
        let mut reader = csv::ReaderBuilder::new();
        let reader = reader
            .has_headers(false)
            .from_path(self.path().join(csv))
            .expect("there");
        let rows = reader.into_records().map(|row| row.expect("as many cells in each row"));
        rows.map(|row| row.iter().map(str::to_owned).collect()).collect()
    }

    fn member(&self, npz: &str, name: &str) -> Array {
        let file = std::fs::File::open(self.path().join(npz)).expect("there");
        let mut archive = zip::ZipArchive::new(file).expect("an archive");
        let mut bytes = Vec::new();
        let mut member = archive.by_name(&format!("{name}.npy")).expect("a member");
        member.read_to_end(&mut bytes).expect("whole");
        npy(&bytes)
    }
}

/// An npy file, taken apart.
struct Array {
    descr: String,
    shape: String,
    data: Vec<u8>,
}

impl Array {
    fn int64s(&self) -> Vec<i64> {
        let cells = self.data.chunks_exact(8);
        cells
            .map(|cell| i64::from_le_bytes(cell.try_into().expect("8 bytes")))
            .collect()
    }
}

fn npy(bytes: &[u8]) -> Array {
    assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00");
    let length = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = std::str::from_utf8(&bytes[10..10 + length]).expect("ASCII");
    let between = |begin: &str, end: &str| {
        let (_, rest) = header.split_once(begin).expect(begin);
        rest.split_once(end).expect(end).0.to_owned()
    };
    Array {
        descr: between("'descr': '", "'"),
        shape: format!("({})", between("'shape': (", ")")),
        data: bytes[10 + length..].to_vec(),
    }
}

fn export(log: &Path, to: &Path, flags: &[&str]) -> Finished {
    lapwing(&[&["export", text(log), "--to", text(to)], flags].concat()).finish()
}

fn pipe(folder: &Path) -> PathBuf {
    let path = folder.join("feed.ndjson");
    let made = std::process::Command::new("mkfifo").arg(&path).status();
    assert!(made.expect("coreutils").success());
    path
}

/// Waits until the first reading is over: then all four files of an array are there, by other names.
#[track_caller]
fn begins_to_write(folder: &Path) {
    let began = Instant::now();
    while names(folder).len() < 5 {
        assert!(
            began.elapsed() < DEADLINE,
            "it never begins to write: {:?}",
            names(folder)
        );
        std::thread::yield_now();
    }
}

fn peak(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("there");
    let mut names: Vec<_> = entries
        .map(|entry| entry.expect("readable").file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    names
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}
