//! The only answer on a connection that is not served: to whom there is no place for, and to who began in the wrong way.

use std::time::Duration;

use http::StatusCode;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::front::retry_after;
use super::linger::{Lingering, Unread};

/// Answers the first request with a sentence, and when to try again where that may help; then the connection ends. What else comes is
/// read and thrown away until the peer ends too, for at most [`PARTING_MAX`] in all: somebody may be in the middle of a body.
pub async fn answer(stream: impl AsyncRead + AsyncWrite + Unpin, status: StatusCode, sentence: &str) {
    let mut stream = Lingering::new(stream, Unread::new());
    let retry = retry_after(status).map_or(String::new(), |seconds| format!("\r\nRetry-After: {seconds}"));
    let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8{retry}");
    let answer = format!("{head}\r\nContent-Length: {}\r\n\r\n{sentence}\n", sentence.len() + 1);
    // Who has not asked yet would not look for an answer.
    let told = async {
        let _ = stream.read(&mut [0; 4096]).await;
        let _ = stream.write_all(answer.as_bytes()).await;
        let _ = stream.shutdown().await;
    };
    let _ = tokio::time::timeout(PARTING_MAX, told).await;
}

/// So long one waits for somebody who is not served.
pub const PARTING_MAX: Duration = Duration::from_secs(1);
