//! A client whose messages go back to it as they came (`/echo`).

use lapwing_wire::context::Context;
use lapwing_wire::decoder::{DecoderLimits, Deflated, Event as Frame, ProtocolError};
use lapwing_wire::deflate::{Inflater, Room};
use lapwing_wire::extension::Deflation;
use lapwing_wire::frame::{Opcode, Role, write_frame};

use crate::config::Limits;
use crate::session::Session;

/// What is kept of such a client.
#[derive(Default)]
pub struct Echo {
    /// Its compression, if one was agreed on.
    context: Option<Box<Context>>,
}

impl Echo {
    /// What its messages may be: in as many frames as it likes.
    pub const LIMITS: DecoderLimits = DecoderLimits {
        message_bytes_max: Limits::ECHO_BYTES_MAX,
        fragments_max: DecoderLimits::ANY_FRAGMENTS,
    };

    /// A client with this agreement about compression.
    #[must_use]
    pub fn new(agreed: Option<Deflation>) -> Self {
        Self {
            context: agreed.map(|agreed| Box::new(Context::new(agreed, Role::Server))),
        }
    }

    /// Sends a message back; other frames are no concern of this.
    pub fn on_message(&mut self, frame: Frame<'_>, session: &mut Session) {
        let (opcode, payload) = match frame {
            Frame::Text(text) => (Opcode::Text, text.as_bytes()),
            Frame::Binary(bytes) => (Opcode::Binary, bytes),
            _ => return,
        };
        let Some(frames) = session.own_frames() else { return };
        match &mut self.context {
            Some(context) => context.write_message(frames, opcode, payload, None),
            None => write_frame(frames, opcode, payload, None),
        }
    }

    /// Makes a message whole and sends it back; gives how long it was made.
    pub fn on_deflated(
        &mut self,
        message: Deflated<'_>,
        inflater: &mut Inflater,
        room: &Room,
        session: &mut Session,
    ) -> Result<usize, ProtocolError> {
        // Without an agreement there is no such message.
        let Some(context) = &mut self.context else { return Ok(0) };
        let inflated = context.inflate(inflater, message, Limits::ECHO_BYTES_MAX as usize, room)?;
        self.on_message(inflated.event()?, session);
        Ok(inflated.bytes())
    }
}
