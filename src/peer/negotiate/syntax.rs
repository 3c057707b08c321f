//! SDP text (RFC 8866) as sections with attributes, within bounds.
//!
//! The grammar is read by `sdp-types`; this file adds the bounds and the rule
//! that a section inherits an attribute from the session (RFC 8866 §5.13).

use sdp_types::{Attribute, Media, ParserError, Session};

use super::error::NegotiateError;

/// The longest text in bytes. Browsers with every codec offer about 10 KiB.
pub(super) const MAX_BYTES: usize = 128 * 1024;
/// The most lines; the longest captured offer has 350.
pub(super) const MAX_LINES: usize = 4096;
/// The most m-lines.
pub(super) const MAX_SECTIONS: usize = 64;
/// The most formats of an m-line: there are no more payload types.
const MAX_FORMATS: usize = 128;
/// The longest mid and the longest m-line token in bytes; the MID header
/// extension carries 16 in its one-byte form.
pub(super) const MAX_TOKEN: usize = 64;

/// Why text could not be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SyntaxError {
    Line { line: usize, why: String },
    TooLarge { what: &'static str, limit: usize },
}

impl From<SyntaxError> for NegotiateError {
    fn from(error: SyntaxError) -> Self {
        match error {
            SyntaxError::Line { line, why } => Self::Malformed { line, why },
            SyntaxError::TooLarge { what, limit } => Self::TooLarge { what, limit },
        }
    }
}

/// Reads a whole description; `v=0` must come first.
pub(super) fn parse(text: &str) -> Result<Session, SyntaxError> {
    check_size(text)?;
    let session = Session::parse(text.as_bytes()).map_err(|e| line_error(&e))?;
    if session.medias.len() > MAX_SECTIONS {
        return Err(SyntaxError::TooLarge {
            what: "m= sections",
            limit: MAX_SECTIONS,
        });
    }
    Ok(session)
}

/// Reads a fragment, which has no `v=` line (RFC 8840 §9).
pub(super) fn parse_fragment(text: &str) -> Result<Session, SyntaxError> {
    check_size(text)?;
    if text.starts_with("v=") {
        return parse(text);
    }
    let mut whole = String::with_capacity(text.len() + 5);
    whole.push_str("v=0\r\n");
    whole.push_str(text);
    parse(&whole).map_err(|e| match e {
        SyntaxError::Line { line, why } => SyntaxError::Line {
            line: line.saturating_sub(1).max(1),
            why,
        },
        other => other,
    })
}

fn check_size(text: &str) -> Result<(), SyntaxError> {
    if text.len() > MAX_BYTES {
        return Err(SyntaxError::TooLarge {
            what: "bytes",
            limit: MAX_BYTES,
        });
    }
    if text.bytes().filter(|b| *b == b'\n').count() > MAX_LINES {
        return Err(SyntaxError::TooLarge {
            what: "lines",
            limit: MAX_LINES,
        });
    }
    Ok(())
}

fn line_error(error: &ParserError) -> SyntaxError {
    let (line, why) = match error {
        ParserError::InvalidLineFormat(line, what) => (*line, (*what).to_owned()),
        ParserError::InvalidFieldEncoding(line, field) => (*line, format!("{field} is not UTF-8")),
        ParserError::InvalidFieldFormat(line, field) => (*line, format!("{field} is wrong")),
        ParserError::MissingField(line, field) => (*line, format!("{field} is missing")),
        ParserError::FieldTrailingData(line, field) => {
            (*line, format!("there is something after {field}"))
        }
        ParserError::InvalidVersion(line, _) => (*line, "the version is not 0".to_owned()),
        ParserError::MultipleVersions(line)
        | ParserError::MultipleOrigins(line)
        | ParserError::MultipleSessionNames(line)
        | ParserError::MultipleSessionDescription(line)
        | ParserError::MultipleUris(line)
        | ParserError::MultipleConnections(line)
        | ParserError::MultipleTimeZones(line)
        | ParserError::MultipleMediaTitles(line)
        | ParserError::MultipleKeys(line) => (*line, "this line may be there only once".to_owned()),
        ParserError::RepeatWithoutTime(line) => (*line, "r= without t= before it".to_owned()),
        ParserError::NoVersion => (1, "the first line is not v=0".to_owned()),
        // Variants that this version of the parser no longer makes.
        #[allow(deprecated)]
        ParserError::UnexpectedLine(line, _) => (*line, "unexpected line".to_owned()),
        #[allow(deprecated)]
        ParserError::NoOrigin | ParserError::NoSessionName => (1, "a line is missing".to_owned()),
    };
    SyntaxError::Line { line, why }
}

/// The values of all attributes called `name`; a flag's value is empty.
pub(super) fn values<'a>(
    attributes: &'a [Attribute],
    name: &'a str,
) -> impl Iterator<Item = &'a str> {
    attributes
        .iter()
        .filter(move |a| a.attribute == name)
        .map(|a| a.value.as_deref().unwrap_or_default().trim())
}

/// One m-line with its attributes and those it inherits.
#[derive(Clone, Copy)]
pub(super) struct Section<'a> {
    /// Index of the m-line.
    pub index: usize,
    /// The m-line and what follows it.
    pub media: &'a Media,
    session: &'a Session,
}

impl<'a> Section<'a> {
    /// All sections in m-line order.
    pub fn all_of(session: &'a Session) -> impl Iterator<Item = Section<'a>> {
        session
            .medias
            .iter()
            .enumerate()
            .map(move |(index, media)| Section {
                index,
                media,
                session,
            })
    }

    /// The section's own values of `name`, in order.
    pub fn values(&self, name: &'a str) -> impl Iterator<Item = &'a str> + use<'a> {
        values(&self.media.attributes, name)
    }

    /// The section's own attributes and their values, in order.
    pub fn attributes(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let value = |a: &'a Attribute| a.value.as_deref().unwrap_or_default();
        let attributes = self.media.attributes.iter();
        attributes.map(move |a| (a.attribute.as_str(), value(a)))
    }

    /// The section's own first value of `name`.
    pub fn own(&self, name: &'a str) -> Option<&'a str> {
        self.values(name).next()
    }

    /// The section's first value of `name`, else the session's.
    pub fn inherited(&self, name: &'a str) -> Option<&'a str> {
        self.own(name)
            .or_else(|| values(&self.session.attributes, name).next())
    }

    /// The section's values of `name`, or the session's when it has none.
    pub fn inherited_values(&self, name: &'a str) -> Vec<&'a str> {
        let own: Vec<_> = self.values(name).collect();
        if own.is_empty() {
            values(&self.session.attributes, name).collect()
        } else {
            own
        }
    }

    /// Whether the section itself has `name`.
    pub fn has(&self, name: &'a str) -> bool {
        self.own(name).is_some()
    }

    /// The m-line's formats (payload types), the first [`MAX_FORMATS`].
    pub fn formats(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.media.fmt.split_ascii_whitespace().take(MAX_FORMATS)
    }

    /// The section's name in messages: its mid, else its index.
    pub fn label(&self) -> String {
        match self.own("mid") {
            Some(mid) => mid.chars().take(MAX_TOKEN).collect(),
            None => self.index.to_string(),
        }
    }
}
