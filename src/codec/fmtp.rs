//! Format parameters (`a=fmtp`, RFC 8866 §6.15), and what splits such short text.

/// The value of `name` in `name=value` pairs; names are compared without case.
pub fn parameter<'a>(fmtp: &'a str, name: &str) -> Option<&'a str> {
    split(fmtp, b';').find_map(|pair| {
        let (key, value) = split_once(pair, b'=')?;
        trim(key).eq_ignore_ascii_case(name).then(|| trim(value))
    })
}

/// The parts before and behind the first `byte`, an ASCII character. The words of SDP are
/// short: to look at them byte by byte is several times as fast as `str::split_once`.
pub(crate) fn split_once(text: &str, byte: u8) -> Option<(&str, &str)> {
    let at = text.bytes().position(|b| b == byte)?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

/// The parts between all `byte`s, an ASCII character; at least one.
pub(crate) fn split(text: &str, byte: u8) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let (part, left) = match split_once(text, byte) {
            Some((part, left)) => (part, Some(left)),
            None => (text, None),
        };
        rest = left;
        Some(part)
    })
}

/// `text` without space around it. Most has none, which the first and the last byte tell.
pub(crate) fn trim(text: &str) -> &str {
    match text.as_bytes() {
        [only] if only.is_ascii_graphic() => text,
        [first, .., last] if first.is_ascii_graphic() && last.is_ascii_graphic() => text,
        _ => text.trim(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_by_name() {
        let fmtp = "profile-level-id=42e01f; Sprop-Parameter-Sets = Z0I=,aA==;x";
        assert_eq!(parameter(fmtp, "sprop-parameter-sets"), Some("Z0I=,aA=="));
        assert_eq!(parameter(fmtp, "profile-level-id"), Some("42e01f"));
        assert_eq!(parameter(fmtp, "sprop-sps"), None);
        assert_eq!(parameter(fmtp, "x"), None);
    }

    #[test]
    fn text_is_split_as_the_standard_library_does() {
        for text in [
            "",
            ";",
            "a",
            "a;",
            ";b",
            "a;b",
            "a;;b;c",
            "\u{e9};\u{1f3a5}",
            "  x ; y",
        ] {
            assert_eq!(split_once(text, b';'), text.split_once(';'), "{text:?}");
            let ours: Vec<&str> = split(text, b';').collect();
            assert_eq!(ours, text.split(';').collect::<Vec<_>>(), "{text:?}");
        }
        for text in [
            "", " ", "a", " a", "a ", "ab", "\ta\n", "\u{a0}a", "a\u{a0}", "\u{e9}", "a\u{e9} ",
            "\u{7f}",
        ] {
            assert_eq!(trim(text), text.trim(), "{text:?}");
        }
    }
}
