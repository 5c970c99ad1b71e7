//! A server that stops sends its clients to the others, and not all in one instant.

use std::cell::RefCell;
use std::num::NonZeroU64;
use std::rc::Rc;
use std::time::Duration;

use lapwing::client::connection::READ_BYTES;
use lapwing::client::dial::Dial;
use lapwing::client::event::{Event, Halt, Observer};
use lapwing::client::listener::{Options, listen};
use lapwing::client::target::Target;
use lapwing::client::token::TokenSource;
use lapwing::clock::Now;
use lapwing::recording::marks::Marks;
use lapwing_wire::control::SUBPROTOCOL;
use lapwing_wire::decoder::DecoderLimits;
use lapwing_wire::extension::Compression;
use lapwing_wire::query::Encoding;
use lapwing_wire::start::Start;
use rustix::process::Signal;
use tokio_util::sync::CancellationToken;

use crate::feed::Feed;
use crate::program::{DEADLINE, serve, serve_at};

const CLIENTS: usize = 200;

/// What the clients did, all together.
#[derive(Default)]
struct Seen {
    connected: usize,
    /// How long each was going to wait before it left.
    waits: Vec<Duration>,
    /// When each was connected again, and to whom.
    back: Vec<(Duration, String)>,
}

#[derive(Clone, Default)]
struct Watcher {
    seen: Rc<RefCell<Seen>>,
    /// It was lost, and no attempt was told yet.
    is_lost: bool,
}

impl Observer for Watcher {
    fn on_event(&mut self, event: &Event<'_>, now: Now) -> Result<(), Halt> {
        let mut seen = self.seen.borrow_mut();
        match event {
            Event::Connected(_) => seen.connected += 1,
            Event::Lost { .. } => self.is_lost = true,
            Event::Retry(retry) if std::mem::take(&mut self.is_lost) => seen.waits.push(retry.wait),
            Event::Back(back) => {
                let server = back.server.expect("there are two").to_owned();
                seen.back.push((Duration::from_nanos(now.mono), server));
            }
            _ => {}
        }
        Ok(())
    }

    fn on_pause(&mut self) -> Result<(), Halt> {
        Ok(())
    }

    fn on_tick(&mut self, _: Now) -> Result<(), Halt> {
        Ok(())
    }
}

fn options(urls: &[&str]) -> Options {
    let dial = |url: &&str| Dial {
        target: Target::parse(url).expect("a URL"),
        name: None,
        protocols: &[SUBPROTOCOL],
        compression: Compression::Off,
        limits: DecoderLimits::default(),
        read_bytes: READ_BYTES,
        tls: None,
        token: TokenSource::Nowhere,
    };
    Options {
        dials: urls.iter().map(dial).collect(),
        topics: None,
        encoding: Encoding::Json,
        start: Start::Latest,
        resume: Marks::default(),
        block: NonZeroU64::new(5).expect("not zero"),
        count: None,
        time: None,
        reports: false,
    }
}

async fn until(what: &str, done: impl Fn() -> bool) {
    let began = std::time::Instant::now();
    while !done() {
        assert!(began.elapsed() < DEADLINE, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The most that lie within `window` of each other.
fn most_within(window: Duration, moments: &mut [Duration]) -> usize {
    moments.sort();
    let within = |first: &Duration| {
        let later = moments.iter().filter(|moment| *moment >= first);
        later.take_while(|moment| **moment < *first + window).count()
    };
    moments.iter().map(within).max().unwrap_or_default()
}

#[test]
fn a13_two_hundred_clients_of_a_server_that_stops_arrive_at_the_other_one_by_one() {
    for signal in [Signal::TERM, Signal::INT] {
        stop_one_of_two(signal);
    }
}

fn stop_one_of_two(signal: Signal) {
    let flags = ["--topic", "orders=push"];
    let (server, url) = serve(&flags);
    // Not there yet, so that all begin with the one that stops.
    let later = Feed::bind().address();
    let other = format!("ws://{later}");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let (watcher, stop) = (Watcher::default(), CancellationToken::new());
    let options = options(&[&url, &other]);
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let listeners: Vec<_> = std::iter::repeat_with(|| {
            let (options, stop, mut watcher) = (options.clone(), stop.clone(), watcher.clone());
            tokio::task::spawn_local(async move { listen(&options, &stop, &mut watcher).await.expect("it goes on") })
        })
        .take(CLIENTS)
        .collect();
        until("all are connected", || watcher.seen.borrow().connected == CLIENTS).await;
        let (_other, _) = serve_at(&later, &flags);
        server.signal(signal);
        until("all are at the other", || watcher.seen.borrow().back.len() == CLIENTS).await;
        stop.cancel();
        for listener in listeners {
            listener.await.expect("no panic");
        }
    });
    let mut seen = watcher.seen.borrow_mut();
    assert!(seen.back.iter().all(|(_, server)| *server == other), "{:?}", seen.back);
    // 500 a second are 50 in a tenth of a second, give or take 20 %.
    assert_eq!(seen.waits.len(), CLIENTS);
    let most = most_within(Duration::from_millis(100), &mut seen.waits);
    assert!((40..=80).contains(&most), "{most}");
    let (first, last) = (seen.waits[0], seen.waits[CLIENTS - 1]);
    assert!(last - first > Duration::from_millis(300), "{first:?} {last:?}");
    assert!(last < Duration::from_secs(1), "before the other is back: {last:?}");
    let mut arrivals: Vec<_> = seen.back.iter().map(|(at, _)| *at).collect();
    arrivals.sort();
    let span = arrivals[CLIENTS - 1] - arrivals[0];
    assert!(span > Duration::from_millis(250), "{span:?}");
}
