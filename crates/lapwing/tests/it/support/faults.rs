//! What a disk can do to a server, provoked for real: small file systems, and system calls that fail or take their time.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system in memory, of a size; gone when it is dropped.
pub struct SmallDisk {
    dir: tempfile::TempDir,
}

impl SmallDisk {
    /// Mounts one of so many KiB; none where this user may not, and then the test `name` is told as skipped.
    pub fn mount(name: &str, kib: u32) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let options = format!("size={kib}k");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "lapwing-test"])
            .arg(dir.path())
            .output();
        if mounted.is_ok_and(|ran| ran.status.success()) {
            return Some(Self { dir });
        }
        skip(name, "no file system may be mounted here");
        None
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Makes it so many KiB large: room comes back.
    pub fn grow(&self, kib: u32) {
        let options = format!("remount,size={kib}k");
        let ran = Command::new("mount").args(["-o", &options]).arg(self.path()).status();
        assert!(ran.unwrap().success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that is being ended may still have a file open.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

/// A group of processes that has only so much memory, the pages of its files included; gone when it is dropped.
pub struct MemoryGroup(PathBuf);

impl MemoryGroup {
    /// Makes one; none where this user may not, and then the test `name` is told as skipped.
    pub fn make(name: &str, bytes: u64) -> Option<Self> {
        let group = format!("lapwing-test-{}", std::process::id());
        // Control groups of version 1, and of version 2.
        for (folder, limit) in [("memory", "memory.limit_in_bytes"), ("", "memory.max")] {
            let group = Path::new("/sys/fs/cgroup").join(folder).join(&group);
            if std::fs::create_dir(&group).is_err() {
                continue;
            }
            let group = Self(group);
            if std::fs::write(group.0.join(limit), bytes.to_string()).is_ok() {
                return Some(group);
            }
        }
        skip(name, "no control group for memory may be made here");
        None
    }

    /// The file into which a process writes itself.
    pub fn members(&self) -> PathBuf {
        self.0.join("cgroup.procs")
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        // It can go when its last process is gone altogether, which takes a moment.
        let _ = (0..1000).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(5));
            std::fs::remove_dir(&self.0).is_ok()
        });
    }
}

/// Whether system calls can be made to fail here; if not, the test `name` is told as skipped.
pub fn can_inject(name: &str) -> bool {
    let tried = Command::new("strace")
        .args(["-f", "-o", "/dev/null", "-e", "inject=fdatasync:error=EIO", "true"])
        .output();
    let can = tried.is_ok_and(|ran| ran.status.success());
    if !can {
        skip(name, "strace is not there, or may not trace");
    }
    can
}

/// Tells that a test could not run, where `scripts/test` collects that.
pub fn skip(name: &str, why: &str) {
    let Some(path) = std::env::var_os("LAPWING_SKIPS") else {
        return;
    };
    let mut file = std::fs::OpenOptions::new().append(true).open(path).unwrap();
    writeln!(file, "{name}: {why}").unwrap();
}
