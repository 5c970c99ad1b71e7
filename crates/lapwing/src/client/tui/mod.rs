//! `listen --tui`: the picture of a listener on the whole screen, drawn beside the feed.

pub mod ansi;
pub mod draw;
#[cfg(debug_assertions)]
mod fault;
pub mod keys;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ratatui::Terminal;
use tokio_util::sync::CancellationToken;

use self::ansi::Ansi;
use self::draw::{SIZE_MIN, Wishes, draw};
use self::keys::{Key, keys};
use super::event::Event;
use super::log::{FileState, Said};
use super::view::View;
use super::watch::Overlay;
use crate::clock::Now;
use crate::terminal::paint::Painter;
use crate::terminal::stage::{Canvas, Stage};

/// The picture, from the listener's side: it keeps the view, and lays a copy of it where the thread that draws finds it, with the tick
/// after that has asked for one.
///
/// Nothing here waits for the terminal. While that stands still no copy is made, and the feed goes on.
pub struct Tui {
    view: View,
    /// Who draws asks for a copy.
    wanted: Arc<AtomicBool>,
    copies: SyncSender<Box<View>>,
    drawer: JoinHandle<()>,
    // Dropped with the rest: the terminal is then as it was.
    _stage: Stage,
}

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
pub enum TuiError {
    /// Standard output leads elsewhere, or to a terminal that cannot move its cursor.
    #[error("--tui needs a terminal; what it would show comes as lines")]
    NoTerminal,
    /// The window is too small.
    #[error("--tui needs {} x {}, and this window has {width} x {height}; what it would show comes as lines", SIZE_MIN.0, SIZE_MIN.1)]
    Small {
        /// Its columns.
        width: u16,
        /// Its rows.
        height: u16,
    },
    /// The system said no.
    #[error("--tui cannot have this terminal ({0}); what it would show comes as lines")]
    Io(#[from] io::Error),
}

impl Tui {
    /// Takes the screen and begins to draw `view`; who quits cancels `stop`.
    pub fn begin(view: View, paint: Painter, stop: CancellationToken) -> Result<Self, TuiError> {
        let (width, height) = Stage::size().ok_or(TuiError::NoTerminal)?;
        if width < SIZE_MIN.0 || height < SIZE_MIN.1 {
            return Err(TuiError::Small { width, height });
        }
        let stage = Stage::take()?;
        let (copies, views) = sync_channel(1);
        let wanted = Arc::new(AtomicBool::new(false));
        let drawer = Drawer {
            wanted: wanted.clone(),
            canvas: stage.canvas(),
            views,
            paint,
            stop,
            wishes: Wishes::default(),
            held: None,
            newest: Box::new(view.clone()),
        };
        let drawer = std::thread::Builder::new()
            .name("tui".to_owned())
            .spawn(move || drawer.run())?;
        Ok(Self {
            view,
            wanted,
            copies,
            drawer,
            _stage: stage,
        })
    }
}

impl Overlay for Tui {
    fn on_event(&mut self, event: &Event<'_>, now: Now) {
        #[cfg(debug_assertions)]
        if matches!(event, Event::Message(_)) && self.view.messages > 0 {
            fault::panic_in("listener");
        }
        self.view.on_event(event, now);
    }

    fn on_said(&mut self, said: &Said, now: Now) {
        self.view.on_said(said, now);
    }

    fn on_tick(&mut self, now: Now, file: Option<FileState>) -> bool {
        self.view.on_tick(now, file);
        if self.wanted.swap(false, Ordering::AcqRel) {
            let sent = self.copies.try_send(Box::new(self.view.clone()));
            if matches!(sent, Err(TrySendError::Disconnected(_))) {
                return false;
            }
        }
        !self.drawer.is_finished()
    }
}

/// The thread that draws and reads keys.
struct Drawer {
    canvas: Canvas,
    wanted: Arc<AtomicBool>,
    views: Receiver<Box<View>>,
    paint: Painter,
    stop: CancellationToken,
    wishes: Wishes,
    /// What is shown while the picture is held still.
    held: Option<Box<View>>,
    newest: Box<View>,
}

impl Drawer {
    /// Draws until there is nothing to draw any more, or nowhere.
    fn run(mut self) {
        let size = self.canvas.size().unwrap_or(SIZE_MIN);
        let Ok(mut terminal) = Terminal::new(Ansi::new(size));
        while self.draw(&mut terminal).unwrap_or(false) {
            // A copy that came while the terminal stood still is old by now.
            drop(self.views.try_recv());
            self.wanted.store(true, Ordering::Release);
            let next = Instant::now() + FRAME;
            while let Some(wait) = next.checked_duration_since(Instant::now()) {
                match self.canvas.keys(wait) {
                    Ok(bytes) => keys(&bytes).into_iter().for_each(|key| self.on_key(key, &mut terminal)),
                    // The terminal is gone.
                    Err(_) => return,
                }
            }
            match self.views.try_recv() {
                Ok(view) => self.newest = view,
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return,
            }
        }
    }

    /// Draws what changed; false when the screen was given back.
    fn draw(&mut self, terminal: &mut Terminal<Ansi>) -> io::Result<bool> {
        if let Some(size) = self.canvas.size() {
            terminal.backend_mut().resize(size);
        }
        let view = self.held.as_ref().unwrap_or(&self.newest);
        let (newest, wishes, paint) = (&self.newest, self.wishes, self.paint);
        let Ok(_) = terminal.draw(|frame| draw(view, newest, wishes, paint, frame.buffer_mut()));
        self.canvas.write(&terminal.backend_mut().take())
    }

    fn on_key(&mut self, key: Key, terminal: &mut Terminal<Ansi>) {
        let wishes = &mut self.wishes;
        match key {
            Key::Quit => self.stop.cancel(),
            Key::Help => wishes.shows_keys = !wishes.shows_keys,
            Key::NextTopic => wishes.topic = wishes.topic.wrapping_add(1),
            Key::Pause => {
                wishes.is_paused = !wishes.is_paused;
                self.held = wishes.is_paused.then(|| self.newest.clone());
            }
            Key::Redraw => {
                let Ok(()) = terminal.clear();
            }
            Key::Other => {
                #[cfg(debug_assertions)]
                fault::panic_in("drawer");
                wishes.shows_keys = false;
            }
        }
    }
}

/// 250 ms: at most four pictures a second, which is as often as anybody reads a number.
const FRAME: Duration = Duration::from_millis(250);
