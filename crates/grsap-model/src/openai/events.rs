use std::io::{self, BufRead as _, BufReader, Read, Take};

/// Why the bytes of an answer do not come.
#[derive(Debug)]
pub(super) enum ReadFailure {
    /// The connection's fault.
    Io(io::Error),
    /// There are more than are read.
    TooLarge,
}

/// Reads server-sent events one by one. Holds one event at a time, and reads at most `limit` bytes
/// in all.
///
/// # Source
///
/// HTML Living Standard, section 9.2; of the fields only `data` matters here. One thing differs: an
/// event at the end of the stream counts without the blank line that should follow it.
pub(super) struct Events<R> {
    reader: BufReader<Take<R>>,
    line: Vec<u8>,
    num_bytes: usize,
    limit: usize,
}

impl<R: Read> Events<R> {
    pub(super) fn new(reader: R, limit: usize) -> Self {
        // One byte more than may come is enough to see that there are too many.
        let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
        Self {
            reader: BufReader::new(reader.take(most)),
            line: Vec::new(),
            num_bytes: 0,
            limit,
        }
    }

    /// The data of the next event; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Vec<u8>>, ReadFailure> {
        let mut data: Option<Vec<u8>> = None;
        loop {
            self.line.clear();
            let read = self.reader.read_until(b'\n', &mut self.line);
            let num_bytes = read.map_err(ReadFailure::Io)?;
            self.num_bytes += num_bytes;
            if self.num_bytes > self.limit {
                return Err(ReadFailure::TooLarge);
            }
            if num_bytes == 0 {
                return Ok(data);
            }
            let line = self.line.strip_suffix(b"\n").unwrap_or(&self.line);
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() {
                // An event without data is none; some servers keep a connection awake with them.
                match data.take() {
                    Some(data) if !data.is_empty() => return Ok(Some(data)),
                    _ => {}
                }
            } else if let Some(value) = line.strip_prefix(b"data:") {
                let value = value.strip_prefix(b" ").unwrap_or(value);
                match &mut data {
                    Some(data) => {
                        data.push(b'\n');
                        data.extend_from_slice(value);
                    }
                    None => data = Some(value.to_vec()),
                }
            }
        }
    }
}

/// All bytes of an answer, at most `limit`.
pub(super) fn read_all(reader: impl Read, limit: usize) -> Result<Vec<u8>, ReadFailure> {
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    let read = reader.take(most).read_to_end(&mut bytes);
    read.map_err(ReadFailure::Io)?;
    if bytes.len() > limit {
        return Err(ReadFailure::TooLarge);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one byte at a time.
    struct Slow<'a>(&'a [u8]);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let (first, rest) = self.0.split_at(self.0.len().min(1));
            buffer[..first.len()].copy_from_slice(first);
            self.0 = rest;
            Ok(first.len())
        }
    }

    fn all(text: &str, limit: usize) -> Result<Vec<String>, ReadFailure> {
        let mut events = Events::new(Slow(text.as_bytes()), limit);
        let mut all = Vec::new();
        while let Some(data) = events.next()? {
            all.push(String::from_utf8(data).unwrap());
        }
        Ok(all)
    }

    #[test]
    fn events_are_parted_by_blank_lines() {
        let text = ": ping\n\ndata: a\n\nevent: x\r\nid: 1\r\ndata:b\r\n\r\n\n\ndata:  c\ndata\ndata: d\n\n\
                    retry: 5\n\ndata: end";
        assert_eq!(all(text, 1000).unwrap(), ["a", "b", " c\nd", "end"]);
        assert_eq!(all("", 1000).unwrap(), [""; 0]);
        assert_eq!(all("data: a", 1000).unwrap(), ["a"]);
    }

    #[test]
    fn what_is_too_long_is_not_kept() {
        assert!(all("data: a\n\n", 9).is_ok());
        assert!(matches!(all("data: a\n\n", 8), Err(ReadFailure::TooLarge)));
        let mut endless = Events::new(io::repeat(b'x'), 1 << 20);
        assert!(matches!(endless.next(), Err(ReadFailure::TooLarge)));
        assert!(endless.line.capacity() <= 4 << 20);
        let empty_lines = Events::new(io::repeat(b'\n'), 1 << 20).next();
        assert!(matches!(empty_lines, Err(ReadFailure::TooLarge)));
        assert!(matches!(
            read_all(io::repeat(b'x'), 99),
            Err(ReadFailure::TooLarge)
        ));
        assert_eq!(read_all(b"abc".as_slice(), 3).unwrap(), b"abc");
    }
}
