//! Placeholder for the map; see lib.rs.
