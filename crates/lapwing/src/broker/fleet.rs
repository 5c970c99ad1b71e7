//! Carries letters between servers that share the streams, by two subjects that no stream holds.
//!
//! What is lost is lost: who reads them sees that something is missing, and asks for it again.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Subscriber;
use futures_util::StreamExt as _;

use super::link::Link;
use crate::mail::{Carrier, Circle, LETTER_BYTES_MAX};

/// Carries letters until the server leaves, and then those that are on their way.
pub async fn carry(link: Arc<Link>, mut carrier: Carrier) {
    let subject = |circle| match circle {
        Circle::All => format!("{}.$servers.all", link.prefix),
        Circle::Watchers => format!("{}.$servers.watchers", link.prefix),
    };
    let (mut all, mut watched) = (None::<Subscriber>, None::<Subscriber>);
    let mut again = tokio::time::interval(AGAIN);
    loop {
        let came = tokio::select! {
            letter = carrier.out.recv() => {
                let Some(letter) = letter else { return };
                // While there is no connection letters would only grow old.
                if link.is_up() {
                    // An error would say that the connection was closed, which only our own end does.
                    let _ = link.client.publish(subject(letter.circle), letter.text).await;
                }
                continue;
            }
            came = next(&mut all) => came,
            came = next(&mut watched) => came,
            _ = carrier.watches.changed() => None,
            _ = again.tick() => None,
        };
        match came {
            // Of more than it has room for some are lost.
            Some(message) if message.payload.len() <= LETTER_BYTES_MAX => drop(carrier.inbox.try_send(message.payload)),
            Some(_) => {}
            None => {
                if all.is_none() {
                    all = link.client.subscribe(subject(Circle::All)).await.ok();
                }
                let watches = *carrier.watches.borrow_and_update();
                if !watches {
                    // Letting go of it ends it.
                    watched = None;
                } else if watched.is_none() {
                    watched = link.client.subscribe(subject(Circle::Watchers)).await.ok();
                }
            }
        }
    }
}

/// The next message; one that has ended gives nothing any more, and is asked for anew.
async fn next(subscriber: &mut Option<Subscriber>) -> Option<async_nats::Message> {
    let Some(open) = subscriber else {
        return std::future::pending().await;
    };
    let message = open.next().await;
    if message.is_none() {
        *subscriber = None;
    }
    message
}

/// What could not be subscribed to is tried again.
const AGAIN: Duration = Duration::from_secs(1);
