//! The whole screen of a terminal: taken over, and given back on every way out.

use std::fs::File;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Once, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// The screen of standard output and the keys of its terminal, ours until this is dropped.
///
/// It is also given back when a thread panics, before that is told, and by [`give_back`] for who ends the process. Ctrl-C goes on
/// being a signal. Keys that would stop the process or leave a core have no meaning meanwhile: whoever stops a program that
/// has the screen finds the terminal unusable.
pub struct Stage {
    taken: Arc<Taken>,
}

struct Taken {
    screen: File,
    keys: File,
    before: Termios,
    /// It is given back: whatever is still drawn does not reach it.
    is_back: AtomicBool,
    /// Who writes holds it, so that nothing is written behind what gives the screen back.
    writes: Mutex<()>,
}

/// How large a screen is, in columns and rows.
pub type Size = (u16, u16);

impl Stage {
    /// How large the screen of standard output is; none where that is no terminal, or one that cannot move its cursor.
    #[must_use]
    pub fn size() -> Option<Size> {
        let stdout = io::stdout();
        let moves = std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb");
        if !stdout.is_terminal() || !moves {
            return None;
        }
        size_of(&stdout)
    }

    /// Takes the screen over.
    pub fn take() -> io::Result<Self> {
        let screen = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let keys = keys()?;
        let before = tcgetattr(&keys)?;
        let mut ours = before.clone();
        ours.local_modes
            .remove(LocalModes::ICANON | LocalModes::ECHO | LocalModes::IEXTEN);
        for key in [SpecialCodeIndex::VSUSP, SpecialCodeIndex::VQUIT] {
            ours.special_codes[key] = NO_KEY;
        }
        ours.special_codes[SpecialCodeIndex::VMIN] = 1;
        ours.special_codes[SpecialCodeIndex::VTIME] = 0;
        let taken = Arc::new(Taken {
            screen,
            keys,
            before,
            is_back: AtomicBool::new(false),
            writes: Mutex::new(()),
        });
        give_back_before_panics();
        tcsetattr(&taken.keys, OptionalActions::Now, &ours)?;
        *lock(&CURRENT) = Some(taken.clone());
        let stage = Self { taken };
        stage.taken.write(ENTER.as_bytes())?;
        Ok(stage)
    }

    /// Another handle for who draws; the screen goes back with this one.
    #[must_use]
    pub fn canvas(&self) -> Canvas {
        Canvas {
            taken: self.taken.clone(),
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        give_back_in_time(self.taken.clone());
        *lock(&CURRENT) = None;
    }
}

/// What is drawn on and whose keys are read, as long as the stage is ours.
#[derive(Clone)]
pub struct Canvas {
    taken: Arc<Taken>,
}

impl Canvas {
    /// How large it is now.
    #[must_use]
    pub fn size(&self) -> Option<Size> {
        size_of(&self.taken.screen)
    }

    /// Writes all of it, unless the screen was given back: then nothing, and false.
    pub fn write(&self, bytes: &[u8]) -> io::Result<bool> {
        self.taken.write(bytes)
    }

    /// Waits for keys, at most so long; gives the bytes that they sent, none when there were none. An error when there are no keys any more.
    pub fn keys(&self, wait: Duration) -> io::Result<Vec<u8>> {
        let mut ready = [PollFd::new(&self.taken.keys, PollFlags::IN)];
        let wait = Timespec {
            tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: wait.subsec_nanos().into(),
        };
        match poll(&mut ready, Some(&wait)) {
            Err(rustix::io::Errno::INTR) | Ok(0) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
            Ok(_) => {}
        }
        if self.taken.is_back.load(Ordering::Acquire) {
            return Ok(Vec::new());
        }
        let mut bytes = vec![0; KEY_BYTES_MAX];
        let count = rustix::io::read(&self.taken.keys, &mut bytes[..])?;
        bytes.truncate(count);
        match count {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(bytes),
        }
    }
}

impl Taken {
    fn write(&self, bytes: &[u8]) -> io::Result<bool> {
        let _alone = lock(&self.writes);
        if self.is_back.load(Ordering::Acquire) {
            return Ok(false);
        }
        (&self.screen).write_all(bytes).map(|()| true)
    }

    fn give_back(&self) {
        if self.is_back.swap(true, Ordering::AcqRel) {
            return;
        }
        // Of a picture that is on its way the end is waited for, but not for ever: a terminal can stand still.
        let began = Instant::now();
        let _alone = loop {
            match self.writes.try_lock() {
                Ok(alone) => break Some(alone),
                Err(TryLockError::Poisoned(poisoned)) => break Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) if began.elapsed() > WRITE_WAIT => break None,
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(1)),
            }
        };
        // What cannot be given back is gone: there is nobody to tell.
        let _ = tcsetattr(&self.keys, OptionalActions::Now, &self.before);
        let _ = (&self.screen).write_all(LEAVE.as_bytes());
    }
}

/// Gives the screen back if it is taken, for who ends the process without dropping anything. It waits for a terminal that stands
/// still, but not for ever.
pub fn give_back() {
    let taken = lock(&CURRENT).clone();
    taken.into_iter().for_each(give_back_in_time);
}

/// Gives it back from a thread of its own: what a terminal that stands still takes no more waits there, and not here.
fn give_back_in_time(taken: Arc<Taken>) {
    let (done, is_done) = std::sync::mpsc::channel();
    let gives = taken.clone();
    let begun = std::thread::Builder::new().name("screen".to_owned()).spawn(move || {
        gives.give_back();
        let _ = done.send(());
    });
    match begun {
        Ok(_) => drop(is_done.recv_timeout(2 * WRITE_WAIT)),
        // The system has no thread left: rather late than not at all.
        Err(_) => taken.give_back(),
    }
}

/// What a panic says would be lost with the screen it is said on.
fn give_back_before_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let told = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            give_back();
            told(panic);
        }));
    });
}

fn keys() -> io::Result<File> {
    let stdin = io::stdin();
    match stdin.is_terminal() {
        true => stdin.as_fd().try_clone_to_owned().map(File::from),
        false => File::options().read(true).write(true).open("/dev/tty"),
    }
}

fn size_of(screen: &impl std::os::fd::AsFd) -> Option<Size> {
    let size = tcgetwinsize(screen).ok()?;
    // A terminal that does not know its size says 0.
    (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col, size.ws_row))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The one that is taken now; a process has one terminal.
static CURRENT: Mutex<Option<Arc<Taken>>> = Mutex::new(None);

/// The other screen, without a cursor, and without a line that goes on in the next one.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J";
const LEAVE: &str = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l";

/// What stands for no key (`_POSIX_VDISABLE`).
const NO_KEY: u8 = if cfg!(target_os = "linux") { 0 } else { 0xff };

/// 500 ms: how long a terminal may take for one picture before it counts as standing still.
const WRITE_WAIT: Duration = Duration::from_millis(500);

/// More than anybody types between two looks.
const KEY_BYTES_MAX: usize = 256;
