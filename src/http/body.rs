//! Reading request bodies: the right type, not too large, not too slow.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, header};
use http_body_util::BodyExt;

use super::problem::{Kind, Problem};

/// How much of a body that is too large is still read and thrown away, as a
/// multiple of the limit: a client that is cut off in the middle of its sending
/// may never see the answer.
pub(super) const DRAIN_FACTOR: usize = 8;

/// True when `Content-Type` is `wanted`, whatever its case and parameters.
pub fn is_media_type(headers: &HeaderMap, wanted: &str) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|essence| essence.trim().eq_ignore_ascii_case(wanted))
}

/// Refuses any other type with 415 and the field that names the right one.
pub fn require_media_type(
    headers: &HeaderMap,
    wanted: &'static str,
    accept: HeaderName,
) -> Result<(), Problem> {
    if is_media_type(headers, wanted) {
        return Ok(());
    }
    Err(Problem::new(
        Kind::UnsupportedMediaType,
        format!("Send the body as Content-Type: {wanted}."),
    )
    .field(accept, wanted))
}

/// Reads a body of text.
pub async fn read_text(mut body: Body, limit: usize, time: Duration) -> Result<String, Problem> {
    let read = async {
        let mut bytes = Vec::new();
        let mut size = 0usize;
        while let Some(frame) = body.frame().await {
            let frame = frame
                .map_err(|_| Problem::new(Kind::Malformed, "The body broke off before its end."))?;
            let Some(data) = frame.data_ref() else {
                continue;
            };
            size = size.saturating_add(data.len());
            if size <= limit {
                bytes.extend_from_slice(data);
            } else if size > limit.saturating_mul(DRAIN_FACTOR) {
                break;
            }
        }
        if size > limit {
            return Err(Problem::new(
                Kind::TooLarge,
                format!("The body is larger than {limit} bytes."),
            ));
        }
        String::from_utf8(bytes)
            .map_err(|_| Problem::new(Kind::Malformed, "The body is not UTF-8 text."))
    };
    match tokio::time::timeout(time, read).await {
        Ok(result) => result,
        Err(_) => Err(Problem::new(
            Kind::Timeout,
            "The body did not arrive in time.",
        )),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn typed(value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(value))])
    }

    #[test]
    fn the_type_is_compared_without_case_and_parameters() {
        for good in [
            "application/sdp",
            "Application/SDP; charset=utf-8",
            "APPLICATION/SDP;x",
        ] {
            assert!(is_media_type(&typed(good), "application/sdp"), "{good}");
        }
        for bad in ["application/json", "application/sdpx", "", "sdp"] {
            assert!(!is_media_type(&typed(bad), "application/sdp"), "{bad}");
        }
        assert!(!is_media_type(&HeaderMap::new(), "application/sdp"));
    }

    #[tokio::test]
    async fn bodies_have_a_size_a_time_and_an_encoding() {
        let second = Duration::from_secs(1);
        let text = read_text(Body::from("12345"), 5, second).await.unwrap();
        assert_eq!(text, "12345");
        let large = read_text(Body::from("123456"), 5, second).await;
        assert_eq!(large.unwrap_err().status(), 413);
        let binary = read_text(Body::from(vec![0xff, 0xfe]), 5, second).await;
        assert_eq!(binary.unwrap_err().status(), 400);
        let never = Body::from_stream(futures_util::stream::pending::<
            Result<Vec<u8>, std::io::Error>,
        >());
        let slow = read_text(never, 5, Duration::from_millis(10)).await;
        assert_eq!(slow.unwrap_err().status(), 408);
    }
}
