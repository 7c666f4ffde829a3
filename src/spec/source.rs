//! Where the text of a spec comes from: a file, standard input, or the program itself. It must be UTF-8; what it is
//! instead is named.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::path::Path;

use super::builtin::BUILTINS;
use super::diagnostic::SpecError;
use super::scalar::nearest;

/// Where named specs are looked for before the built-in ones.
const FOLDER: &str = "sweeps";

/// The argument that stands for standard input.
const STANDARD_INPUT: &str = "-";

/// Largest spec that is read, so that a wrong path, such as a table's or a device's, is an error and not all memory. A
/// thousand refined levels take a hundredth.
const MOST_BYTES: u64 = 64 << 20;

/// The text of a spec, and what to call where it comes from.
pub(super) struct Text {
    pub name: String,
    pub text: String,
}

/// Finds `spec`: `-` is standard input, else the path of a file, else `NAME` of `./sweeps/NAME.toml`, else the name of a
/// built-in spec.
pub(super) fn find(spec: &OsStr) -> Result<Text, SpecError> {
    if spec == STANDARD_INPUT {
        return read("standard input".to_string(), Ok(Box::new(io::stdin().lock())));
    }
    let name = spec.to_str().map(|name| name.strip_suffix(".toml").unwrap_or(name));
    let in_folder = name.map(|name| Path::new(FOLDER).join(format!("{name}.toml")));
    let is_path = spec.as_encoded_bytes().iter().any(|byte| [b'/', b'\\'].contains(byte));
    let file = [Some(Path::new(spec)), in_folder.as_deref()].into_iter().flatten().find(|path| path.is_file());
    if let Some(path) = file.or(is_path.then_some(Path::new(spec))) {
        let file = std::fs::File::open(path).map(|file| Box::new(file) as Box<dyn Read>);
        return read(path.display().to_string(), file);
    }
    let shown = spec.to_string_lossy();
    let name = name.unwrap_or(&shown);
    match BUILTINS.iter().find(|builtin| builtin.name == name) {
        Some(builtin) => Ok(Text { name: format!("{FOLDER}/{name}.toml (built in)"), text: builtin.text.to_string() }),
        None => {
            let known = known();
            let nearest = nearest(name, known.iter().map(String::as_str)).to_string();
            Err(SpecError::Unknown { name: shown.into_owned(), nearest, known })
        }
    }
}

/// The names that [`find`] knows: those of `./sweeps` and of the built-in specs, sorted.
fn known() -> Vec<String> {
    let files = std::fs::read_dir(FOLDER).into_iter().flatten().flatten().map(|entry| entry.path());
    let stems = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .filter_map(|path| path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
    let mut names: Vec<String> = stems.chain(BUILTINS.iter().map(|builtin| builtin.name.to_string())).collect();
    names.sort();
    names.dedup();
    names
}

fn read(name: String, from: io::Result<Box<dyn Read + '_>>) -> Result<Text, SpecError> {
    let mut bytes = Vec::new();
    let taken = from.and_then(|from| from.take(MOST_BYTES + 1).read_to_end(&mut bytes));
    if let Err(source) = taken {
        return Err(SpecError::Read { path: name, known: known(), source });
    }
    match text_of(bytes) {
        Ok(text) => Ok(Text { name, text }),
        Err(NoText { reason, help }) => Err(SpecError::NoText { path: name, reason, help }),
    }
}

/// Why bytes are no text, and what to do.
#[derive(Debug, PartialEq, Eq)]
struct NoText {
    reason: String,
    help: String,
}

/// What the first bytes of a text in other encodings are.
const MARKS: [(&[u8], &str); 4] = [
    (&[0xff, 0xfe, 0, 0], "UTF-32"),
    (&[0, 0, 0xfe, 0xff], "UTF-32"),
    (&[0xff, 0xfe], "UTF-16"),
    (&[0xfe, 0xff], "UTF-16"),
];

/// The bytes as text. The mark that some editors begin UTF-8 with is left out.
fn text_of(mut bytes: Vec<u8>) -> Result<String, NoText> {
    if bytes.len() as u64 > MOST_BYTES {
        let reason = format!("it is larger than {} MiB", MOST_BYTES >> 20);
        return Err(NoText { reason, help: "give the path of a TOML file".to_string() });
    }
    if bytes.starts_with(&[0xef, 0xbb, 0xbf]) {
        bytes.drain(..3);
    }
    let marked = MARKS.iter().find(|(mark, _)| bytes.starts_with(mark)).map(|(_, name)| *name);
    // Without a mark every other byte of plain text is zero.
    let unmarked = || match bytes.as_slice() {
        [a, b, c, d, ..] => ([*a, *c] == [0, 0]) != ([*b, *d] == [0, 0]),
        _ => false,
    };
    if let Some(encoding) = marked.or_else(|| unmarked().then_some("UTF-16")) {
        return Err(NoText {
            reason: format!("it is {encoding}, as some editors and shells on Windows write it, and not UTF-8"),
            help: format!("save it as UTF-8, for instance with `iconv -f {encoding} -t UTF-8`"),
        });
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let (before, after) = error.as_bytes().split_at(at);
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let byte = after.first().copied().unwrap_or_default();
        if before.contains(&0) || after.contains(&0) {
            let reason = format!("it is not UTF-8 text: line {line} has the byte {byte:#04x}");
            return NoText { reason, help: "give the path of a TOML file".to_string() };
        }
        NoText {
            reason: format!("it is not UTF-8: line {line} has the byte {byte:#04x}"),
            help: "save it as UTF-8; from an older Western encoding `iconv -f LATIN1 -t UTF-8` does".to_string(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utf_16(text: &str, big: bool) -> Vec<u8> {
        text.encode_utf16().flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
    }

    #[test]
    fn text_in_other_encodings_is_told_from_text_that_is_none() {
        let spec = "name = \"größe\"\n";
        let reason = |bytes: &[u8]| text_of(bytes.to_vec()).expect_err("not UTF-8").reason;
        for big in [false, true] {
            let plain = utf_16(spec, big);
            let marked = utf_16(&format!("\u{feff}{spec}"), big);
            for bytes in [plain, marked] {
                assert!(reason(&bytes).starts_with("it is UTF-16"), "{bytes:?}");
            }
        }
        let wide: Vec<u8> = "\u{feff}a".chars().flat_map(|c| (c as u32).to_le_bytes()).collect();
        assert!(reason(&wide).starts_with("it is UTF-32"));
        let latin: Vec<u8> = format!("\n\n{spec}").chars().map(|c| c as u8).collect();
        assert_eq!(reason(&latin), "it is not UTF-8: line 3 has the byte 0xf6");
        assert!(reason(&[0x1f, 0x8b, 8, 0, 0xff]).contains("not UTF-8 text"));
        assert!(reason(&vec![b' '; MOST_BYTES as usize + 1]).contains("larger than 64 MiB"));
    }

    #[test]
    fn the_mark_of_utf_8_is_no_part_of_the_text_and_nothing_is_a_text() {
        let marked = "\u{feff}name = \"a\"".as_bytes().to_vec();
        assert_eq!(text_of(marked).as_deref(), Ok("name = \"a\""));
        for text in ["", "a", "ab", "abc", "a\0"] {
            assert_eq!(text_of(text.as_bytes().to_vec()).as_deref(), Ok(text));
        }
    }

    #[cfg(unix)]
    #[test]
    fn paths_need_not_be_text() {
        use std::os::unix::ffi::OsStringExt;
        let folder = tempfile::tempdir().expect("a folder");
        let odd = folder.path().join(std::ffi::OsString::from_vec(b"caf\xe9.toml".to_vec()));
        std::fs::write(&odd, "name = \"a\"\n").expect("written");
        let found = find(odd.as_os_str()).expect("a file");
        assert!(found.name.ends_with("caf\u{fffd}.toml"), "{}", found.name);
        let bare = std::ffi::OsString::from_vec(b"smok\xe9".to_vec());
        assert!(matches!(find(&bare), Err(SpecError::Unknown { nearest, .. }) if nearest == "smoke"));
    }
}
