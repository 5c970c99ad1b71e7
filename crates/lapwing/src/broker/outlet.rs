//! The way into a stream for what one server alone has, as its standard input: whoever else fills the topic goes on beside it.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lapwing_wire::position::Offset;
use tokio::time::Instant;

use super::copy::Copy;
use super::desk::{self, Fate};
use super::message::PublishKey;
use crate::log::AppendError;
use crate::log::origin::{Outbound, Pending, Turn};
use crate::log::retries::RetryKey;
use crate::terminal::form;

/// A turn that is never over, and that nobody waits for.
pub struct Outlet(Arc<Holder>);

struct Holder {
    copy: Arc<Copy>,
    /// Names what is published here.
    name: String,
    /// How many publishes there were.
    count: AtomicU64,
}

impl Outlet {
    /// A way into this stream.
    #[must_use]
    pub fn new(copy: Arc<Copy>) -> Self {
        Self(Arc::new(Holder {
            name: format!("{}-{:016x}", copy.link.server, crate::random::word()),
            copy,
            count: AtomicU64::new(0),
        }))
    }
}

impl Turn for Outlet {
    fn append(&self, messages: Vec<Outbound>) -> Pending<Result<(), AppendError>> {
        let holder = self.0.clone();
        Box::pin(async move {
            for messages in holder.copy.without_large(messages).chunks(desk::BATCH_MAX) {
                holder.publish(messages).await;
            }
            Ok(())
        })
    }

    fn over(&self) -> Pending<()> {
        Box::pin(pending())
    }

    fn begin(&self) -> Offset {
        Offset::ZERO
    }
}

impl Holder {
    /// Publishes these messages, however often it takes: what was taken before is recognised by its name.
    async fn publish(&self, messages: &[Outbound]) {
        let copy = &self.copy;
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let key = PublishKey::Outlet(RetryKey::of_source(&self.name, number));
        let mut unknown = None;
        loop {
            if !copy.link.is_up() {
                tokio::time::sleep(AGAIN).await;
                continue;
            }
            match desk::publish(&copy.link, &copy.spec.subject, Some(key), None, messages).await {
                Fate::Taken(taken) => {
                    if !taken.repeated {
                        self.tell_if_late(unknown);
                    }
                    return;
                }
                Fate::There => return,
                Fate::Refused(why) => {
                    copy.tell_now_and_then(|| format!("the broker does not take what fills the topic: {why}"));
                    tokio::time::sleep(REFUSED_AGAIN).await;
                }
                Fate::Underway | Fate::Overtaken | Fate::Unknown(_) => {
                    unknown.get_or_insert_with(Instant::now);
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }

    /// Behind the stream's window nobody recognises what was taken before.
    fn tell_if_late(&self, unknown: Option<Instant>) {
        if let Some(since) = unknown
            && since.elapsed() > self.copy.retry_window
        {
            let ago = form::short_span(since.elapsed());
            self.copy.news.tell(format!(
                "what was published {ago} ago without an answer was published again: it may stand twice"
            ));
        }
    }
}

/// What was refused once is not tried much sooner.
const REFUSED_AGAIN: Duration = Duration::from_secs(1);
const AGAIN: Duration = Duration::from_millis(100);
