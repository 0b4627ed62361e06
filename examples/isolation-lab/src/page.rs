//! The page and what belongs to it, as files of the guest: the server serves handlers, not folders.

/// A file as it is sent.
#[derive(Clone, Copy)]
pub struct Asset {
    pub content_type: &'static str,
    pub text: &'static str,
}

/// The file of that name; the page itself has none.
pub fn asset(name: &str) -> Option<Asset> {
    Some(match name {
        "" => html(include_str!("../page/index.html")),
        "lab.css" => Asset { content_type: "text/css; charset=utf-8", text: include_str!("../page/lab.css") },
        "lab.js" => script(include_str!("../page/lab.js")),
        "experiments.js" => script(include_str!("../page/experiments.js")),
        "judge.js" => script(include_str!("../page/judge.js")),
        "neighbour.js" => script(include_str!("../page/neighbour.js")),
        "plot.js" => script(include_str!("../page/plot.js")),
        "view.js" => script(include_str!("../page/view.js")),
        _ => return None,
    })
}

const fn html(text: &'static str) -> Asset {
    Asset { content_type: "text/html; charset=utf-8", text }
}

const fn script(text: &'static str) -> Asset {
    Asset { content_type: "text/javascript; charset=utf-8", text }
}
