use super::super::markup::Markup;
use super::super::table::Table;

/// A table whose rows become cards on a narrow screen; the first row is the heading.
pub(super) fn table(rows: &Table) -> Markup {
    let mut page = Markup::default();
    let mut rows = rows.iter();
    let Some(heading) = rows.next() else {
        return page;
    };
    page.raw("<table>\n<thead><tr>");
    for cell in heading {
        page.raw("<th scope=\"col\">").text(cell).raw("</th>");
    }
    page.raw("</tr></thead>\n<tbody>\n");
    for row in rows {
        page.raw("<tr>");
        for (index, (cell, name)) in row.iter().zip(heading).enumerate() {
            if index == 0 {
                page.raw("<th scope=\"row\" data-label=\"").text(name);
                page.raw("\">").text(cell).raw("</th>");
                continue;
            }
            page.raw("<td data-label=\"").text(name).raw("\">");
            page.append(&figure(cell)).raw("</td>");
        }
        page.raw("</tr>\n");
    }
    page.raw("</tbody>\n</table>\n");
    page
}

/// The value of a cell stands out from its interval.
fn figure(cell: &str) -> Markup {
    let mut page = Markup::default();
    match cell.split_once(" [") {
        Some((value, interval)) if value.parse::<f64>().is_ok() => {
            page.raw("<span><b>")
                .text(value)
                .raw("</b> <span class=\"interval\">[");
            page.text(interval).raw("</span></span>");
        }
        _ => {
            page.raw("<span>").text(cell).raw("</span>");
        }
    }
    page
}

/// Names and values.
pub(super) fn pairs(pairs: &[(String, String)]) -> Markup {
    let mut page = Markup::default();
    if pairs.is_empty() {
        return page;
    }
    page.raw("<dl>\n");
    for (name, value) in pairs {
        page.raw("<div><dt>").text(name).raw("</dt><dd>");
        page.text(value).raw("</dd></div>\n");
    }
    page.raw("</dl>\n");
    page
}
