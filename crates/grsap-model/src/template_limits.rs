//! A template is a program from someone else's file. Without an end, two nested loops in a line of
//! text run for hours, and a list put into itself often enough takes the whole stack.

use std::io;

use minijinja::{Environment, Error, ErrorKind, Value};

/// How much a template may compute: an instruction costs one, and so do 64 bytes of text. Real
/// templates need some tens for a message.
pub(crate) const FUEL: u64 = 250_000;

/// Room for what is nested as deeply as `FUEL` allows (some 25,000 lists), whatever the caller's
/// stack. Only what is used of it becomes memory.
const STACK_BYTES: usize = 64 << 20;

/// Renders a template of an environment that has `FUEL`, on a stack of its own.
pub(crate) fn render(
    environment: &Environment<'_>,
    name: &str,
    context: Value,
) -> Result<String, Error> {
    let failed = |reason: &str, e: io::Error| {
        Error::new(ErrorKind::InvalidOperation, reason.to_owned()).with_source(e)
    };
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("chat template".into())
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, || environment.get_template(name)?.render(context))
            .map_err(|e| failed("cannot start a thread for the template", e))?
            .join()
            .unwrap_or_else(|_| {
                let reason = "the template engine panicked";
                Err(Error::new(ErrorKind::InvalidOperation, reason))
            })
    })
}
