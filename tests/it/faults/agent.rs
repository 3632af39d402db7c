//! Owns the places in the agent at which a fault can strike. A host's `sh` puts a call of `fault_at` into
//! the program that it is sent, at the head of whatever does something for an attempt: every action,
//! every record of the journal, every command of the app, every program beside the guardian, the lock
//! and the goodbye. They are found by the shape of the program, so that a new one is among them by itself.

use std::fmt::Write as _;
use std::path::Path;

/// What the agent is made of, as far as steps are declared there.
const GUARDIAN: &str = include_str!("../../../src/host/sh/guardian.sh");
const BESIDE: &str = include_str!("../../../src/host/sh/beside.sh");
const SWITCH: &str = include_str!("../../../src/host/sh/switch.sh");

/// What undoes something: without any of these a failed attempt leaves a trace.
const UNDOES: [&str; 6] =
    ["work_revert", "revert_switch", "revert_app", "revert_hooks", "forget_failed", "free_lock"];

/// What only helps those.
const HELPS: [&str; 3] = ["revert_add", "revert_answers", "revert_room"];

/// The functions that undo; a test cuts out each of them.
pub(super) fn undoings() -> [&'static str; 6] {
    for name in functions(SWITCH).filter(|name| name.contains("revert")) {
        let known = UNDOES.contains(&name) || HELPS.contains(&name);
        assert!(known, "switch.sh has a new function {name}: does it undo something, or only help?");
    }
    UNDOES
}

/// What runs beside the guardian: `receive`, `hook`.
pub(super) fn beside() -> Vec<&'static str> {
    let alternatives = BESIDE.lines().find(|line| line.trim_start().starts_with("receive |"));
    let alternatives = alternatives.expect("beside.sh says what runs beside the guardian").trim();
    alternatives.trim_end_matches(')').split('|').map(str::trim).collect()
}

/// The actions that the guardian knows, from the functions that do them.
pub(super) fn actions() -> Vec<String> {
    let files = ["prepare", "hooks", "switch", "finish", "lock", "hold"].map(|name| {
        let path = format!("{}/src/host/sh/{name}.sh", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(path).unwrap()
    });
    let text = files.join("\n");
    let begun = text.lines().filter_map(|line| line.strip_prefix("work_")?.split_once("() {"));
    for (name, rest) in begun.clone() {
        assert_eq!(rest, "", "work_{name} stands in one line, so that no fault could be put into it");
    }
    begun.map(|(name, _)| name.to_owned()).collect()
}

/// The intents that the guardian's loop obeys, and the stages in which it obeys them: the words of the
/// patterns that it compares with.
pub(super) fn intents_and_stages() -> Vec<&'static str> {
    let body = |name| GUARDIAN.split(name).nth(1).and_then(|rest| rest.split("\n}").next()).unwrap();
    let body = [body("\nintent() {"), body("\ndo_next() {")];
    let is_pattern = |line: &&str| line.ends_with(')') || line.ends_with("| \\") || line.contains(") ");
    let heads = body
        .iter()
        .flat_map(|body| body.lines())
        .map(str::trim)
        .filter(is_pattern)
        .filter_map(|line| line.split(')').next());
    let patterns = heads.filter(|head| !head.contains(['$', '(', '#']));
    let words = patterns.flat_map(|pattern| pattern.split(['|', ':', '*', '\\', ' ']));
    words.filter(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase())).collect()
}

fn functions(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| line.strip_suffix("() {")).filter(|name| !name.contains(' '))
}

/// What is put before the agent: the function that every place calls. `dir` says what is to happen.
///
/// A place is named by what it is part of: `activate: journal switching`.
pub(super) fn prelude(dir: &Path) -> String {
    format!(
        r#"fault_at() {{
    fault_place="${{work_name-${{beside_name-guardian}}}}: $1"
    if [ -e {dir}/record ]; then
        printf '%s\n' "$fault_place" >>{dir}/record
        return 0
    fi
    read -r fault_armed 2>/dev/null <{dir}/armed || return 0
    [ "$fault_armed" = "$fault_place" ] && mkdir {dir}/fired 2>/dev/null || return 0
    printf '%s\n' "$$" >{dir}/fired/pid
    until [ -e {dir}/go ]; do sleep 0.02; done
    [ -e {dir}/fails ] || return 0
    echo "made to fail at $fault_place"
    return 1
}}
"#,
        dir = dir.display()
    )
}

/// The program for `sed` that puts the calls in, gives the host the tree at `root`, and lets a guardian
/// wait seconds for its client before the switch, not minutes, though longer than for a recovery, during
/// which no client speaks. A function that is `cut_out` does nothing.
pub(super) fn patch(root: &Path, cut_out: Option<&str>) -> String {
    let mut patch = String::new();
    let mut at_head = |function: &str, line: &str| {
        let _ = writeln!(patch, "s,^{function}() {{$,&\\\n{line},");
    };
    if let Some(function) = cut_out {
        at_head(function, "return 0");
    }
    for action in actions() {
        at_head(&format!("work_{action}"), &format!("fault_at work_{action} || return"));
    }
    for part in beside() {
        at_head(part, &format!("fault_at \"{part}${{1:+ $1}}\" || return"));
    }
    at_head("journal", "fault_at \"journal $1\" || return");
    at_head("command_run", "fault_at \"app $1\" || return");
    at_head("move_link", "fault_at \"link\" || return");
    at_head("take_lock", "fault_at \"lock\" || return");
    at_head("preflight", "fault_at preflight || { problem \"it was made to fail\"; return; }");
    at_head("begin", "fault_at begin || { refuse 1; return; }");
    at_head("leave", "fault_at leave");
    at_head("undo_main", "work_name=undo; fault_at undo || return");
    at_head("derive", &format!("ROOT={}", root.display()));
    patch.push_str("s/LEASE > 300 ? LEASE : 300/LEASE > 15 ? LEASE : 15/\n");
    patch
}

/// The functions into which `patch` puts a call and that the agent does not have.
pub(super) fn not_found() -> Vec<String> {
    let dirs = ["host/sh", "supervisor"].map(|dir| format!("{}/src/{dir}", env!("CARGO_MANIFEST_DIR")));
    let files = dirs.iter().flat_map(|dir| std::fs::read_dir(dir).unwrap()).map(|file| file.unwrap().path());
    let scripts = files.filter(|path| path.extension().is_some_and(|extension| extension == "sh"));
    let text: String = scripts.map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let there: Vec<&str> = functions(&text).collect();
    let patch = patch(Path::new("/"), None);
    let wanted = patch.lines().filter_map(|line| line.strip_prefix("s,^")?.split_once("() {$,"));
    let names: Vec<&str> = wanted.map(|(name, _)| name).collect();
    assert!(names.contains(&"take_lock"), "{names:?}");
    names.into_iter().filter(|name| !there.contains(name)).map(str::to_owned).collect()
}
