//! How much is read: whatever lies in a directory, a reader asks for no more memory than a file of this kind can be worth.

use std::io::{self, ErrorKind, Read};

/// Most bytes of a manifest, a spec, a log or another file that is read as a whole. The largest are a ledger with its line
/// of a hundred and twenty bytes per file, and the manifest of a refined run, with a megabyte per ten thousand levels.
pub(super) const MOST_FILE_BYTES: u64 = 128 << 20;

/// Largest window that zstd may keep while it unpacks, as a power of two: 8 MiB. What this program packs has 2 MiB.
const WINDOW_LOG: u32 = 23;
/// Bytes that are unpacked at a time.
const PORTION: usize = 1 << 16;

fn out_of_memory(_: std::collections::TryReserveError) -> io::Error {
    ErrorKind::OutOfMemory.into()
}

/// Unpacks what zstd packed, up to `most` bytes.
///
/// # Errors
/// [`ErrorKind::OutOfMemory`] when the machine has no room for it, which says nothing of the bytes; else that they are not
/// what zstd writes, or unpack to more.
pub(super) fn unpack(packed: &[u8], most: u64) -> io::Result<Vec<u8>> {
    let mut context = zstd::zstd_safe::DCtx::try_create().ok_or(ErrorKind::OutOfMemory)?;
    let mut decoder = zstd::stream::read::Decoder::with_context(packed, &mut context);
    decoder.window_log_max(WINDOW_LOG).map_err(told_apart)?;
    let (mut plain, mut portion) = (Vec::new(), vec![0; PORTION]);
    loop {
        let read = decoder.read(&mut portion).map_err(told_apart)?;
        if read == 0 {
            return Ok(plain);
        }
        if plain.len() as u64 + read as u64 > most {
            let text = format!("it unpacks to more than {most} bytes, which no such record has");
            return Err(io::Error::new(ErrorKind::FileTooLarge, text));
        }
        plain.try_reserve(read).map_err(out_of_memory)?;
        plain.extend_from_slice(portion.get(..read).unwrap_or_default());
    }
}

/// zstd says in words that it got no memory.
fn told_apart(error: io::Error) -> io::Error {
    if error.to_string().contains("not enough memory") { ErrorKind::OutOfMemory.into() } else { error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_that_unpack_to_more_than_may_be_are_refused_and_others_come_back() {
        let plain = vec![7; 3 * PORTION + 5];
        let packed = zstd::encode_all(plain.as_slice(), 3).unwrap();
        assert_eq!(unpack(&packed, plain.len() as u64).unwrap(), plain);
        assert_eq!(unpack(&packed, plain.len() as u64 - 1).unwrap_err().kind(), ErrorKind::FileTooLarge);
        assert!(unpack(&packed[..packed.len() - 1], 1 << 20).is_err(), "cut off");
        assert!(unpack(b"no zstd at all", 1 << 20).is_err());
        // A window of 128 MiB is refused before anything is unpacked.
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
        encoder.window_log(27).unwrap();
        std::io::copy(&mut std::io::repeat(0).take(200 << 20), &mut encoder).unwrap();
        assert!(unpack(&encoder.finish().unwrap(), u64::MAX - PORTION as u64).is_err());
    }
}
