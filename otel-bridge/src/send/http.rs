//! OTLP/HTTP with protobuf bodies.

use std::sync::Arc;

use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use icecore_store::{Clock, Signal};
use reqwest::redirect::Policy;
use url::Url;

use super::{ANSWER_BYTES_MAX, Packed, chain, headers, response};
use crate::verdict::Answer;
use crate::{Destination, Error};

const PROTOBUF: &str = "application/x-protobuf";

#[derive(Debug)]
pub(crate) struct HttpClient {
    client: reqwest::Client,
    base: Url,
    clock: Arc<dyn Clock>,
}

impl HttpClient {
    pub(crate) fn new(destination: &Destination, clock: &Arc<dyn Clock>) -> Result<Self, Error> {
        let mut headers = headers(destination)?;
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROTOBUF));
        if let Some(encoding) = destination.compression.encoding() {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        let client = reqwest::Client::builder()
            .default_headers(headers)
            .user_agent(concat!("icecore/", env!("CARGO_PKG_VERSION")))
            .timeout(destination.timeout)
            .redirect(Policy::none())
            .build();
        let client = client.map_err(|error| Error::Client {
            name: destination.name.clone(),
            source: error.into(),
        })?;
        Ok(Self { client, base: destination.url.clone(), clock: Arc::clone(clock) })
    }

    pub(crate) async fn send(&self, packed: &Packed) -> Answer {
        match self.exchange(packed).await {
            Ok(answer) => answer,
            Err(error) if error.is_timeout() => Answer::TimedOut,
            // The URL is known from the configuration; the error is shorter without it.
            Err(error) => Answer::Unreachable { message: chain(&error.without_url()) },
        }
    }

    async fn exchange(&self, packed: &Packed) -> Result<Answer, reqwest::Error> {
        let request = self.client.post(endpoint(&self.base, packed.signal));
        let mut answer = request.body(packed.body.clone()).send().await?;
        let status = answer.status();
        let header = |name| answer.headers().get(name).and_then(|value| value.to_str().ok());
        let is_protobuf = header(CONTENT_TYPE).is_some_and(|kind| kind.starts_with(PROTOBUF));
        let after = header(RETRY_AFTER);
        let retry_after = after.and_then(|text| response::retry_after(text, self.clock.now()));
        let body = read(&mut answer).await?;
        if status.is_success() {
            let message = if is_protobuf { body.as_slice() } else { &[] };
            return Ok(response::accepted(message));
        }
        let message = response::error_message(is_protobuf, &body);
        Ok(Answer::Http { status, retry_after, message })
    }
}

/// The body, up to its bound.
async fn read(answer: &mut reqwest::Response) -> Result<Vec<u8>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > ANSWER_BYTES_MAX {
            break;
        }
    }
    Ok(body)
}

/// `<base>/v1/traces` and so on.
fn endpoint(base: &Url, signal: Signal) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}{}", base.path().trim_end_matches('/'), signal.http_path()));
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: base URLs with and without a path, with and without its last slash.
    /// Guarantees: the signal's path is appended once.
    #[test]
    fn the_signal_is_appended_to_the_base() {
        let check = |base: &str, expected| {
            let url = endpoint(&base.parse().unwrap(), Signal::Traces);
            assert_eq!(url.as_str(), expected);
        };
        check("http://x:4318", "http://x:4318/v1/traces");
        check("http://x:4318/", "http://x:4318/v1/traces");
        check("https://x/otlp", "https://x/otlp/v1/traces");
        check("https://x/otlp/", "https://x/otlp/v1/traces");
    }
}
