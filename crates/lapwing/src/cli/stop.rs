//! Signals: the first asks for an end, the second takes it.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::failure::{Exit, Failure};
use crate::reason::reason;
use crate::terminal::stage;

/// From now on a file that may not grow any more (`ulimit -f`) is an error of the write, as a full disk is, and not the end of
/// the process. Must be called within a tokio runtime.
pub fn outlive_file_limits() -> std::io::Result<()> {
    // Once a signal is listened to it no longer does what it does by default, whether or not anybody goes on listening.
    signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw())).map(drop)
}

/// From now on a signal calls `last` and ends the process with its code: for a command that has nothing to finish.
pub fn ends_with(last: impl FnOnce() -> Exit + Send + 'static) -> Result<(), Failure> {
    let asked = on_signals()?;
    let cannot = |error: std::io::Error| {
        Failure::failed(
            format!("cannot wait for signals: {}", reason(&error)),
            "is the system out of processes or files?",
        )
    };
    // It waits for the token alone, and so needs neither sockets nor timers.
    let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(cannot)?;
    let wait = move || {
        runtime.block_on(asked.cancelled());
        std::process::exit(last() as i32)
    };
    let spawned = std::thread::Builder::new().name("end".to_owned()).spawn(wait);
    spawned.map(drop).map_err(cannot)
}

/// A token that SIGINT or SIGTERM cancels; a second signal ends the process at once with code 130.
///
/// Signals have a thread of their own, so that the second one works even when a write to a stopped terminal blocks all else.
pub fn on_signals() -> Result<CancellationToken, Failure> {
    let token = CancellationToken::new();
    let cancel = token.clone();
    let (ready, is_ready) = std::sync::mpsc::channel();
    let spawned = std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
        let result = runtime.and_then(|runtime| {
            runtime.block_on(async {
                let mut interrupt = signal(SignalKind::interrupt())?;
                let mut terminate = signal(SignalKind::terminate())?;
                outlive_file_limits()?;
                let _ = ready.send(Ok(()));
                for count in 0.. {
                    tokio::select! {
                        _ = interrupt.recv() => {}
                        _ = terminate.recv() => {}
                    }
                    if count > 0 {
                        stage::give_back();
                        std::process::exit(Exit::Interrupted as i32);
                    }
                    cancel.cancel();
                }
                Ok(())
            })
        });
        if let Err(error) = result {
            let _ = ready.send(Err(error));
        }
    });
    let result = spawned.and_then(|_| {
        is_ready
            .recv()
            .unwrap_or_else(|_| Err(std::io::ErrorKind::Other.into()))
    });
    match result {
        Ok(()) => Ok(token),
        Err(error) => Err(Failure::failed(
            format!("cannot wait for signals: {}", reason(&error)),
            "is the system out of processes or files?",
        )),
    }
}
