//! SDP text (RFC 8866) as sections with attributes, within bounds.
//!
//! The grammar is read by `sdp-types`; this file adds the bounds and the rule
//! that a section inherits an attribute from the session (RFC 8866 §5.13).
//!
//! Attributes, nine of ten lines, are borrowed from the text: a name and a value have no grammar
//! in common but the colon between them (RFC 8866 §5.13), and two strings for each of a browser's
//! 200 lines were a third of what reading its offer took. What joins cost is for a good part how
//! quickly these lines are gone through.

use memchr::memchr_iter;
use sdp_types::{Media, Origin, ParserError, Session};

use super::error::NegotiateError;
use crate::codec::fmtp::{split_once, trim};

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

/// An `a=` line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Attribute<'a> {
    pub name: &'a str,
    /// Without space around it; empty for a flag.
    pub value: &'a str,
}

/// A description that was read.
pub(super) struct Description<'a> {
    /// All but the attributes.
    session: Session,
    attributes: Vec<Attribute<'a>>,
    /// Where the attributes of each section begin.
    sections: Vec<usize>,
}

/// Reads a whole description; `v=0` must come first.
pub(super) fn parse(text: &str) -> Result<Description<'_>, SyntaxError> {
    check_size(text)?;
    let mut attributes = Vec::with_capacity(text.len() / 32);
    let mut sections = Vec::new();
    // What is not an attribute, and which lines these are.
    let (mut rest, mut numbers) = (String::with_capacity(512), Vec::with_capacity(32));
    let mut returns = 0;
    for (line, number) in lines(text).zip(1..) {
        let line = match line.strip_suffix("\r\n") {
            Some(line) => {
                returns += 1;
                line
            }
            None => line.strip_suffix('\n').unwrap_or(line),
        };
        match line.strip_prefix("a=") {
            // The first line has to be another one.
            Some(attribute) if !numbers.is_empty() => {
                let (name, value) = split_once(attribute, b':').unwrap_or((attribute, ""));
                let value = trim(value);
                attributes.push(Attribute { name, value });
            }
            _ if line.is_empty() => {}
            _ => {
                if line.starts_with("m=") {
                    sections.push(attributes.len());
                }
                rest.push_str(line);
                rest.push('\n');
                numbers.push(number);
            }
        }
    }
    // No line has a zero byte or a carriage return in it (RFC 8866 §9); the library says
    // which one does.
    let count = |byte| memchr_iter(byte, text.as_bytes()).count();
    let parsed = if count(0) == 0 && count(b'\r') == returns {
        let number = |line: usize| {
            line.checked_sub(1)
                .and_then(|line| numbers.get(line).copied())
        };
        let told = |error| line_error(&error, |line| number(line).unwrap_or(line));
        Session::parse(rest.as_bytes()).map_err(told)
    } else {
        Session::parse(text.as_bytes()).map_err(|error| line_error(&error, |line| line))
    };
    let session = parsed?;
    if session.medias.len() > MAX_SECTIONS {
        return Err(SyntaxError::TooLarge {
            what: "m= sections",
            limit: MAX_SECTIONS,
        });
    }
    Ok(Description {
        session,
        attributes,
        sections,
    })
}

/// The lines of `text` with their ends.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let ends = memchr_iter(b'\n', text.as_bytes()).map(|at| at + 1);
    // What follows the last end is a line, too, though often an empty one.
    let mut from = 0;
    ends.chain([text.len()]).filter_map(move |to| {
        let line = text.get(from..to);
        from = to;
        line
    })
}

/// Reads what has no `v=` line, as a fragment (RFC 8840 §9), by `read`, which gets a whole
/// description. Line numbers are the text's.
pub(super) fn with_fragment<T>(
    text: &str,
    read: impl FnOnce(&Description<'_>) -> T,
) -> Result<T, SyntaxError> {
    check_size(text)?;
    if text.starts_with("v=") {
        return parse(text).map(|description| read(&description));
    }
    let mut whole = String::with_capacity(text.len() + 5);
    whole.push_str("v=0\r\n");
    whole.push_str(text);
    match parse(&whole) {
        Ok(description) => Ok(read(&description)),
        Err(SyntaxError::Line { line, why }) => Err(SyntaxError::Line {
            line: line.saturating_sub(1).max(1),
            why,
        }),
        Err(other) => Err(other),
    }
}

impl<'a> Description<'a> {
    /// Who wrote it.
    pub fn origin(&self) -> &Origin {
        &self.session.origin
    }

    /// The session's own values of `name`, in order.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &'a str> {
        values(self.level(0), name)
    }

    /// Whether the session itself has `name`.
    pub fn has(&self, name: &str) -> bool {
        self.values(name).next().is_some()
    }

    /// All attributes, of whatever level.
    pub fn attributes(&self) -> &[Attribute<'a>] {
        &self.attributes
    }

    /// All sections in m-line order.
    pub fn sections(&self) -> impl Iterator<Item = Section<'_>> {
        let medias = self.session.medias.iter().enumerate();
        medias.map(move |(index, media)| Section {
            index,
            media,
            attributes: self.level(index + 1),
            session: self.level(0),
        })
    }

    /// The attributes of the session (0) or of a section (from 1).
    fn level(&self, level: usize) -> &[Attribute<'a>] {
        let begin = match level {
            0 => Some(0),
            _ => self.sections.get(level - 1).copied(),
        };
        let end = self.sections.get(level).copied();
        let range = begin.unwrap_or_default()..end.unwrap_or(self.attributes.len());
        self.attributes.get(range).unwrap_or_default()
    }
}

fn check_size(text: &str) -> Result<(), SyntaxError> {
    if text.len() > MAX_BYTES {
        return Err(SyntaxError::TooLarge {
            what: "bytes",
            limit: MAX_BYTES,
        });
    }
    if memchr_iter(b'\n', text.as_bytes()).count() > MAX_LINES {
        return Err(SyntaxError::TooLarge {
            what: "lines",
            limit: MAX_LINES,
        });
    }
    Ok(())
}

/// The library's error; `number` gives the text's number of a line that it names.
fn line_error(error: &ParserError, number: impl Fn(usize) -> usize) -> SyntaxError {
    let (line, why) = match error {
        // These name no line.
        ParserError::NoVersion => {
            let why = "the first line is not v=0".to_owned();
            return SyntaxError::Line { line: 1, why };
        }
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
        // Variants that this version of the parser no longer makes.
        #[allow(deprecated)]
        ParserError::UnexpectedLine(line, _) => (*line, "unexpected line".to_owned()),
        #[allow(deprecated)]
        ParserError::NoOrigin | ParserError::NoSessionName => (1, "a line is missing".to_owned()),
    };
    SyntaxError::Line {
        line: number(line),
        why,
    }
}

/// The values of all attributes called `name`; a flag's value is empty.
pub(super) fn values<'a>(
    attributes: &[Attribute<'a>],
    name: &str,
) -> impl Iterator<Item = &'a str> {
    let named = attributes.iter().filter(move |a| a.name == name);
    named.map(|a| a.value)
}

/// One m-line with its attributes and those it inherits.
#[derive(Clone, Copy)]
pub(super) struct Section<'a> {
    /// Index of the m-line.
    pub index: usize,
    /// The m-line and what follows it, but for attributes.
    pub media: &'a Media,
    attributes: &'a [Attribute<'a>],
    session: &'a [Attribute<'a>],
}

impl<'a> Section<'a> {
    /// The section's own values of `name`, in order.
    pub fn values(&self, name: &'a str) -> impl Iterator<Item = &'a str> + use<'a> {
        values(self.attributes, name)
    }

    /// The section's own attributes and their values, in order.
    pub fn attributes(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        self.attributes.iter().map(|a| (a.name, a.value))
    }

    /// The section's own first value of `name`.
    pub fn own(&self, name: &'a str) -> Option<&'a str> {
        self.values(name).next()
    }

    /// The section's first value of `name`, else the session's.
    pub fn inherited(&self, name: &'a str) -> Option<&'a str> {
        self.own(name).or_else(|| values(self.session, name).next())
    }

    /// The section's values of `name`, or the session's when it has none.
    pub fn inherited_values(&self, name: &'a str) -> Vec<&'a str> {
        let own: Vec<_> = self.values(name).collect();
        if own.is_empty() {
            values(self.session, name).collect()
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

/// Checks that `text` is read as `sdp-types` alone reads it, errors included.
#[cfg(test)]
pub(super) fn check_against_library(text: &str) {
    let ours = match parse(text) {
        Err(SyntaxError::TooLarge { .. }) => return,
        ours => ours,
    };
    match (ours, Session::parse(text.as_bytes())) {
        (Ok(ours), Ok(library)) => {
            let all = |attributes: &[sdp_types::Attribute]| -> Vec<(String, String)> {
                let value = |a: &sdp_types::Attribute| a.value.clone().unwrap_or_default();
                let pair =
                    |a: &sdp_types::Attribute| (a.attribute.clone(), value(a).trim().to_owned());
                attributes.iter().map(pair).collect()
            };
            let mine = |attributes: &[Attribute<'_>]| -> Vec<(String, String)> {
                let pair = |a: &Attribute<'_>| (a.name.to_owned(), a.value.to_owned());
                attributes.iter().map(pair).collect()
            };
            assert_eq!(mine(ours.level(0)), all(&library.attributes), "{text}");
            assert_eq!(ours.origin(), &library.origin, "{text}");
            assert_eq!(ours.sections().count(), library.medias.len(), "{text}");
            for (section, media) in ours.sections().zip(library.medias) {
                assert_eq!(mine(section.attributes), all(&media.attributes), "{text}");
                let media = Media {
                    attributes: Vec::new(),
                    ..media
                };
                assert_eq!(section.media, &media, "{text}");
            }
        }
        (Err(ours), Err(library)) => {
            assert_eq!(ours, line_error(&library, |line| line), "{text}");
        }
        (ours, library) => panic!("{:?}, {:?}: {text}", ours.err(), library.err()),
    }
}
