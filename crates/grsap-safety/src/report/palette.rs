//! What tells the models of a chart apart: a colour and a pattern, for print and the colour-blind.

use super::markup::Markup;

struct Ink {
    /// Okabe and Ito's colours, grey first for the baseline.
    colour: &'static str,
    /// A white motif on a tile of 8 by 8.
    motif: &'static str,
}

const INKS: [Ink; 7] = [
    Ink {
        colour: "#8c8c8c",
        motif: "",
    },
    Ink {
        colour: "#0072b2",
        motif: "M0 8L8 0M-2 2L2 -2M6 10L10 6",
    },
    Ink {
        colour: "#d55e00",
        motif: "M0 2H8M0 6H8",
    },
    Ink {
        colour: "#009e73",
        motif: "M0 0L8 8M-2 6L2 10M6 -2L10 2",
    },
    Ink {
        colour: "#cc79a7",
        motif: "M2 0V8M6 0V8",
    },
    Ink {
        colour: "#e69f00",
        motif: "M0 4H8M4 0V8",
    },
    Ink {
        colour: "#56b4e9",
        motif: "M2 1V3M1 2H3M6 5V7M5 6H7",
    },
];

/// The patterns that [`fill`] names, once in a file.
pub(super) fn definitions() -> Markup {
    let mut svg = Markup::default();
    svg.raw("<defs>\n");
    for (index, ink) in INKS.iter().enumerate() {
        svg.raw("<pattern id=\"ink-").count(index);
        svg.raw("\" width=\"8\" height=\"8\" patternUnits=\"userSpaceOnUse\">");
        svg.raw("<rect width=\"8\" height=\"8\" fill=\"")
            .raw(ink.colour);
        svg.raw("\"/><path d=\"").raw(ink.motif);
        svg.raw("\" stroke=\"#ffffff\" stroke-width=\"1.3\" fill=\"none\"/></pattern>\n");
    }
    svg.raw("</defs>\n");
    svg
}

/// The value of a `fill` attribute for model `index`.
pub(super) fn fill(index: usize) -> Markup {
    let mut fill = Markup::default();
    fill.raw("url(#ink-").count(index % INKS.len()).raw(")");
    fill
}

/// The colour alone, for lines and outlines.
pub(super) fn colour(index: usize) -> &'static str {
    INKS.get(index % INKS.len())
        .map_or("#000000", |ink| ink.colour)
}
