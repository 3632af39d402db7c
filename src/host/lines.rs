//! Owns cutting a stream of bytes into lines of text.

/// Bytes that did not yet make a line.
#[derive(Debug, Default)]
pub(super) struct Lines {
    rest: Vec<u8>,
}

/// A line longer than this is handed on in pieces, so that output without line ends stays bounded.
const LONGEST: usize = 64 * 1024;

impl Lines {
    /// Adds bytes and hands on every line that they end.
    pub(super) fn push(&mut self, bytes: &[u8], mut line: impl FnMut(&str)) {
        self.rest.extend_from_slice(bytes);
        let mut start = 0;
        while let Some(at) = self.rest.get(start..).and_then(|rest| rest.iter().position(|b| *b == b'\n')) {
            let found = self.rest.get(start..start + at).unwrap_or_default();
            line(String::from_utf8_lossy(found).trim_end_matches('\r'));
            start += at + 1;
        }
        self.rest.drain(..start);
        if self.rest.len() > LONGEST {
            self.finish(line);
        }
    }

    /// Hands on what is left.
    pub(super) fn finish(&mut self, mut line: impl FnMut(&str)) {
        if !self.rest.is_empty() {
            line(&String::from_utf8_lossy(&self.rest));
            self.rest.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_however_the_bytes_are_cut() {
        let text = b"one\ntwo\r\n\nlast";
        for size in 1..text.len() {
            let mut found = Vec::new();
            let mut lines = Lines::default();
            for chunk in text.chunks(size) {
                lines.push(chunk, |line| found.push(line.to_owned()));
            }
            lines.finish(|line| found.push(line.to_owned()));
            assert_eq!(found, ["one", "two", "", "last"], "{size}");
        }
    }
}
