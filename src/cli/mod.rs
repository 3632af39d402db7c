//! Placeholder for the map; see lib.rs.

pub mod ask;
pub mod serve;
