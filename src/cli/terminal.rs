//! What the terminals of this process can show.

use std::io::IsTerminal;

/// A terminal that may be drawn on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Screen {
    /// Characters across.
    pub width: usize,
    /// Whether it shows more than ASCII.
    pub unicode: bool,
}

/// Characters across a terminal that does not say.
const USUAL_WIDTH: usize = 80;

/// Standard output, where it is a terminal that may be drawn on.
pub(super) fn of_output() -> Option<Screen> {
    let stdout = std::io::stdout();
    let shades = stdout.is_terminal() && variable("NO_COLOR").is_none();
    shades.then(|| Screen { width: width(stdout), unicode: shows_unicode() })
}

/// Standard error, where it is a terminal on which a line can be drawn again: one that calls itself dumb cannot.
pub(super) fn of_errors() -> Option<Screen> {
    let stderr = std::io::stderr();
    let redraws = stderr.is_terminal() && !is_dumb(variable("TERM").as_deref());
    redraws.then(|| Screen { width: width(stderr), unicode: shows_unicode() })
}

/// Whether what goes to standard error may be coloured.
pub(super) fn color() -> bool {
    std::io::stderr().is_terminal() && variable("NO_COLOR").is_none() && !is_dumb(variable("TERM").as_deref())
}

#[cfg(unix)]
fn width(terminal: impl std::os::fd::AsFd) -> usize {
    terminal_size::terminal_size_of(terminal).map_or(USUAL_WIDTH, |(width, _)| usize::from(width.0))
}

#[cfg(not(unix))]
fn width(_: impl Sized) -> usize {
    terminal_size::terminal_size().map_or(USUAL_WIDTH, |(width, _)| usize::from(width.0))
}

/// A variable that is set to something.
fn variable(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()).filter(|value| !value.is_empty())
}

/// Unix terminals say what they are; one that says nothing, as under `env -i`, is taken for a dumb one.
fn is_dumb(term: Option<&str>) -> bool {
    match term {
        Some(term) => term == "dumb" || term == "unknown",
        None => cfg!(unix),
    }
}

fn shows_unicode() -> bool {
    if !cfg!(unix) {
        return true;
    }
    is_unicode(["LC_ALL", "LC_CTYPE", "LANG"].map(variable).into_iter().flatten().next().as_deref())
}

/// Whether the locale that decides about characters is one of UTF-8; none is the C locale, of ASCII.
fn is_unicode(locale: Option<&str>) -> bool {
    let code = locale.unwrap_or_default().to_ascii_lowercase();
    code.contains("utf-8") || code.contains("utf8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locales_of_utf_8_show_more_than_ascii() {
        for locale in ["en_US.UTF-8", "C.utf8", "de_DE.utf8@euro", "UTF-8"] {
            assert!(is_unicode(Some(locale)), "{locale}");
        }
        for locale in ["C", "POSIX", "de_DE", "de_DE.ISO-8859-1", "ja_JP.eucJP"] {
            assert!(!is_unicode(Some(locale)), "{locale}");
        }
        assert!(!is_unicode(None));
    }

    #[test]
    fn dumb_terminals_say_so_or_nothing() {
        assert!(is_dumb(Some("dumb")) && is_dumb(Some("unknown")));
        assert!(!is_dumb(Some("xterm-256color")) && !is_dumb(Some("linux")));
        assert_eq!(is_dumb(None), cfg!(unix));
    }
}
