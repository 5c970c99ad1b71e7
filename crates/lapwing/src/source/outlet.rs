//! How a source hands messages to its log: it goes on when they are kept.

use std::time::Duration;

use crate::clock::Now;
use crate::log::batch::NewMessage;
use crate::log::{AppendError, Log};

/// Appends messages and waits until they are kept. While the disk has no room for them, they and their source wait; a topic
/// that has become read-only never takes them, and its source waits until it is stopped.
pub async fn append(log: &Log, messages: &[NewMessage<'_>]) -> Result<(), AppendError> {
    loop {
        let appended = match log.append(messages, Now::read()) {
            Ok(appended) => appended.kept().await,
            Err(error) => Err(error),
        };
        match appended {
            Ok(_) => return Ok(()),
            Err(AppendError::Full { .. } | AppendError::Busy) => tokio::time::sleep(RETRY_INTERVAL).await,
            Err(AppendError::ReadOnly { .. }) => std::future::pending().await,
            Err(error @ (AppendError::Ended | AppendError::TooLarge { .. })) => return Err(error),
        }
    }
}

/// Room on a disk comes back by somebody's hand.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
