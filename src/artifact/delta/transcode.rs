//! Owns making gzip out of what the cache has, for hosts that know nothing better. It goes on while others read what
//! there is of both.

use std::io;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use bytes::Buf as _;
use bytes::Bytes;
use tokio::runtime::Handle;

use super::super::compress;
use super::super::compress::CompressError;
use super::super::press::Codec;
use super::super::press::Effort;
use super::super::store::StoreError;
use super::super::storing::Storing;
use super::super::storing::Teller;
use super::Pack;

/// Begins it, in a file without a name in `dir`. The tar has `tar_bytes`.
pub(super) fn begin(from: Arc<Pack>, dir: Option<&Path>, tar_bytes: u64) -> io::Result<Arc<Pack>> {
    let dir = dir.ok_or_else(|| io::Error::other("the artifact is in no directory"))?;
    let mut out = tempfile::tempfile_in(dir)?;
    let (teller, storing) = Storing::begun(out.try_clone()?);
    let pack = storing.file().map(|file| Arc::new(Pack::growing(file, Codec::Gzip, &storing, tar_bytes)));
    let from = Following { pack: from, offset: 0, chunk: Bytes::new(), runtime: Handle::current() };
    let work = move || {
        let end = transcode(from, &mut out, &teller);
        teller.ended(end.map_err(StoreError::Gzip));
    };
    thread::Builder::new().name("gzip".to_owned()).spawn(work)?;
    pack.ok_or_else(|| io::Error::other("there is no file to write to"))
}

fn transcode(from: Following, out: &mut std::fs::File, teller: &Teller) -> io::Result<()> {
    let mut from = Codec::Zstd.reader(from)?;
    let how = (Codec::Gzip, Effort::Usual);
    let grew = |written, packed| teller.grew(written, packed);
    let copy = |chunks: &mut compress::Chunks<'_, '_>| io::copy(&mut from, chunks).map(drop);
    match compress::compress(how, out, grew, copy) {
        Ok(written) => {
            teller.completed(written.compressed_bytes);
            Ok(())
        }
        Err(CompressError::Output(error) | CompressError::Producer(error)) => Err(error),
    }
}

/// Reads a pack from its beginning, on a thread that may wait.
struct Following {
    pack: Arc<Pack>,
    offset: u64,
    chunk: Bytes,
    runtime: Handle,
}

impl Read for Following {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.chunk.is_empty() {
            self.chunk = self.runtime.block_on(self.pack.chunk(self.offset))?;
            self.offset += self.chunk.len() as u64;
        }
        let count = self.chunk.len().min(buffer.len());
        self.chunk.copy_to_slice(buffer.get_mut(..count).unwrap_or_default());
        Ok(count)
    }
}
