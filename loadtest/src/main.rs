//! Load test for WHIP and WHEP servers.

fn main() -> std::process::ExitCode {
    weir_loadtest::cli::main()
}
