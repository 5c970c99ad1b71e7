//! What the system knows of this process. What it does not tell is left out, and is never 0.

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

/// This process at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Process {
    /// Time on cores so far, in seconds.
    pub cpu_s: f64,
    /// Files that are open.
    pub files: Option<u64>,
    /// Files that may be open; none without a limit.
    pub files_max: Option<u64>,
    /// Memory in use.
    pub resident_bytes: Option<u64>,
    /// Memory asked for.
    pub virtual_bytes: Option<u64>,
    /// Its threads.
    pub threads: Option<u64>,
}

impl Process {
    /// Reads it.
    #[must_use]
    pub fn read() -> Self {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self {
            cpu_s: cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9,
            files: open_files(),
            files_max: getrlimit(Resource::Nofile).current,
            ..Self::of_status(&status)
        }
    }

    /// What stands in the file `status` of the proc file system.
    fn of_status(status: &str) -> Self {
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.strip_prefix(':')?.split_whitespace().next()?.parse::<u64>().ok()
        };
        let kib = |name: &str| Some(number(name)? << 10);
        Self {
            resident_bytes: kib("VmRSS"),
            virtual_bytes: kib("VmSize"),
            threads: number("Threads"),
            ..Self::default()
        }
    }
}

fn open_files() -> Option<u64> {
    let folder = if cfg!(target_os = "linux") {
        "/proc/self/fd"
    } else {
        "/dev/fd"
    };
    // Since Linux 6.2 the folder's size is how many there are, which spares reading ten thousand entries.
    let size = std::fs::metadata(folder).ok()?.len();
    if cfg!(target_os = "linux") && size > 0 {
        return Some(size);
    }
    // One of them is the folder, while it is read.
    Some(std::fs::read_dir(folder).ok()?.count().saturating_sub(1) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_status_says_is_taken_and_what_it_does_not_say_is_left_out() {
        let status = "Name:\tlapwing\nVmPeak:\t  999 kB\nVmSize:\t  2048 kB\nVmRSS:\t   12 kB\nThreads:\t7\n";
        let process = Process::of_status(status);
        assert_eq!(process.virtual_bytes, Some(2 << 20));
        assert_eq!(process.resident_bytes, Some(12 << 10));
        assert_eq!(process.threads, Some(7));
        assert_eq!(Process::of_status("VmRSS:\t?\n"), Process::default());
    }

    #[test]
    fn files_that_are_opened_are_counted() {
        let before = open_files().expect("known here");
        let held: Vec<_> = (0..50)
            .map(|_| std::fs::File::open("/dev/null").expect("there"))
            .collect();
        // Other tests open and close files meanwhile.
        assert!(open_files().expect("known here") >= before + 25, "{before}");
        drop(held);
    }
}
