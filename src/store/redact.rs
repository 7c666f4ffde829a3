//! Taking out of a text what must not be handed on.
//!
//! What the user marks goes wherever it stands, also inside words, in any case, and as a URL, a shell, JSON or HTML writes
//! it. The home directory and the host's name, which nobody marked and which may be short, go where they are words of their
//! own.

use std::collections::BTreeSet;

use serde_json::Value;

/// What stands in the place of what was marked.
pub const REDACTED: &str = "<redacted>";
const HOME: &str = "<home>";
const HOST: &str = "<host>";

/// From so many hexadecimal digits on, a text is a hash or an id, which holds nothing but by chance.
const HASH_DIGITS: usize = 16;

/// Replaces what must not be handed on.
#[derive(Clone, Debug, Default)]
pub struct Redactor {
    /// Replaced as words of their own, and by what; longest first.
    words: Vec<(String, &'static str)>,
    /// What the user marked, with the case taken out; longest first.
    marked: Vec<Vec<char>>,
}

/// A text without what must not be handed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redacted {
    pub text: String,
    /// Whether anything was replaced.
    pub replaced: bool,
}

impl Redactor {
    /// Replaces what is marked, the home directory and the host's name. What is empty, or a lone `/`, is left.
    pub fn new(marked: &[String], home: &str, host: &str) -> Self {
        let own = [(home.trim_end_matches('/'), HOME), (host, HOST)];
        let own = own.into_iter().filter(|(what, _)| !what.is_empty());
        let mut words: Vec<(String, &'static str)> = own.map(|(what, by)| (what.to_string(), by)).collect();
        words.sort_by_key(|(what, _)| std::cmp::Reverse(what.len()));
        let folded = marked.iter().map(|what| what.chars().map(fold).collect::<Vec<char>>());
        let mut marked: Vec<Vec<char>> = folded.filter(|what| !what.is_empty()).collect();
        marked.sort_by_key(|what| std::cmp::Reverse(what.len()));
        Self { words, marked }
    }

    /// [`new`](Self::new), with what this machine says of itself.
    pub fn of_this_machine(marked: &[String]) -> Self {
        let home = std::env::var("HOME").unwrap_or_default();
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Self::new(marked, &home, host.trim())
    }

    /// The text with replacements.
    pub fn redact(&self, text: &str) -> Redacted {
        let mut out = Redacted { text: String::with_capacity(text.len()), replaced: false };
        let mut at = 0;
        while let Some(c) = text[at..].chars().next() {
            let rest = &text[at..];
            // What was replaced earlier holds nothing.
            if let Some(token) = [REDACTED, HOME, HOST].into_iter().find(|token| rest.starts_with(token)) {
                out.text.push_str(token);
                at += token.len();
            } else if let Some((end, by)) = self.found(text, at) {
                out.text.push_str(by);
                out.replaced = true;
                at = end;
            } else {
                out.text.push(c);
                at += c.len_utf8();
            }
        }
        out
    }

    /// Whether a text holds what the user marked.
    pub fn is_marked_in(&self, text: &str) -> bool {
        let cleared = text.replace(REDACTED, "\n");
        cleared.char_indices().any(|(at, _)| self.end_of_marked(&cleared, at).is_some())
    }

    /// Where what begins at `at` and must go ends, and what replaces it.
    fn found(&self, text: &str, at: usize) -> Option<(usize, &'static str)> {
        if let Some(end) = self.end_of_marked(text, at) {
            return Some((end, REDACTED));
        }
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let joined =
            |inner: Option<char>, outer: Option<char>| inner.is_some_and(is_word) && outer.is_some_and(is_word);
        let before = text[..at].chars().next_back();
        let (what, by) = self.words.iter().find(|(what, _)| {
            text[at..].strip_prefix(what.as_str()).is_some_and(|after| {
                !joined(what.chars().next(), before) && !joined(what.chars().next_back(), after.chars().next())
            })
        })?;
        Some((at + what.len(), by))
    }

    fn end_of_marked(&self, text: &str, at: usize) -> Option<usize> {
        self.marked.iter().filter_map(|what| end_of(what, text, at)).max()
    }

    /// Where in a JSON document what the user marked stands: the path of each text, key or number that holds it, itself
    /// without it. Hashes and ids are passed over.
    pub fn marked_places(&self, document: &Value) -> Vec<String> {
        let mut places = Vec::new();
        if !self.marked.is_empty() {
            self.walk(document, "", &mut places);
        }
        places.into_iter().map(|place| self.redact(&place).text).collect()
    }

    fn walk(&self, value: &Value, path: &str, places: &mut Vec<String>) {
        let inside = |key: &str| if path.is_empty() { key.to_string() } else { format!("{path}.{key}") };
        match value {
            Value::Object(entries) => {
                for (key, value) in entries {
                    if self.is_marked_in(key) {
                        places.push(inside(key));
                    }
                    self.walk(value, &inside(key), places);
                }
            }
            // Of a list the path of the list: its entries have no names.
            Value::Array(entries) => {
                let before = places.len();
                entries.iter().for_each(|entry| self.walk(entry, path, places));
                let mut seen = BTreeSet::new();
                let tail: Vec<String> = places.drain(before..).filter(|place| seen.insert(place.clone())).collect();
                places.extend(tail);
            }
            Value::String(text) if !is_hash(text) && self.is_marked_in(text) => places.push(path.to_string()),
            Value::Number(number) if self.is_marked_in(&number.to_string()) => places.push(path.to_string()),
            _ => {}
        }
    }
}

fn is_hash(text: &str) -> bool {
    text.len() >= HASH_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A character without its case, where that is one character.
fn fold(c: char) -> char {
    let mut lower = c.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(one), None) => one,
        _ => c,
    }
}

/// Where `what` ends that begins at `at`, in any of its spellings; the longest.
fn end_of(what: &[char], text: &str, at: usize) -> Option<usize> {
    // Every place that the characters so far can end at: a backslash may be one or escape the next.
    let mut ends = BTreeSet::from([at]);
    for (number, wanted) in what.iter().enumerate() {
        let mut next = BTreeSet::new();
        for end in ends {
            step(text, end, *wanted, number > 0, &mut next);
        }
        if next.is_empty() {
            return None;
        }
        ends = next;
    }
    ends.pop_last()
}

/// Adds where `wanted` ends when it begins at `at`, as it is or escaped; after quotes of a shell when it is not the first.
fn step(text: &str, at: usize, wanted: char, quoted: bool, ends: &mut BTreeSet<usize>) {
    let mut from = at;
    loop {
        let rest = &text[from..];
        let found = literal(rest).into_iter().chain(percent(rest)).chain(backslash(rest)).chain(entity(rest));
        ends.extend(found.filter(|(c, _)| fold(*c) == wanted).map(|(_, length)| from + length));
        match rest.chars().next() {
            Some('\'' | '"') if quoted => from += 1,
            _ => return,
        }
    }
}

/// A character and how many bytes write it.
type Spelt = Option<(char, usize)>;

fn literal(rest: &str) -> Spelt {
    rest.chars().next().map(|c| (c, c.len_utf8()))
}

/// `%41`, `%C3%BC`, and `+` for a space, as in a URL.
fn percent(rest: &str) -> Spelt {
    if rest.starts_with('+') {
        return Some((' ', 1));
    }
    let mut bytes = Vec::new();
    while bytes.len() < 4 {
        let code = rest.get(3 * bytes.len()..3 * bytes.len() + 3)?;
        bytes.push(u8::from_str_radix(code.strip_prefix('%')?, 16).ok()?);
        if let Ok(text) = std::str::from_utf8(&bytes) {
            return text.chars().next().map(|c| (c, 3 * bytes.len()));
        }
    }
    None
}

/// `\u00fc`, a pair of them, `\u{fc}`, `\xfc`, `\n`, or a backslash before any other character: JSON, Rust and shells.
fn backslash(rest: &str) -> Spelt {
    let after = rest.strip_prefix('\\')?;
    let code = |digits: Option<&str>| u32::from_str_radix(digits?, 16).ok();
    if let Some(braced) = after.strip_prefix("u{") {
        let end = braced.find('}')?;
        return Some((char::from_u32(code(braced.get(..end))?)?, end + 4));
    }
    if let Some(first) = after.strip_prefix('u').and_then(|after| code(after.get(..4))) {
        let low = rest.get(6..).and_then(|next| next.strip_prefix("\\u")).and_then(|next| code(next.get(..4)));
        let units = [first as u16, low.unwrap_or(0) as u16];
        return match char::decode_utf16(units).next()? {
            Ok(c) => Some((c, 6 * c.len_utf16())),
            Err(_) => None,
        };
    }
    if let Some(c) = after.strip_prefix('x').and_then(|after| code(after.get(..2))).and_then(char::from_u32) {
        return Some((c, 4));
    }
    let c = after.chars().next()?;
    let named = match c {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        other => other,
    };
    Some((named, 1 + c.len_utf8()))
}

/// `&amp;`, `&#38;`, `&#x26;`.
fn entity(rest: &str) -> Spelt {
    let after = rest.strip_prefix('&')?;
    let end = after.find(';').filter(|end| *end <= 8)?;
    let name = &after[..end];
    let c = match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        _ => {
            let digits = name.strip_prefix('#')?;
            let code = match digits.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16),
                None => digits.parse(),
            };
            char::from_u32(code.ok()?)?
        }
    };
    Some((c, end + 2))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn redactor(marked: &[&str]) -> Redactor {
        let marked: Vec<String> = marked.iter().map(|what| (*what).to_string()).collect();
        Redactor::new(&marked, "/home/ann/", "vm")
    }

    #[test]
    fn home_and_host_go_as_words_of_their_own() {
        for (text, expected) in [
            ("run /home/ann/specs/a.toml -o /home/ann", "run <home>/specs/a.toml -o <home>"),
            ("/home/anna and /mnt/home/ann", "/home/anna and /mnt<home>"),
            ("on vm, vm.local, not vmware or kvm", "on <host>, <host>.local, not vmware or kvm"),
            ("vm", "<host>"),
            ("", ""),
            ("naïve ünïcode /home/ann/ü", "naïve ünïcode <home>/ü"),
        ] {
            let redacted = redactor(&[]).redact(text);
            assert_eq!((redacted.text.as_str(), redacted.replaced), (expected, text != expected));
        }
        assert!(!Redactor::new(&[String::new()], "/", "").redact("a / b").replaced);
    }

    #[test]
    fn what_is_marked_goes_in_any_case_and_inside_words() {
        for (text, expected) in [
            ("lab/Zetalab_prod.toml", "lab/<redacted>_prod.toml"),
            ("ZETALABs, zetalab-zetalab", "<redacted>s, <redacted>-<redacted>"),
            ("--redact zetalab --redact=ZetaLab", "--redact <redacted> --redact=<redacted>"),
            ("https://x/%7aeta%4Cab?q=z%65talab", "https://x/<redacted>?q=<redacted>"),
            (
                "\\u007aetalab and \\x7aetalab and &#122;etalab, &#x7A;etalab",
                "<redacted> and <redacted> and <redacted>, <redacted>",
            ),
            ("z'e'ta\"lab\" and zet\\alab", "<redacted>\" and <redacted>"),
            ("zeta lab, zetala", "zeta lab, zetala"),
        ] {
            assert_eq!(redactor(&["zetalab"]).redact(text).text, expected, "{text}");
        }
    }

    #[test]
    fn spaces_quotes_and_letters_of_other_scripts_are_found_as_they_are_written() {
        for (marked, text, expected) in [
            ("new york", "in New%20York, new+york, new\\ york", "in <redacted>, <redacted>, <redacted>"),
            ("o'hara & co", "O%27Hara%20%26%20Co; o&#39;hara &amp; co", "<redacted>; <redacted>"),
            ("Müller", "m%C3%BCller M\\u00fcLLER mÜller", "<redacted> <redacted> <redacted>"),
            ("c:\\temp", "C:\\\\Temp and c:\\temp", "<redacted> and <redacted>"),
            ("\u{1f680}", "go \\ud83d\\ude80!", "go <redacted>!"),
            ("4711", "pin=4711, pin-14711-0", "pin=<redacted>, pin-1<redacted>-0"),
        ] {
            assert_eq!(redactor(&[marked]).redact(text).text, expected, "{marked} in {text}");
        }
    }

    #[test]
    fn of_several_the_longest_goes_and_nothing_goes_twice() {
        let both = redactor(&["ann", "annual", "red"]);
        assert_eq!(both.redact("annual ann, /home/ann/x").text, "<redacted> <redacted>, <home>/x");
        let once = both.redact("ann at vm").text;
        assert_eq!(once, "<redacted> at <host>");
        assert_eq!(both.redact(&once), Redacted { text: once, replaced: false });
        assert!(!both.is_marked_in("<redacted>"));
    }

    #[test]
    fn places_in_a_document_are_told_without_what_they_hold() {
        let document = json!({
            "sweep": "zetalab-2", "hash": "ab4711ab4711ab4711", "more": { "gate.ZetaLab": 1 }, "timing": 0.5,
            "spec": { "axes": { "seed": [4710, 4711, 4711] }, "note": "plain" },
        });
        let places = redactor(&["zetalab", "4711"]).marked_places(&document);
        assert_eq!(places, ["more.gate.<redacted>", "spec.axes.seed", "sweep"]);
        assert_eq!(redactor(&[]).marked_places(&document), [""; 0]);
    }

    proptest! {
        #[test]
        fn nothing_marked_is_left_however_it_was_cased_or_escaped(
            marked in "[a-zä0-9 ./-]{1,8}", around in "[ -~]{0,12}", how in prop::collection::vec(0..5usize, 8),
        ) {
            let spell = |(c, how): (char, &usize)| match how {
                0 => c.to_uppercase().collect::<String>(),
                1 => c.to_string().bytes().map(|byte| format!("%{byte:02X}")).collect(),
                2 => format!("\\u{:04x}", c as u32),
                3 => format!("&#{};", c as u32),
                _ => c.to_string(),
            };
            let spelt: String = marked.chars().zip(&how).map(spell).collect();
            let redactor = Redactor::new(&[marked], "", "");
            let text = format!("{around}{spelt}{around}");
            prop_assert!(redactor.is_marked_in(&text), "{}", text);
            let redacted = redactor.redact(&text);
            prop_assert!(redacted.replaced);
            // What the pieces around a replacement happen to make together was not there.
            let pieces: Vec<&str> = redacted.text.split(REDACTED).collect();
            prop_assert!(pieces.iter().all(|piece| !redactor.is_marked_in(piece)), "{}", redacted.text);
        }
    }
}
