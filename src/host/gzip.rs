//! Owns gzipping what each host gets for itself. Knows not what it is.

use std::io;
use std::sync::Mutex;
use std::sync::PoisonError;

use flate2::Compress;
use flate2::Compression;
use flate2::Crc;
use flate2::FlushCompress;
use flate2::Status;

/// Deflate, no flags, no time, no extra flags, unknown system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// How much room there is at least for what comes out next.
const ROOM: usize = 4096;

/// One for all hosts: its tables take 370 KB, and one after the other for each of hundreds of hosts would leave as
/// many holes of that size between what stays.
static COMPRESSOR: Mutex<Option<Compress>> = Mutex::new(None);

/// Returns the bytes as a gzip file.
///
/// # Errors
///
/// None that is known: it is packed from memory into memory.
pub(super) fn gzipped(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut kept = COMPRESSOR.lock().unwrap_or_else(PoisonError::into_inner);
    let compressor = kept.get_or_insert_with(|| Compress::new(Compression::fast(), false));
    compressor.reset();
    let mut out = HEADER.to_vec();
    let mut rest = bytes;
    loop {
        out.reserve(ROOM);
        let before = compressor.total_in();
        let status = compressor.compress_vec(rest, &mut out, FlushCompress::Finish)?;
        let taken = usize::try_from(compressor.total_in() - before).map_err(io::Error::other)?;
        rest = rest.get(taken..).unwrap_or_default();
        if status == Status::StreamEnd {
            break;
        }
    }
    let mut crc = Crc::new();
    crc.update(bytes);
    out.extend(crc.sum().to_le_bytes());
    out.extend(crc.amount().to_le_bytes());
    Ok(out)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn what_was_packed_one_after_the_other_comes_out_each_as_it_was() {
        let noise: Vec<u8> = (0_u32..50_000).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for bytes in [&b""[..], b"settings", &[7; 100_000], &noise, b"settings"] {
            let packed = gzipped(bytes).unwrap();
            let mut unpacked = Vec::new();
            GzDecoder::new(packed.as_slice()).read_to_end(&mut unpacked).unwrap();
            assert!(unpacked == bytes, "{} bytes became {}", bytes.len(), unpacked.len());
        }
        assert_eq!(
            gzipped(b"settings").unwrap(),
            gzipped(b"settings").unwrap(),
            "nothing is left of the one before"
        );
    }
}
