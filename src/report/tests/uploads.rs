//! What is told of uploads, and of an artifact that is still compressed.

use crate::event::EventKind;

use super::script::DB;
use super::script::Script;
use super::script::WEB1;
use super::script::WEB2;

#[test]
fn an_upload_says_how_much_of_the_artifact_travels() {
    let mut script = Script::new();
    let planned = |host: &str, files, bytes, resumed| EventKind::UploadPlanned {
        host: host.to_owned(),
        files,
        all_files: 1_204,
        bytes,
        is_exact: true,
        all_bytes: Some(4_100_000),
        resumed,
    };
    let sent = |host: &str, sent, total| EventKind::UploadProgressed { host: host.to_owned(), sent, total };
    script.at(0, planned(WEB1, 3, 1_200, false));
    script.at(10, sent(WEB1, 1_200, 1_200));
    // More was missing there than had been foreseen.
    script.at(20, planned(WEB1, 1_003, 2_000_000, false));
    script.at(20, sent(WEB1, 1_000_000, 2_000_000));
    script.at(1_020, sent(WEB1, 2_000_000, 2_000_000));
    script.at(1_100, planned(WEB2, 600, 2_000_000, true));
    script.at(1_110, sent(WEB2, 2_000_000, 2_000_000));
    script.at(1_200, planned(DB, 0, 200, false));
    script.at(1_210, sent(DB, 200, 200));
    let text = script.plain(0);
    let lines: Vec<&str> = text.lines().filter(|line| line.contains("upload")).collect();
    insta::assert_snapshot!(lines.join("\n"), @r"
    web1.example.com | uploaded 1.2 kB of 4.1 MB (3 of 1,204 files changed)
    web1.example.com | uploading 2.0 MB of 4.1 MB (1,003 of 1,204 files changed)
    web1.example.com | uploaded 2.0 MB in 1.0 s (2.0 MB/s)
    web2.example.com | uploaded 2.0 MB of 4.1 MB (600 of 1,204 files were still missing)
    db.example.com | nothing to upload: every file is there already
    ");
}

#[test]
fn what_is_not_known_while_it_is_compressed_is_estimated_or_left_out() {
    let mut script = Script::new();
    let packed = |compressed| EventKind::ArtifactPacked {
        digest: "a1b2c3d4e5f6a7b8".repeat(4),
        files: 1_204,
        bytes: 12_300_000,
        compressed,
        reused: false,
    };
    let planned = |host: &str, files, bytes, is_exact| EventKind::UploadPlanned {
        host: host.to_owned(),
        files,
        all_files: 1_204,
        bytes,
        is_exact,
        all_bytes: None,
        resumed: false,
    };
    let sent = |host: &str, sent, total| EventKind::UploadProgressed { host: host.to_owned(), sent, total };
    script.at(0, packed(None));
    script.at(0, planned(WEB1, 3, 1_200, true));
    script.at(10, sent(WEB1, 1_200, 1_200));
    script.at(20, planned(WEB2, 1_204, 6_000_000, false));
    script.at(20, sent(WEB2, 1_000_000, 5_500_000));
    script.at(2_020, sent(WEB2, 4_100_000, 4_100_000));
    // All of it at once.
    script.at(2_020, planned(DB, 1_204, 6_000_000, false));
    script.at(2_030, sent(DB, 4_000, 4_000));
    script.at(2_040, EventKind::ArtifactStored { compressed: 4_100_000 });
    let text = script.plain(0);
    let lines: Vec<&str> = text.lines().filter(|line| !line.contains("deploy of")).collect();
    insta::assert_snapshot!(lines.join("\n"), @r"
    local | packed 1,204 files, 12.3 MB, a1b2c3d4e5f6
    web1.example.com | uploaded 1.2 kB (3 of 1,204 files changed)
    web2.example.com | uploading about 6.0 MB
    web2.example.com | uploaded 4.1 MB in 2.0 s (2.1 MB/s)
    db.example.com | uploaded 4.0 kB
    local | compressed to 4.1 MB
    ");
}
