use std::fs::File;
use std::io::{self, Write};

/// A file of TensorBoard events that is being written.
///
/// # Source
///
/// TensorFlow's record format (length, masked CRC-32C, bytes, masked CRC-32C) around messages of
/// `event.proto` and `summary.proto`.
#[derive(Debug)]
pub(super) struct EventFile<W = File> {
    file: W,
}

impl<W: Write> EventFile<W> {
    /// Begins a file: what earlier ones of the folder say of `first_step` and later ones is void.
    pub(super) fn begin(file: W, wall_time: f64, first_step: u64) -> io::Result<Self> {
        let mut this = Self { file };
        // Field 3: file_version.
        this.event(wall_time, 0, &message(3, b"brain.Event:2"))?;
        // Field 7: session_log, with status (1) START (1).
        this.event(wall_time, first_step, &message(7, &number(1, 1)))?;
        Ok(this)
    }

    /// Writes one number for each tag.
    pub(super) fn scalars(
        &mut self,
        wall_time: f64,
        step: u64,
        scalars: &[(String, f64)],
    ) -> io::Result<()> {
        let mut summary = Vec::new();
        for (tag, value) in scalars {
            // A Value: tag (1) and simple_value (2).
            let mut entry = message(1, tag.as_bytes());
            entry.push(2 << 3 | 5);
            entry.extend((*value as f32).to_le_bytes());
            summary.extend(message(1, &entry));
        }
        // Field 5: summary.
        self.event(wall_time, step, &message(5, &summary))
    }

    /// An event with wall_time (1), step (2) where it is not 0, and `what`.
    fn event(&mut self, wall_time: f64, step: u64, what: &[u8]) -> io::Result<()> {
        let mut event = vec![1 << 3 | 1];
        event.extend(wall_time.to_le_bytes());
        if step > 0 {
            event.extend(number(2, step));
        }
        event.extend(what);
        let len = (event.len() as u64).to_le_bytes();
        let record = [
            len.as_slice(),
            &masked_crc32c(&len).to_le_bytes(),
            &event,
            &masked_crc32c(&event).to_le_bytes(),
        ];
        self.file.write_all(&record.concat())
    }
}

/// A field of a protocol buffer that has a length.
fn message(field: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![field << 3 | 2];
    varint(bytes.len() as u64, &mut out);
    out.extend(bytes);
    out
}

/// A field that is a whole number.
fn number(field: u8, value: u64) -> Vec<u8> {
    let mut out = vec![field << 3];
    varint(value, &mut out);
    out
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn masked_crc32c(bytes: &[u8]) -> u32 {
    let mut crc = !0_u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82F6_3B78 & (crc & 1).wrapping_neg());
        }
    }
    (!crc).rotate_right(15).wrapping_add(0xA282_EAD8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by TensorBoard's own classes; the script is beside it.
    #[test]
    fn the_bytes_are_those_of_tensorboard() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../tests/fixtures/tensorboard/events.bin"
        );
        let mut bytes = Vec::new();
        let mut file = EventFile::begin(&mut bytes, 1.5, 301).unwrap();
        for step in [301, 302] {
            let scalars = [
                ("train/loss".to_owned(), 1.25 / step as f64),
                ("train/learning_rate".to_owned(), 2e-4),
            ];
            file.scalars(step as f64, step, &scalars).unwrap();
        }
        assert_eq!(bytes, std::fs::read(path).unwrap());
    }
}
