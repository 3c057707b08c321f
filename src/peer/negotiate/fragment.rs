//! Trickle ICE fragments, `application/trickle-ice-sdpfrag` (RFC 8840 §9): the
//! peer's late candidates, and ICE restarts (RFC 9725 §4.3).

use std::fmt::Write;

use super::answer::ICE_OPTIONS;
use super::candidate;
use super::context::AnswerContext;
use super::error::FragmentError;
use super::syntax::{self, Attribute, MAX_TOKEN, SyntaxError};
use super::transport;
use super::types::IceCredentials;

/// What a fragment says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment {
    /// The generation of its candidates; new credentials ask for an ICE restart.
    pub ice: Option<IceCredentials>,
    /// There won't be more of this generation (RFC 8838 §13).
    pub end_of_candidates: bool,
    /// The mids named. All sections share one transport, so they tell nothing;
    /// clients write a mid, an m-line index, or none.
    pub mids: Vec<String>,
}

/// Reads a fragment. Its m-lines are pseudo lines of any kind, or missing;
/// credentials may be at either level.
///
/// # Errors
/// When the text is not a fragment or an ICE attribute breaks its grammar.
pub fn read(text: &str) -> Result<Fragment, FragmentError> {
    syntax::with_fragment(text, |read| interpret(read.attributes())).map_err(|e| match e {
        SyntaxError::Line { line, why } => FragmentError::Malformed { line, why },
        SyntaxError::TooLarge { what, limit } => FragmentError::TooLarge { what, limit },
    })?
}

fn interpret(attributes: &[Attribute<'_>]) -> Result<Fragment, FragmentError> {
    let all = |name| syntax::values(attributes, name);

    let ice = match (all("ice-ufrag").next(), all("ice-pwd").next()) {
        (Some(ufrag), Some(pwd)) => {
            Some(
                transport::credentials(ufrag, pwd).map_err(|why| FragmentError::BadAttribute {
                    attribute: "ice-ufrag",
                    why,
                })?,
            )
        }
        (None, None) => None,
        (Some(_), None) => {
            return Err(FragmentError::BadAttribute {
                attribute: "ice-ufrag",
                why: "there is no a=ice-pwd beside it",
            });
        }
        (None, Some(_)) => {
            return Err(FragmentError::BadAttribute {
                attribute: "ice-pwd",
                why: "there is no a=ice-ufrag beside it",
            });
        }
    };

    // An empty value is how browsers' API says that there are no more.
    for value in all("candidate").filter(|value| !value.is_empty()) {
        candidate::check(value).map_err(|why| FragmentError::BadAttribute {
            attribute: "candidate",
            why,
        })?;
    }
    let end_of_candidates = all("end-of-candidates").next().is_some();
    if ice.is_none() && all("candidate").next().is_none() && !end_of_candidates {
        return Err(FragmentError::Empty);
    }
    let mids = all("mid")
        .filter(|mid| mid.len() <= MAX_TOKEN)
        .map(str::to_owned)
        .collect();
    Ok(Fragment {
        ice,
        end_of_candidates,
        mids,
    })
}

/// Writes the reply to an ICE restart: our new credentials and, again, all our
/// candidates. What describes the agent stays as in the answer
/// (RFC 9725 §4.3.3). `mids` is [`Accepted::bundle_mids`](super::Accepted::bundle_mids).
pub fn render_restart<S: AsRef<str>>(
    ice: &IceCredentials,
    context: &AnswerContext,
    mids: &[S],
) -> String {
    let mut out = String::from("a=ice-lite\r\n");
    out.push_str(ICE_OPTIONS);
    if !mids.is_empty() {
        out.push_str("a=group:BUNDLE");
        for mid in mids {
            let _ = write!(out, " {}", mid.as_ref());
        }
        out.push_str("\r\n");
    }
    let _ = write!(
        out,
        "a=ice-ufrag:{}\r\na=ice-pwd:{}\r\n",
        ice.ufrag, ice.pwd
    );
    // A pseudo m-line: its kind, protocol and format mean nothing (RFC 8840 §9).
    out.push_str("m=audio 9 RTP/AVP 0\r\n");
    if let Some(mid) = mids.first() {
        let _ = write!(out, "a=mid:{}\r\n", mid.as_ref());
    }
    out.push_str(&context.candidates);
    out
}
