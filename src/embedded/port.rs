//! Owns the choice of a port for an app. Knows neither the app nor its host.

use std::collections::BTreeSet;
use std::io;
use std::net::Ipv4Addr;
use std::net::TcpListener;
use std::ops::Range;

/// Below what systems give to outgoing connections and to listeners that do not ask for a port (from 32768
/// on Linux, from 49152 on macOS): nothing takes one of these by chance before the app listens there.
const PORTS: Range<u16> = 20_000..32_000;

/// Chooses a port of loopback that nobody listens on just now and that is not among `taken`, at random, so
/// that two who choose at the same time hardly choose the same.
pub fn free_port(taken: &BTreeSet<u16>) -> io::Result<u16> {
    let count = PORTS.end - PORTS.start;
    let first = getrandom::u32().map_err(io::Error::other)? % u32::from(count);
    let from = PORTS.start + u16::try_from(first).unwrap_or_default();
    (from..PORTS.end)
        .chain(PORTS.start..from)
        .filter(|port| !taken.contains(port))
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .ok_or_else(|| {
            let text = format!("no port from {} to {} is free", PORTS.start, PORTS.end - 1);
            io::Error::new(io::ErrorKind::AddrInUse, text)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_or_listened_on_is_not_chosen() {
        // Others here may take a port for a moment in between; not each time.
        let held = (0..50).find_map(|_| {
            let port = free_port(&BTreeSet::new()).unwrap();
            assert!(PORTS.contains(&port));
            let all_others: BTreeSet<u16> = PORTS.filter(|other| *other != port).collect();
            assert_eq!(free_port(&all_others).ok()?, port);
            Some((TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()?, all_others))
        });
        let (_listener, all_others) = held.unwrap();
        let none = free_port(&all_others).unwrap_err();
        assert_eq!(none.to_string(), "no port from 20000 to 31999 is free");
    }
}
