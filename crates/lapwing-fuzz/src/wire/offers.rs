//! What a client offers: extensions and subprotocols.

use lapwing_wire::extension::agree;
use lapwing_wire::handshake::choose_protocol;

use crate::Entry;
use crate::input::text;

/// A header of offers.
pub const ENTRY: Entry = Entry {
    name: "offers",
    take,
    seeds: || {
        [
            ("browser", "permessage-deflate; client_max_window_bits"),
            (
                "several",
                "x-webkit-deflate-frame, permessage-deflate; server_max_window_bits=10, permessage-deflate",
            ),
            (
                "quoted",
                "permessage-deflate; server_max_window_bits=\"15\"; server_no_context_takeover",
            ),
            (
                "twice",
                "permessage-deflate; client_max_window_bits=9; client_max_window_bits=9",
            ),
            ("protocols", "chat, lapwing.v1, , superchat"),
            ("open-quote", "a;b=\"c, permessage-deflate"),
        ]
        .map(|(name, text)| (name, text.as_bytes().to_vec()))
        .into()
    },
};

fn take(data: &[u8]) {
    let Some(offered) = text(data) else { return };
    let agreed = agree(offered);
    if let Some(answer) = agreed {
        assert!(offered.contains("permessage-deflate"));
        let named = answer.contains("server_max_window_bits");
        assert!(
            !named || offered.contains("server_max_window_bits"),
            "only what was offered is answered"
        );
        // Both sides keep no context: that is how messages are made here.
        assert!(answer.contains("server_no_context_takeover; client_no_context_takeover"));
    }
    assert_eq!(
        agree(&format!("x-other; y=1, {offered}")),
        agreed,
        "what is unknown is passed over"
    );
    if !offered.contains('"') {
        assert_eq!(
            agree(&format!("{offered}, x-other")),
            agreed,
            "the first that can be met is taken"
        );
    }
    let supported = ["lapwing.v1", "lapwing.v2"];
    if let Some(chosen) = choose_protocol(offered, &supported) {
        assert!(supported.contains(&chosen) && offered.contains(chosen));
    }
}
