//! Owns a host with a disk of its own and a plug that can be pulled. The disk is a file behind a loop
//! device; the host's program is the real guardian, under rdeploy's own SSH host.
//!
//! Pulling the plug is one `FICLONE` of that file: the kernel keeps everybody from writing to it
//! meanwhile, so the copy holds what the disk had been given up to one instant, and nothing of what was
//! still in the host's memory. The host then boots from the copy.

use std::fs;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use rustix::process::Pid;
use rustix::process::Signal;

use super::room;
use crate::support::find_program;
use crate::support::project::DEPLOY_TO;
use crate::support::project::Project;
use crate::support::project::Tree;
use crate::support::project::eventually;
use crate::support::project::files;

/// The smallest disk that `mkfs.xfs` accepts, and some more.
const SIZE: u64 = 320 << 20;

/// What is on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileSystem {
    Ext4,
    Xfs,
}

impl FileSystem {
    fn make(self, image: &Path) {
        match self {
            // Everything now, so that nothing is written later but what the host writes.
            Self::Ext4 => must(
                tool("mkfs.ext4")
                    .args(["-q", "-N", "16384", "-E", "lazy_itable_init=0,lazy_journal_init=0"])
                    .arg(image),
            ),
            Self::Xfs => must(tool("mkfs.xfs").arg("-q").arg(image)),
        }
    }
}

/// A host, and the project that is deployed to it.
pub(super) struct Host {
    pub(super) project: Project,
    /// `deploy_to`.
    pub(super) tree: Tree,
    file_system: FileSystem,
    /// Where disks lie: a file system that can copy a file at one instant.
    store: PathBuf,
    /// Where the host has its disk.
    mounted_at: PathBuf,
    /// How many disks there have been.
    disks: usize,
}

impl Host {
    /// A host with an empty disk, switched on.
    pub(super) fn new(file_system: FileSystem) -> Self {
        let room = room::directory();
        let store = room.join("store");
        fs::create_dir(&store).unwrap();
        let image = room.join("store.img");
        File::create(&image).unwrap().set_len(2 << 30).unwrap();
        must(tool("mkfs.xfs").args(["-q", "-m", "reflink=1"]).arg(&image));
        // What disks leave behind gives its memory back.
        must(tool("mount").args(["-o", "loop,discard"]).args([&image, &store]));
        fs::write(room.join("boot_id"), "").unwrap();
        must(tool("mount").arg("--bind").arg(room.join("boot_id")).arg(BOOT_ID));

        let project = Project::files(1, "");
        let tree = project.host(1);
        let depth = Path::new(DEPLOY_TO).components().count() - 2;
        let mounted_at = tree.root.ancestors().nth(depth).unwrap().to_owned();
        fs::create_dir_all(&mounted_at).unwrap();
        let mut host = Self { project, tree, file_system, store, mounted_at, disks: 0 };
        host.install();
        host
    }

    /// Puts a new and empty disk in, and switches on.
    fn install(&mut self) {
        self.disks += 1;
        let image = self.image();
        File::create(&image).unwrap().set_len(SIZE).unwrap();
        self.file_system.make(&image);
        self.switch_on();
    }

    /// Has the host begin again with an empty disk.
    pub(super) fn replace_disk(&mut self) {
        self.switch_off();
        self.install();
    }

    /// Cuts the power, and gives it back; who talked to the host is cut off too.
    pub(super) fn cut_power(&mut self) {
        let this = File::open(self.image()).unwrap();
        let next = File::create_new(self.store.join(format!("disk{}", self.disks + 1))).unwrap();
        rustix::fs::ioctl_ficlone(&next, &this).unwrap();
        self.switch_off();
        self.disks += 1;
        self.switch_on();
    }

    /// What another program on the host does all the time: it has a file of its own on the same disk, and
    /// insists on it. With it goes what the file system has noted of all others, but not their content.
    pub(super) fn neighbour_insists(&self) {
        let mut file = File::create(self.mounted_at.join("neighbour")).unwrap();
        file.write_all(b"paid").unwrap();
        file.sync_all().unwrap();
    }

    /// What `deploy.toml` says, with more before the environment.
    pub(super) fn configure(&self, more: &str) {
        self.project.configure(&files(1, more));
    }

    fn image(&self) -> PathBuf {
        self.store.join(format!("disk{}", self.disks))
    }

    fn switch_on(&self) {
        // By this pids of before mean nobody.
        fs::write(room::directory().join("boot_id"), format!("boot {}\n", self.disks)).unwrap();
        must(tool("mount").args(["-o", "loop"]).args([&self.image(), &self.mounted_at]));
    }

    /// Ends everything on the host, and takes its disk out, which is thrown away.
    fn switch_off(&self) {
        eventually("the host's processes to be gone", || {
            let left = self.project.processes();
            for (pid, _) in &left {
                let _ = rustix::process::kill_process(Pid::from_raw(*pid).unwrap(), Signal::KILL);
            }
            left.is_empty()
        });
        eventually("the disk to be taken out", || {
            tool("umount").arg(&self.mounted_at).output().unwrap().status.success()
        });
        fs::remove_file(self.image()).unwrap();
    }
}

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// A program of the system, also where PATH lacks the administrator's directories.
fn tool(name: &str) -> Command {
    Command::new(find_program(name).unwrap_or_else(|| panic!("there is no {name}")))
}

#[track_caller]
fn must(command: &mut Command) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}

impl Drop for Host {
    fn drop(&mut self) {
        // The project's directory is removed next, and a disk cannot be. After a failure the room goes anyway.
        if !std::thread::panicking() {
            self.switch_off();
        }
    }
}
