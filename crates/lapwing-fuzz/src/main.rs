//! Writes the seeds that code makes into a folder: one folder for each entry, one file for each seed.

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let folder = std::env::args_os().nth(1).map_or_else(seeds_folder, PathBuf::from);
    match write(&folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            use std::io::Write as _;
            let _ = writeln!(std::io::stderr(), "error: cannot write {}: {error}", folder.display());
            ExitCode::FAILURE
        }
    }
}

fn write(folder: &std::path::Path) -> std::io::Result<()> {
    for entry in lapwing_fuzz::entries() {
        let folder = folder.join(entry.name);
        std::fs::create_dir_all(&folder)?;
        for (name, bytes) in (entry.seeds)() {
            std::fs::write(folder.join(name), bytes)?;
        }
    }
    Ok(())
}

fn seeds_folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds"))
}
