//! Owns what the headers of other people's tars mean: names in GNU or PAX extensions, types, modes.
//! Strict where readers disagree, because a file that two tars unpack differently hides something.

use std::io;
use std::io::Read;

use tar::EntryType;
use tar::Header;
use tar::PaxExtensions;

/// No name is longer, and what is longer is no name.
const MAX_EXTENSION: u64 = 64 * 1024;

/// What extensions said about the entry that follows them.
#[derive(Debug, Default)]
pub(super) struct Extensions {
    gnu_path: Option<Vec<u8>>,
    gnu_target: Option<Vec<u8>>,
    pax_path: Option<Vec<u8>>,
    pax_target: Option<Vec<u8>>,
    pax_size: Option<u64>,
}

/// What an entry is, before its content is read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Describes the next entry, and was noted.
    Extension,
    Directory,
    File {
        executable: bool,
    },
    Symlink {
        target: Vec<u8>,
    },
    /// May not be unpacked, and why.
    Refused(String),
}

/// One header, understood.
#[derive(Debug)]
pub(super) struct Understood {
    pub(super) path: Vec<u8>,
    pub(super) kind: Kind,
}

impl Extensions {
    /// Reads one header; of an extension the content too. The error says what is wrong with the tar
    /// as a whole.
    pub(super) fn understand(
        &mut self,
        header: &Header,
        size: u64,
        content: &mut impl Read,
    ) -> Result<Understood, String> {
        let kind = header.entry_type();
        match kind {
            EntryType::GNULongName => self.gnu_path = Some(text(size, content)?),
            EntryType::GNULongLink => self.gnu_target = Some(text(size, content)?),
            EntryType::XHeader => self.pax(&bytes(size, content)?)?,
            EntryType::XGlobalHeader => no_overrides(&bytes(size, content)?)?,
            _ => return self.entry(header, kind, size),
        }
        Ok(Understood { path: Vec::new(), kind: Kind::Extension })
    }

    fn entry(&mut self, header: &Header, kind: EntryType, size: u64) -> Result<Understood, String> {
        let Self { gnu_path, gnu_target, pax_path, pax_target, pax_size } = std::mem::take(self);
        let path = one_of(pax_path, gnu_path, "name")?.unwrap_or_else(|| header.path_bytes().into_owned());
        let shown = super::shown(&path);
        if pax_size.is_some_and(|pax| pax != size) {
            return Err(format!("{shown} has two sizes; make the tarball with `tar --format=gnu`"));
        }
        let mode = header.mode().map_err(|error| format!("{shown} has no mode: {error}"))?;
        let kind = match kind {
            // The oldest tars mark a directory by its name alone, and so do some readers still.
            EntryType::Regular if path.ends_with(b"/") && size == 0 => Kind::Directory,
            EntryType::Regular if path.ends_with(b"/") => {
                Kind::Refused("it is named like a directory".to_owned())
            }
            EntryType::Regular => Kind::File { executable: mode & 0o100 != 0 },
            EntryType::Directory | EntryType::Symlink if size != 0 => {
                Kind::Refused("it has content, but is no file".to_owned())
            }
            EntryType::Directory => Kind::Directory,
            EntryType::Symlink => {
                let target = one_of(pax_target, gnu_target, "link target")?;
                let target = target.or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned));
                Kind::Symlink { target: target.unwrap_or_default() }
            }
            EntryType::Link => {
                Kind::Refused("it is a hard link; make the tarball with `tar --hard-dereference`".to_owned())
            }
            EntryType::Char | EntryType::Block => Kind::Refused("it is a device".to_owned()),
            EntryType::Fifo => Kind::Refused("it is a named pipe".to_owned()),
            EntryType::GNUSparse => {
                Kind::Refused("it is a sparse file; make the tarball without `--sparse`".to_owned())
            }
            other => Kind::Refused(format!("it is of the unknown type {:?}", char::from(other.as_byte()))),
        };
        Ok(Understood { path, kind })
    }

    /// Whether extensions wait for an entry that never came.
    pub(super) fn pending(&self) -> bool {
        let Self { gnu_path, gnu_target, pax_path, pax_target, pax_size } = self;
        [gnu_path, gnu_target, pax_path, pax_target].iter().any(|text| text.is_some()) || pax_size.is_some()
    }

    fn pax(&mut self, records: &[u8]) -> Result<(), String> {
        for record in PaxExtensions::new(records) {
            let record = record.map_err(|error| format!("bad PAX header: {error}"))?;
            match record.key_bytes() {
                b"path" => self.pax_path = Some(record.value_bytes().to_vec()),
                b"linkpath" => self.pax_target = Some(record.value_bytes().to_vec()),
                b"size" => {
                    let size = record.value().ok().and_then(|text| text.parse().ok());
                    self.pax_size = Some(size.ok_or("bad PAX header: a size that is no number")?);
                }
                key if key.starts_with(b"GNU.sparse.") => {
                    return Err("it contains sparse files; make the tarball without `--sparse`".to_owned());
                }
                // Times, owners and attributes do not travel.
                _ => {}
            }
        }
        Ok(())
    }
}

/// A name given twice must be the same; readers disagree on which one counts.
fn one_of(pax: Option<Vec<u8>>, gnu: Option<Vec<u8>>, what: &str) -> Result<Option<Vec<u8>>, String> {
    match (pax, gnu) {
        (Some(pax), Some(gnu)) if pax != gnu => {
            Err(format!("{} also has another {what}, {}", super::shown(&pax), super::shown(&gnu)))
        }
        (pax, gnu) => Ok(pax.or(gnu)),
    }
}

/// A header for all entries may say what a tarball was made of (`git archive` does), but not what is
/// in it: BusyBox would not obey.
fn no_overrides(records: &[u8]) -> Result<(), String> {
    for record in PaxExtensions::new(records) {
        let record = record.map_err(|error| format!("bad global PAX header: {error}"))?;
        let key = record.key_bytes();
        if [&b"path"[..], b"linkpath", b"size"].contains(&key) || key.starts_with(b"GNU.sparse.") {
            return Err("a global PAX header names or sizes files".to_owned());
        }
    }
    Ok(())
}

fn bytes(size: u64, content: &mut impl Read) -> Result<Vec<u8>, String> {
    if size > MAX_EXTENSION {
        return Err(format!("a header extension of {size} bytes; no name is so long"));
    }
    let mut bytes = Vec::new();
    let read: io::Result<usize> = content.take(MAX_EXTENSION).read_to_end(&mut bytes);
    match read {
        Ok(count) if count as u64 == size => Ok(bytes),
        Ok(_) => Err("it ends in the middle of a header extension".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn text(size: u64, content: &mut impl Read) -> Result<Vec<u8>, String> {
    let mut text = bytes(size, content)?;
    if text.last() == Some(&0) {
        text.pop();
    }
    Ok(text)
}
