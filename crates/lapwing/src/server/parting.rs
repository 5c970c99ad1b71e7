//! The only answer on a connection that is not served: to whom there is no place for, and to who began in the wrong way.

use std::time::Duration;

use http::StatusCode;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::front::retry_after;

/// Answers the first request with a sentence, and when to try again where that may help; then the connection ends.
pub async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, status: StatusCode, sentence: &str) {
    let retry = retry_after(status).map_or(String::new(), |seconds| format!("\r\nRetry-After: {seconds}"));
    let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8{retry}");
    let answer = format!("{head}\r\nContent-Length: {}\r\n\r\n{sentence}\n", sentence.len() + 1);
    // What was sent is read first: closing with bytes unread would reset the connection under the answer.
    let told = async {
        let _ = stream.read(&mut [0; 4096]).await;
        let _ = stream.write_all(answer.as_bytes()).await;
        let _ = stream.shutdown().await;
    };
    let _ = tokio::time::timeout(PARTING_MAX, told).await;
}

/// So long one waits for somebody who is not served.
pub const PARTING_MAX: Duration = Duration::from_secs(1);
