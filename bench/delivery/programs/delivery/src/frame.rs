//! WebSocket frames: those of a server written, and what a server sends cut into payloads.

/// Appends a server's text frame.
pub fn write_text(frames: &mut Vec<u8>, payload: &[u8]) {
    frames.push(0x81);
    write_length(frames, payload.len(), 0);
    frames.extend_from_slice(payload);
}

/// Appends a client's binary frame; masked with zeros, which a server cannot tell from another mask.
pub fn write_masked(frames: &mut Vec<u8>, payload: &[u8]) {
    frames.push(0x82);
    write_length(frames, payload.len(), 0x80);
    frames.extend_from_slice(&[0; 4]);
    frames.extend_from_slice(payload);
}

fn write_length(frames: &mut Vec<u8>, length: usize, mask_bit: u8) {
    match u16::try_from(length) {
        Ok(length @ 0..=125) => frames.push(mask_bit | length as u8),
        Ok(length) => {
            frames.push(mask_bit | 126);
            frames.extend_from_slice(&length.to_be_bytes());
        }
        Err(_) => {
            frames.push(mask_bit | 127);
            frames.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

/// Cuts a server's bytes into payloads, wherever the reads were cut. Control frames are passed over.
#[derive(Default)]
pub struct Cutter {
    held: Vec<u8>,
}

impl Cutter {
    /// Takes what was read; gives each payload that is whole.
    pub fn push(&mut self, mut bytes: &[u8], mut each: impl FnMut(&[u8])) {
        if self.held.is_empty() {
            while let Some((head, length)) = whole(bytes) {
                give(bytes[0], &bytes[head..length], &mut each);
                bytes = &bytes[length..];
            }
            self.held.extend_from_slice(bytes);
            return;
        }
        self.held.extend_from_slice(bytes);
        let mut at = 0;
        while let Some((head, length)) = whole(&self.held[at..]) {
            give(self.held[at], &self.held[at + head..at + length], &mut each);
            at += length;
        }
        self.held.drain(..at);
    }
}

fn give(first: u8, payload: &[u8], each: &mut impl FnMut(&[u8])) {
    if first & 0x08 == 0 {
        each(payload);
    }
}

/// Where the payload of the first frame begins and ends, if it is whole.
fn whole(bytes: &[u8]) -> Option<(usize, usize)> {
    let (head, length) = match bytes.get(1)? & 0x7f {
        126 => (4, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
        127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?) as usize),
        short => (2, usize::from(short)),
    };
    (bytes.len() >= head + length).then_some((head, head + length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_the_same_wherever_reads_are_cut() {
        let mut bytes = Vec::new();
        for length in [0, 125, 126, 65_535, 65_536] {
            write_text(&mut bytes, &vec![b'x'; length]);
        }
        bytes.extend_from_slice(&[0x89, 0]);
        for size in [1, 2, 3, 7, 1000, bytes.len()] {
            let (mut cutter, mut lengths) = (Cutter::default(), Vec::new());
            for part in bytes.chunks(size) {
                cutter.push(part, |payload| lengths.push(payload.len()));
            }
            assert_eq!(lengths, [0, 125, 126, 65_535, 65_536], "reads of {size}");
        }
    }
}
