//! Owns the memory that a chunk lies in: taken from the system for itself, and given back to it. An allocator would
//! keep what is freed: of a few chunks at a time, of some megabytes each, as much again as is in use.

use std::io;
use std::io::Read;
use std::io::Write;
use std::ops::Deref;
use std::ops::DerefMut;

use memmap2::MmapMut;

/// How much memory is asked for at a time when it is about to be filled. Left to itself, the system hands out each page
/// when it is first touched, which for a chunk that is only read and written costs as much as both.
const STEP: usize = 256 * 1024;

/// Bytes, and room for more.
#[derive(Debug)]
pub(super) struct Buffer {
    memory: MmapMut,
    used: usize,
    /// How much of it the system has handed out already, as far as that was asked for.
    backed: usize,
}

impl Buffer {
    /// Returns one with no bytes yet, and room for so many.
    ///
    /// # Errors
    ///
    /// When the system has no memory to give.
    pub(super) fn with_room(bytes: usize) -> io::Result<Self> {
        Ok(Self { memory: MmapMut::map_anon(bytes.max(1))?, used: 0, backed: 0 })
    }

    /// The room that is left.
    pub(super) fn spare(&mut self) -> &mut [u8] {
        self.memory.get_mut(self.used..).unwrap_or_default()
    }

    /// Takes over so many bytes that were put into the room that was left.
    pub(super) fn filled(&mut self, bytes: usize) {
        self.used = self.memory.len().min(self.used + bytes);
    }

    /// Sees to it that there is room for so many more, which are about to come.
    pub(super) fn reserve(&mut self, bytes: usize) -> io::Result<()> {
        if self.memory.len() - self.used < bytes {
            let mut larger = Self::with_room((self.memory.len() * 2).max(self.used + bytes))?;
            larger.write_all(self)?;
            *self = larger;
        }
        self.back(self.used + bytes);
        Ok(())
    }

    /// Has the system hand out what lies before `end`, if it knows how to (Linux 5.14).
    fn back(&mut self, end: usize) {
        if end <= self.backed {
            return;
        }
        let from = self.backed;
        self.backed = end.next_multiple_of(STEP).min(self.memory.len());
        #[cfg(target_os = "linux")]
        let _ = self.memory.advise_range(memmap2::Advice::PopulateWrite, from, self.backed - from);
        #[cfg(not(target_os = "linux"))]
        let _ = from;
    }

    /// Reads up to so many bytes, fewer where there are no more. Returns how many.
    pub(super) fn read_from(&mut self, mut from: impl Read, bytes: usize) -> io::Result<usize> {
        self.reserve(bytes)?;
        let mut read = 0;
        while read < bytes {
            let room = self.spare().get_mut(..bytes - read).unwrap_or_default();
            match from.read(room) {
                Ok(0) => break,
                Ok(count) => {
                    self.filled(count);
                    read += count;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.memory.get(..self.used).unwrap_or_default()
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.memory.get_mut(..self.used).unwrap_or_default()
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.reserve(bytes.len())?;
        if let Some(room) = self.spare().get_mut(..bytes.len()) {
            room.copy_from_slice(bytes);
        }
        self.filled(bytes.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_in_comes_out_in_order_however_little_room_there_was() {
        let mut buffer = Buffer::with_room(0).unwrap();
        assert!(buffer.is_empty());
        let parts: Vec<Vec<u8>> = (0..20_u8).map(|n| vec![n; usize::from(n) * 1000]).collect();
        for part in &parts {
            buffer.write_all(part).unwrap();
        }
        assert!(*buffer == *parts.concat());
        let before = buffer.len();
        assert_eq!(buffer.read_from(&[7_u8; 10][..], 4).unwrap(), 4);
        assert_eq!(buffer.read_from(&[8_u8; 3][..], 100_000).unwrap(), 3);
        assert_eq!(buffer.get(before..).unwrap(), [7, 7, 7, 7, 8, 8, 8]);
    }
}
