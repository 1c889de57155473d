use std::time::SystemTime;

use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Value, escape_formatter};

use super::generation::with_marks;
use super::json::to_json;
use super::python;
use super::strftime::strftime;
use crate::template_limits::FUEL;

/// What a template gave to `raise_exception`.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Raised(pub(crate) String);

/// An environment with one template in it. `now` is what `strftime_now` formats.
pub(crate) fn environment(
    name: &'static str,
    source: &str,
    now: SystemTime,
) -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    environment.set_fuel(Some(FUEL));
    environment.set_syntax(
        SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()?,
    );
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_unknown_method_callback(python::method);
    environment.set_formatter(|out, state, value| {
        let float = f64::try_from(value.clone()).ok();
        match float.filter(|_| value.is_number() && !value.is_integer()) {
            Some(number) => Ok(out.write_str(&python::float(number))?),
            None => escape_formatter(out, state, value),
        }
    });
    minijinja_contrib::add_to_environment(&mut environment);
    environment.add_function("raise_exception", |message: &Value| -> Result<(), Error> {
        let message = message.to_string();
        let error = Error::new(ErrorKind::InvalidOperation, message.clone());
        Err(error.with_source(Raised(message)))
    });
    environment.add_function("strftime_now", move |format: String| strftime(&format, now));
    environment.add_filter("tojson", to_json);
    environment.add_filter("trim", python::trim);
    environment.add_test("sequence", |value: &Value| {
        value.as_str().is_some() || value.try_iter().is_ok()
    });
    // Jinja reads every kind of line end as this one.
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    environment.add_template_owned(name, with_marks(&source))?;
    Ok(environment)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(source: &str) -> Result<String, Error> {
        let context = minijinja::context! {
            items => vec![1, 2, 3],
            tool => Value::from_pairs([("name", Value::from("<é & 'x'>")), ("n", Value::from(vec![1, 2]))]),
            text => " a b ",
        };
        environment("t", source, SystemTime::UNIX_EPOCH)?
            .get_template("t")?
            .render(context)
    }

    #[test]
    fn json_is_written_as_python_writes_it() {
        let json = render("{{ tool | tojson }}").unwrap();
        assert_eq!(json, r#"{"name": "<é & 'x'>", "n": [1, 2]}"#);
        let json = render("{{ tool | tojson(indent=2) }}").unwrap();
        assert_eq!(
            json,
            "{\n  \"name\": \"<é & 'x'>\",\n  \"n\": [\n    1,\n    2\n  ]\n}"
        );
        assert_eq!(
            render("{{ text | tojson(indent=none) }}").unwrap(),
            r#"" a b ""#
        );
    }

    #[test]
    fn blocks_take_their_lines_with_them() {
        let text = render("a\n  {% for i in items %}\n{{ i }}\n  {% endfor %}\nb\n").unwrap();
        assert_eq!(text, "a\n1\n2\n3\nb");
    }

    #[test]
    fn python_methods_slices_and_loop_controls() {
        let source = "{{ text.strip() }}|{{ text.split(' ')[1] }}|{{ 'x'.startswith('x') }}|{{ items[::-1] }}|\
            {%- for i in items %}{% if i == 2 %}{% continue %}{% endif %}{{ i }}{% endfor %}";
        assert_eq!(render(source).unwrap(), "a b|a|True|[3, 2, 1]|13");
        assert_eq!(render("{% set ns = namespace(n=0) %}{% for i in items %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}").unwrap(), "6");
        assert_eq!(render("{{ '<b>' }}").unwrap(), "<b>");
    }
}
