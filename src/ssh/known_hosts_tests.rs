use std::os::unix::fs::PermissionsExt;

use super::*;

const ED1: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB9dG4kjRhQTtWTVzd2t27+t0DEHBPW7iOD23TUiYLio";
const ED2: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILkyieHM8eBaEOEDfG1OUVPk8fgwReOL1zUCp6mmJZ+g";
const ECDSA: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBPBSXdqZ8Di9qgDYGPcBEPzTx33TwZt4GYAr2oPzHamtpfbG6i81QuwEgCQyZQCCwvBLzfq8xpaUds6sjKJxFRo=";

fn key(text: &str) -> PublicKey {
    // With a comment, as hosts have none and files often do: it must not matter.
    PublicKey::from_openssh(&format!("{text} somebody's comment")).unwrap()
}

fn files(texts: &[&str]) -> Vec<File> {
    let named = |(n, text): (usize, &&str)| File {
        path: format!("f{n}").into(),
        text: Box::new(io::Cursor::new((*text).to_owned())),
    };
    texts.iter().enumerate().map(named).collect()
}

fn known(files: Vec<File>, host: &str, port: u16) -> Known {
    let [known] = look_up(files, [(host, port)]).unwrap();
    known
}

/// What the files say about `host:port` presenting `presented`, in a word and with the places.
fn verdict(texts: &[&str], host: &str, port: u16, presented: &str) -> String {
    let places = |keys: &[KnownKey]| {
        let places: Vec<_> = keys.iter().map(|key| format!("{}:{}", key.file.display(), key.line)).collect();
        places.join(" ")
    };
    match known(files(texts), host, port).judge(&key(presented)) {
        Verdict::Known => "known".to_owned(),
        Verdict::Revoked(key) => format!("revoked {}", places(&[key])),
        Verdict::Changed(keys) => format!("changed {}", places(&keys)),
        Verdict::Unknown(keys) if keys.is_empty() => "unknown".to_owned(),
        Verdict::Unknown(keys) => format!("other types {}", places(&keys)),
    }
}

/// A line with the name hashed as OpenSSH does it.
fn hash(name: &str, key: &str) -> String {
    use base64ish::encode;
    let salt = [7; 20];
    format!("|1|{}|{} {key}\n", encode(&salt), encode(&hashed(&salt, name).unwrap()))
}

/// Just enough base64 for the lines above.
mod base64ish {
    pub(super) fn encode(bytes: &[u8]) -> String {
        const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut text = String::new();
        for chunk in bytes.chunks(3) {
            let word = (0..3).fold(0, |word, n| word << 8 | u32::from(*chunk.get(n).unwrap_or(&0)));
            for n in 0..4 {
                let digit = DIGITS[(word >> (18 - 6 * n) & 63) as usize];
                text.push(if n > chunk.len() { '=' } else { digit as char });
            }
        }
        text
    }
}

/// What it is about, the files, host and port, the key the host presents, what that means.
type Case = (&'static str, Vec<String>, &'static str, u16, &'static str, &'static str);

#[test]
fn every_trap_of_the_format_is_seen_as_openssh_sees_it() {
    let ed1 = |hosts: &str| format!("{hosts} {ED1}\n");
    let cases: Vec<Case> = vec![
        ("a plain name", vec![ed1("web")], "web", 22, ED1, "known"),
        ("nothing at all", vec![], "web", 22, ED1, "unknown"),
        ("another host", vec![ed1("web2")], "web", 22, ED1, "unknown"),
        ("another key", vec![ed1("web")], "web", 22, ED2, "changed f0:1"),
        ("another type", vec![ed1("web")], "web", 22, ECDSA, "other types f0:1"),
        ("a list of names", vec![ed1("a,web,b")], "web", 22, ED1, "known"),
        ("upper case in the file", vec![ed1("WEB.Example")], "web.example", 22, ED1, "known"),
        ("upper case in the name", vec![ed1("web.example")], "WEB.Example", 22, ED1, "known"),
        ("a port", vec![ed1("[web]:2222")], "web", 2222, ED1, "known"),
        ("another port", vec![ed1("[web]:2223")], "web", 2222, ED1, "unknown"),
        ("a port where none is meant", vec![ed1("[web]:2222")], "web", 22, ED1, "unknown"),
        ("an IPv6 address", vec![ed1("2001:db8::1")], "2001:db8::1", 22, ED1, "known"),
        ("an IPv6 address and port", vec![ed1("[2001:db8::1]:2222")], "2001:db8::1", 2222, ED1, "known"),
        ("a star", vec![ed1("*.example")], "a.b.example", 22, ED1, "known"),
        ("a star that does not reach", vec![ed1("*.example")], "example", 22, ED1, "unknown"),
        ("a star for every port", vec![ed1("[web]:*")], "web", 2222, ED1, "known"),
        ("a question mark", vec![ed1("web?")], "web1", 22, ED1, "known"),
        ("a question mark for nothing", vec![ed1("web?")], "web", 22, ED1, "unknown"),
        ("a negation after", vec![ed1("*.example,!web.example")], "web.example", 22, ED1, "unknown"),
        ("a negation before", vec![ed1("!web.example,*.example")], "web.example", 22, ED1, "unknown"),
        ("a negation of others", vec![ed1("*.example,!db.example")], "web.example", 22, ED1, "known"),
        ("a negation alone", vec![ed1("!db.example")], "web.example", 22, ED1, "unknown"),
        ("a hashed name", vec![hash("web", ED1)], "WEB", 22, ED1, "known"),
        ("a hashed name and port", vec![hash("[web]:2222", ED1)], "web", 2222, ED1, "known"),
        ("another hashed name", vec![hash("db", ED1)], "web", 22, ED1, "unknown"),
        ("a changed hashed name", vec![hash("web", ED1)], "web", 22, ED2, "changed f0:1"),
        (
            "tabs and spaces",
            vec![format!(" \tweb\t {}  \n", ED1.replace(' ', "\t "))],
            "web",
            22,
            ED1,
            "known",
        ),
        ("a comment behind the key", vec![format!("web {ED1} a # b\n")], "web", 22, ED1, "known"),
        ("comment lines", vec![format!("#web {ED2}\n  # x\n\n{}", ed1("web"))], "web", 22, ED1, "known"),
        ("no newline at the end", vec![format!("web {ED1}")], "web", 22, ED1, "known"),
        ("carriage returns", vec![format!("web {ED1}\r\n")], "web", 22, ED1, "known"),
        (
            "two keys of a type, the second right",
            vec![format!("web {ED2}\nweb {ED1}\n")],
            "web",
            22,
            ED1,
            "known",
        ),
        (
            "two keys of a type, none right",
            vec![format!("web {ED2}\nweb {ED2}\n")],
            "web",
            22,
            ED1,
            "changed f0:1 f0:2",
        ),
        ("right in the second file", vec![format!("web {ED2}\n"), ed1("web")], "web", 22, ED1, "known"),
        (
            "bad lines around",
            vec![format!("web\nweb ssh-ed25519 !!!\nweb 1024 35 123\n@what web {ED2}\n\0\n{}", ed1("web"))],
            "web",
            22,
            ED1,
            "known",
        ),
        (
            "nothing but bad lines",
            vec!["web ssh-ed25519\nweb nonsense AAAA\n|1|x web\n".into()],
            "web",
            22,
            ED1,
            "unknown",
        ),
        (
            "revoked after",
            vec![format!("{}@revoked web {ED1}\n", ed1("web"))],
            "web",
            22,
            ED1,
            "revoked f0:2",
        ),
        (
            "revoked before, in another file",
            vec![format!("@revoked\t*\t{ED1}\n"), ed1("web")],
            "web",
            22,
            ED1,
            "revoked f0:1",
        ),
        ("revoked and not known", vec![format!("@revoked web {ED1}\n")], "web", 22, ED1, "revoked f0:1"),
        ("another key revoked", vec![format!("@revoked web {ED2}\n{}", ed1("web"))], "web", 22, ED1, "known"),
        ("only another key revoked", vec![format!("@revoked web {ED2}\n")], "web", 22, ED1, "unknown"),
        ("revoked for others", vec![format!("@revoked db {ED1}\n{}", ed1("web"))], "web", 22, ED1, "known"),
        ("an authority's key", vec![format!("@cert-authority * {ED1}\n")], "web", 22, ED1, "unknown"),
        (
            "an authority beside a known key",
            vec![format!("@cert-authority * {ED2}\n{}", ed1("web"))],
            "web",
            22,
            ED1,
            "known",
        ),
    ];
    for (what, texts, host, port, presented, expected) in cases {
        let texts: Vec<_> = texts.iter().map(String::as_str).collect();
        assert_eq!(verdict(&texts, host, port, presented), expected, "{what}: {texts:?}");
    }
}

#[test]
fn names_are_hashed_with_hmac_sha1() {
    // RFC 2202, test case 1.
    let expected = [
        0xb6, 0x17, 0x31, 0x86, 0x55, 0x05, 0x72, 0x64, 0xe2, 0x8b, 0xc0, 0xb6, 0xfb, 0x37, 0x8c, 0x8e, 0xf1,
        0x46, 0xbe, 0x00,
    ];
    assert_eq!(hashed(&[0x0b; 20], "Hi There"), Some(expected));
}

#[test]
fn a_pattern_made_to_take_long_does_not() {
    let pattern = format!("{}b", "a*".repeat(2_000));
    assert!(!glob(&pattern, &"a".repeat(4_000)));
}

#[test]
fn types_are_those_of_keys_that_count_in_the_order_of_the_files() {
    let text = format!("web {ECDSA}\nweb {ED1}\nweb {ED2}\n@revoked web {ED1}\n");
    let algorithms = known(files(&[&text]), "web", 22).algorithms();
    let names: Vec<_> = algorithms.iter().map(Algorithm::as_str).collect();
    assert_eq!(names, ["ecdsa-sha2-nistp256", "ssh-ed25519"]);
}

#[test]
fn an_added_key_is_known_afterwards_and_spoils_no_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ssh/known_hosts");
    append(&path, "Web", 22, &key(ED1)).unwrap();
    append(&path, "web", 2222, &key(ED2)).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("web {ED1}\n[web]:2222 {ED2}\n"));
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(&dir.path().join("ssh"))), (0o600, 0o700));

    std::fs::write(&path, "old line without a newline").unwrap();
    append(&path, "web", 22, &key(ED1)).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text, format!("old line without a newline\nweb {ED1}\n"));
    let files = open(&[dir.path().join("missing"), path.clone(), path.join("below a file")]).unwrap();
    assert_eq!(files.len(), 1);
    assert_eq!(known(files, "web", 22).judge(&key(ED1)), Verdict::Known);
}

#[test]
fn a_file_that_cannot_be_read_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let read = |path: &Path| look_up(open(&[path.to_owned()])?, [("web", 22)]);
    let (path, _) = read(dir.path()).unwrap_err();
    assert_eq!(path, dir.path());
}
