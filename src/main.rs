//! The `cliffline` program: see [`cliffline::cli`].

fn main() -> std::process::ExitCode {
    cliffline::cli::main()
}
