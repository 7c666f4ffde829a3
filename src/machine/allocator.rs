//! An allocator that ends the program with words when there is no memory, where the system's would have it abort.

use std::alloc::{GlobalAlloc, Layout, System};

/// The system's allocator. Where it has nothing left, the program says so and ends with [`CODE`]: there is nothing that it
/// could do without memory, and what it wrote is whole at any instant.
pub struct OrEnd;

/// Exit code of a program that ran out of memory: that of other trouble with the machine.
const CODE: i32 = 2;

// SAFETY: hands everything to the system's allocator as it is, and never returns null.
unsafe impl GlobalAlloc for OrEnd {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        or_end(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        or_end(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        or_end(unsafe { System.realloc(at, layout, size) }, size)
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { System.dealloc(at, layout) }
    }
}

#[inline]
fn or_end(at: *mut u8, size: usize) -> *mut u8 {
    if at.is_null() { end(size) } else { at }
}

/// Says that there is no memory and ends the process, without allocating and without running anything else of it.
#[cold]
fn end(size: usize) -> ! {
    let mut digits = [0; 20];
    let number = decimal(size, &mut digits);
    for part in [
        b"error: out of memory: ".as_slice(),
        number,
        b" more bytes cannot be had; see `ulimit -v`, the limits of the container or job, and free memory. \
          What is finished is kept\n",
    ] {
        super::say(part);
    }
    super::end(CODE)
}

/// A number in decimal digits, in `digits`.
fn decimal(mut number: usize, digits: &mut [u8; 20]) -> &[u8] {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 || at == 0 {
            return &digits[at..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_without_allocating() {
        let text = |number: usize| String::from_utf8_lossy(decimal(number, &mut [0; 20])).into_owned();
        for number in [0, 7, 10, 1_048_576, usize::MAX] {
            assert_eq!(text(number), number.to_string());
        }
    }
}
