//! A published body and its content type.

use lapwing::server::publish::Form;
use lapwing_wire::envelope::Kind;
use lapwing_wire::json::compact;

use crate::Entry;
use crate::input::{Input, text};

/// A choice of the content type, and the body.
pub const ENTRY: Entry = Entry {
    name: "publish_body",
    take,
    seeds: || {
        vec![
            ("json", b"\0{\"a\": 1}".to_vec()),
            ("lines", b"\x01{\"a\": 1}\n[2]\r\n\"x\"\n".to_vec()),
            ("empty-line", b"\x01{\"a\": 1}\n\n2".to_vec()),
            ("text", b"\x02 no json\n".to_vec()),
            ("bytes", b"\x03\x00\xff\xfe".to_vec()),
            ("no-utf8", b"\x02\xff".to_vec()),
        ]
    },
};

fn take(data: &[u8]) {
    let mut input = Input::new(data);
    let choice = input.byte() % 4;
    let body = input.rest();
    let types = [
        "application/json",
        "application/x-ndjson; charset=utf-8",
        "text/plain",
        "application/octet-stream",
    ];
    let Ok(form) = Form::of(Some(types[usize::from(choice)])) else {
        panic!("{} is taken", types[usize::from(choice)]);
    };
    if let Some(text) = text(body) {
        // Any header value is a refusal or one of the forms.
        let _ = Form::of(Some(text));
    }
    let Ok(payloads) = form.read(body) else { return };
    let messages = payloads.messages(0..payloads.len());
    match choice {
        1 => assert_eq!(
            messages.len(),
            body.strip_suffix(b"\n")
                .unwrap_or(body)
                .split(|&byte| byte == b'\n')
                .count()
        ),
        _ => assert_eq!(messages.len(), 1),
    }
    for message in messages {
        let text = text(message.payload);
        match message.kind {
            Kind::Json => assert_eq!(text.and_then(compact).as_deref(), text, "compact, and JSON"),
            Kind::Text => assert!(choice == 2 && text.is_some_and(|text| compact(text).is_none())),
            Kind::Bytes => assert!(choice == 3 && message.payload == body),
        }
    }
}
