//! The `cliffline` program: see [`cliffline::cli`].

/// In the program alone: what uses the library chooses for itself.
#[global_allocator]
static ALLOCATOR: cliffline::machine::allocator::OrEnd = cliffline::machine::allocator::OrEnd;

fn main() -> std::process::ExitCode {
    cliffline::cli::main()
}
