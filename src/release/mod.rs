//! Owns what a release is: its id, where its files lie on a host, its manifest, which ones are kept.
//! Pure: no I/O, no other module of the crate.

mod id;
mod layout;
mod manifest;
mod patch;
pub mod retention;

pub use id::InvalidReleaseId;
pub use id::ReleaseId;
pub use layout::Layout;
pub use manifest::Digest;
pub use manifest::Entry;
pub use manifest::EntryKind;
pub use manifest::InvalidManifest;
pub use manifest::Manifest;
pub use patch::patch;
