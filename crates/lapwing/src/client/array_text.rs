//! Arrays that came as binary frames, as the messages of text that they stand for.

use lapwing_wire::envelope::Message;
use lapwing_wire::time::{TimeWriter, WallTime};

use super::feed;

/// Writes arrays as text; its memory serves for the next one.
#[derive(Default)]
pub struct ArrayText {
    times: TimeWriter,
    /// A time, and behind it a value.
    text: Vec<u8>,
}

impl ArrayText {
    /// The message that a binary frame stands for, with the value and the time that its text would have; none when it is no
    /// array of Lapwing's. A float is written in its shortest form, whatever it was made of.
    pub fn read<'a>(&'a mut self, frame: &'a [u8]) -> Option<Message<'a>> {
        let array = feed::array(frame)?;
        if self.text.capacity() > KEPT_BYTES_MAX {
            self.text = Vec::new();
        }
        self.text.clear();
        self.times.micros(array.time, &mut self.text);
        let time_bytes = self.text.len();
        array.write_value(&mut self.text);
        let (time, value) = std::str::from_utf8(&self.text).ok()?.split_at(time_bytes);
        Some(Message {
            topic: array.topic,
            offset: array.offset,
            time,
            base64: false,
            value,
        })
    }

    /// A time alone, as its text would have it.
    pub fn time(&mut self, time: WallTime) -> &str {
        self.text.clear();
        self.times.micros(time, &mut self.text);
        std::str::from_utf8(&self.text).unwrap_or_default()
    }
}

/// What a large array took is given back with the next.
const KEPT_BYTES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use lapwing_wire::array::ArrayWriter;
    use lapwing_wire::dtype::Dtype;
    use lapwing_wire::position::Offset;
    use lapwing_wire::topic::TopicName;

    use super::super::feed::OFFSET_MAX;
    use super::*;

    fn frame(offset: u64) -> Vec<u8> {
        let mut frame = Vec::new();
        let writer = ArrayWriter::new(TopicName::parse("n").expect("valid"), 3, Dtype::Float32);
        let time = WallTime::parse("2026-11-21T19:00:00.123456Z").expect("valid");
        assert!(writer.write(Offset::new(offset), time, b"[[0.1,1],[2.50,-3]]", &mut frame));
        frame
    }

    #[test]
    fn an_array_is_the_message_of_text_that_it_was_made_of() {
        let mut text = ArrayText::default();
        for offset in [0, 41, OFFSET_MAX - 1] {
            let frame = frame(offset);
            let message = text.read(&frame).expect("an array");
            assert_eq!(
                (message.topic, message.offset.get(), message.time),
                ("n", offset, "2026-11-21T19:00:00.123456Z")
            );
            assert_eq!((message.value, message.base64), ("[[0.1,1.0],[2.5,-3.0]]", false));
        }
    }

    #[test]
    fn what_is_no_array_of_ours_is_left() {
        let mut text = ArrayText::default();
        assert!(text.read(b"").is_none());
        assert!(text.read(b"LWA\x01").is_none());
        assert!(text.read(&frame(OFFSET_MAX)).is_none());
        assert!(text.read(&frame(1)[..40]).is_none());
    }
}
