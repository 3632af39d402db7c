//! Owns where symbolic links lead: never out of the release. Works on the list of what is packed, not
//! on the file system, because the hosts see only what is packed.

use std::collections::BTreeSet;
use std::collections::VecDeque;

use super::problem::shown;

/// As many links as Linux follows for one path.
const MAX_FOLLOWED: usize = 40;

/// What a path of the release is, as far as following links goes.
pub(super) enum Node<'a> {
    /// A link and its text.
    Symlink(&'a [u8]),
    /// A file or a directory.
    Other,
}

/// Where a link leads that does not leave the release.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Landing {
    /// To something that is packed, or into a linked directory.
    Present,
    /// To nothing that is packed (or round in a circle).
    Dangling,
}

/// Follows the link at `link`. `lookup` knows the packed tree; `linked` are the paths that become links
/// into `shared` on a host, from where `..` would lead elsewhere than here.
///
/// Both readings of the target are judged: the lexical one (what tar implementations look at) and the
/// one through other links (what the kernel does).
pub(super) fn follow<'a>(
    link: &[u8],
    target: &'a [u8],
    linked: &BTreeSet<Vec<u8>>,
    lookup: impl Fn(&[u8]) -> Option<Node<'a>>,
) -> Result<Landing, String> {
    if target.starts_with(b"/") {
        return Err(format!("the link is absolute (`{}`); make it relative", shown(target)));
    }
    let outside = || format!("the link leads outside of what is packed (`{}`)", shown(target));
    let mut here: Vec<&[u8]> = components(link).collect();
    here.pop();
    let mut depth = here.len();
    for part in components(target) {
        depth = match part {
            b".." => depth.checked_sub(1).ok_or_else(outside)?,
            _ => depth + 1,
        };
    }

    let mut ahead: VecDeque<&[u8]> = components(target).collect();
    let mut followed = 0;
    let mut landing = Landing::Present;
    while let Some(part) = ahead.pop_front() {
        if part == b".." {
            if linked.contains(&here.join(&b'/')) {
                let through = shown(&here.join(&b'/'));
                return Err(format!("the link leaves `{through}`, which lies in `shared` on hosts"));
            }
            here.pop().ok_or_else(outside)?;
            continue;
        }
        here.push(part);
        let path = here.join(&b'/');
        match lookup(&path) {
            Some(Node::Symlink(next)) => {
                if next.starts_with(b"/") {
                    return Err(format!("the link leads through `{}`, which is absolute", shown(&path)));
                }
                followed += 1;
                if followed > MAX_FOLLOWED {
                    return Ok(Landing::Dangling);
                }
                here.pop();
                for part in components(next).rev() {
                    ahead.push_front(part);
                }
            }
            Some(Node::Other) => {}
            None if is_linked(&path, linked) => {}
            None => landing = Landing::Dangling,
        }
    }
    Ok(landing)
}

fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|b| *b == b'/').filter(|part| !part.is_empty() && *part != b".")
}

fn is_linked(path: &[u8], linked: &BTreeSet<Vec<u8>>) -> bool {
    let ends = path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at);
    ends.chain([path.len()]).any(|end| path.get(..end).is_some_and(|head| linked.contains(head)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_link_may_lead_anywhere_inside_and_nowhere_outside() {
        let tree: BTreeMap<&str, Option<&str>> = [
            ("a", None),
            ("a/b", None),
            ("a/b/file", None),
            ("up", Some("a/..")),
            ("deep", Some("a/b")),
            ("abs", Some("/etc")),
            ("loop1", Some("loop2")),
            ("loop2", Some("loop1")),
        ]
        .into();
        let linked = BTreeSet::from([b"log".to_vec(), b"public/uploads".to_vec()]);
        let at = |link: &str, target: &'static str| {
            follow(link.as_bytes(), target.as_bytes(), &linked, |path| {
                let node = tree.get(std::str::from_utf8(path).unwrap())?;
                Some(node.map_or(Node::Other, |to| Node::Symlink(to.as_bytes())))
            })
        };
        for (link, target) in [
            ("l", "a/b/file"),
            ("l", "."),
            ("a/l", "b/../b/file"),
            ("a/b/l", "../../a"),
            ("l", "deep/../b/file"),
            ("l", "log"),
            ("l", "log/today/x"),
            ("public/l", "uploads/1.png"),
            ("l", "up/a"),
        ] {
            assert_eq!(at(link, target), Ok(Landing::Present), "{link} -> {target}");
        }
        for (link, target) in [("l", "gone"), ("a/l", "../gone/x"), ("l", "loop1"), ("l", "a/missing")] {
            assert_eq!(at(link, target), Ok(Landing::Dangling), "{link} -> {target}");
        }
        for (link, target) in [
            ("l", "/etc/passwd"),
            ("l", ".."),
            ("l", "a/../../x"),
            ("a/b/l", "../../../x"),
            // Lexically inside, but `up` is the root already.
            ("l", "up/../x"),
            // Inside for the kernel, but lexically outside.
            ("l", "deep/../../../x"),
            ("l", "abs/passwd"),
            ("l", "log/../x"),
            ("l", "public/uploads/.."),
        ] {
            assert!(at(link, target).is_err(), "{link} -> {target}");
        }
    }
}
