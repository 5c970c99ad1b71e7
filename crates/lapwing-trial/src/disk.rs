//! A disk of the trial's own: a file with a file system in it, which can lose its power and can be full.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use crate::trouble::Trouble;

/// Size of the file; it is sparse, so only what is written costs.
const IMAGE_BYTES: u64 = 1 << 30;

/// A mounted file system in a file.
#[derive(Debug)]
pub struct Disk {
    folder: PathBuf,
    mount: PathBuf,
    life: u32,
}

impl Disk {
    /// Makes and mounts one below a folder.
    pub async fn new(folder: &Path) -> Result<Self, Trouble> {
        let mount = folder.join("disk");
        std::fs::create_dir_all(&mount).map_err(Trouble::file(&mount))?;
        let disk = Self {
            folder: folder.to_owned(),
            mount,
            life: 0,
        };
        let image = disk.image(0);
        let file = std::fs::File::create(&image).map_err(Trouble::file(&image))?;
        file.set_len(IMAGE_BYTES).map_err(Trouble::file(&image))?;
        run("mkfs.ext4", &["-q", "-F"], &[&image]).await?;
        disk.mount_image().await?;
        Ok(disk)
    }

    fn image(&self, life: u32) -> PathBuf {
        self.folder.join(format!("disk-{life}.img"))
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.mount
    }

    async fn mount_image(&self) -> Result<(), Trouble> {
        run("mount", &["-o", "loop"], &[&self.image(self.life), &self.mount]).await
    }

    /// Keeps what the disk has at this moment, without what the system has not written yet. The server must stand still.
    pub async fn keep_what_is_written(&self) -> Result<(), Trouble> {
        run(
            "cp",
            &["--sparse=always"],
            &[&self.image(self.life), &self.image(self.life + 1)],
        )
        .await
    }

    /// Goes on with what was kept. The server must have ended.
    pub async fn lose_the_rest(&mut self) -> Result<(), Trouble> {
        // Lazily: the mount namespace of the server goes a moment after the server.
        run("umount", &["--lazy"], &[&self.mount]).await?;
        let old = self.image(self.life);
        self.life += 1;
        self.mount_image().await?;
        std::fs::remove_file(&old).map_err(Trouble::file(old))?;
        // That there was room again may not have been written yet, and the disk would be full for good.
        if self.filling().exists() {
            self.make_room()
        } else {
            Ok(())
        }
    }

    fn filling(&self) -> PathBuf {
        self.mount.join("filling")
    }

    /// Takes all the room that is left.
    pub fn fill(&self) -> Result<(), Trouble> {
        let path = self.filling();
        let file = std::fs::File::create(&path).map_err(Trouble::file(&path))?;
        let mut piece = IMAGE_BYTES;
        let mut at = 0;
        // By halves: the largest piece that fits, then the next.
        while piece >= 4096 {
            match rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), at, piece) {
                Ok(()) => at += piece,
                Err(_) => piece /= 2,
            }
        }
        Ok(())
    }

    /// Gives the room back.
    pub fn make_room(&self) -> Result<(), Trouble> {
        let path = self.filling();
        std::fs::remove_file(&path).map_err(Trouble::file(path))
    }

    /// Unmounts it and removes its file.
    pub async fn end(self) -> Result<(), Trouble> {
        run("umount", &["--lazy"], &[&self.mount]).await?;
        let image = self.image(self.life);
        std::fs::remove_file(&image).map_err(Trouble::file(image))
    }
}

/// Runs a tool to its end.
async fn run(tool: &str, words: &[&str], paths: &[&Path]) -> Result<(), Trouble> {
    let output = Command::new(tool)
        .args(words)
        .args(paths)
        .stdin(Stdio::null())
        .output()
        .await;
    let output = output.map_err(|error| Trouble::Start {
        program: tool.to_owned(),
        error,
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Trouble::Tool {
        command: format!("{tool} {}", words.join(" ")),
        said,
    })
}

/// Whether a tool is on the path.
pub fn has_tool(name: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).any(|path| path.join(name).is_file())
}
