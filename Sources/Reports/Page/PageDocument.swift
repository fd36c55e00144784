import BlockImage
import Encryption
import ImageTools

/// A page to look at: one file of HTML that holds its style, its program and its data, and needs no network.
///
/// What an image says stands in the data and in the title only. The data is JSON in which no `<` is left, so that
/// nothing in it ends the element that it stands in, and the program puts all of it into texts. A policy allows the
/// page's own style and program, by their digests, and nothing else.
struct PageDocument {
    /// What the page is about: shown as it is, but for what HTML may not have.
    var title: String
    /// The data: an object of JSON.
    var data: String
    /// What the list beside the picture is called.
    var listTitle: String

    /// The page. Throws where the digests cannot be made.
    func html() throws -> String {
        let title = escapedMarkup(printable(title))
        let policy =
            "default-src 'none'; style-src '\(try Self.digest(of: Self.styleText))'; "
            + "script-src '\(try Self.digest(of: Self.scriptText))'; base-uri 'none'; form-action 'none'"
        return """
            <!DOCTYPE html>
            <html lang="en">
            <head>
            <meta charset="utf-8">
            <meta http-equiv="Content-Security-Policy" content="\(policy)">
            <meta name="viewport" content="width=device-width, initial-scale=1">
            <meta name="color-scheme" content="light dark">
            <meta name="referrer" content="no-referrer">
            <title>\(title)</title>
            <style>\(Self.styleText)</style>
            </head>
            <body>
            <p id="failure" role="alert" hidden></p>
            <header><h1>\(title)</h1><p class="facts" id="facts"></p></header>
            \(body)
            <script type="application/json" id="data">\(Self.withoutMarkup(data))</script>
            <script>\(Self.scriptText)</script>
            </body>
            </html>

            """
    }

    /// JSON in which no element can begin or end. By bytes: a `<` may be a part of a larger `Character`.
    private static func withoutMarkup(_ json: String) -> String {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(json.utf8.count)
        for byte in json.utf8 { if byte == UInt8(ascii: "<") { bytes += "\\u003c".utf8 } else { bytes.append(byte) } }
        return String(decoding: bytes, as: UTF8.self)
    }

    private static let styleText = "\n\(style)\n"
    private static let scriptText = "\n\(script)\n"

    /// The digest of `text` as a content security policy has it.
    private static func digest(of text: String) throws -> String {
        var digest = try ContentDigest(.sha256)
        // Safe: integers have no bytes that are not set.
        unsafe try digest.update(Array(text.utf8).span.bytes)
        return "sha256-\(Base64.text(try digest.finish()))"
    }

    private var body: String {
        """
        <noscript><p class="panel">This page draws with JavaScript, which is off.</p></noscript>
        <main>
        <section id="stage" aria-label="Picture">
        <div class="tools">
        <div class="group" role="group" aria-label="Zoom">
        <button type="button" id="farther" title="Zoom out (-)" aria-label="Zoom out">−</button>
        <button type="button" id="nearer" title="Zoom in (+)" aria-label="Zoom in">+</button>
        <button type="button" id="whole" title="Show all (0)">All</button>
        </div>
        <span class="quiet" id="shown"></span>
        <form id="go"><label for="offset">Go to</label>
        <input id="offset" placeholder="0x50000, 320K" autocomplete="off" spellcheck="false" required>
        <select id="where" aria-label="What the offset counts"></select><button>Go</button></form>
        </div>
        <canvas id="overview" aria-hidden="true"></canvas>
        <div id="frame"><canvas id="picture" tabindex="0" role="application" aria-describedby="keys" \
        aria-label="Map of squares; arrow keys choose one"></canvas></div>
        <div class="panel" id="here" role="status" tabindex="0"></div>
        <p class="keys" id="keys"><kbd>←</kbd> <kbd>↑</kbd> <kbd>↓</kbd> <kbd>→</kbd> choose a square, <kbd>Enter</kbd> \
        all of its range, <kbd>+</kbd> <kbd>-</kbd> or the wheel zoom, <kbd>0</kbd> shows all, dragging moves</p>
        </section>
        <aside>
        <section class="panel"><h2>Legend</h2><ul class="plain" id="legend"></ul>
        <p class="quiet" id="coarse" hidden></p></section>
        <section class="panel"><h2>\(listTitle) <span class="count" id="findings-count"></span></h2>
        <ol class="plain" id="findings"></ol></section>
        <section class="panel" id="structures-panel"><h2>Structures</h2><div id="structures"></div></section>
        </aside>
        </main>
        <div id="tip" hidden></div>
        """
    }
}

extension RangeList {
    /// The parts as an array of JSON: `[bytes, kind]` each; of several kinds, `[bytes, kind, bytes of it, kind, …]`.
    var json: String {
        let parts = parts.map { part in
            let mix =
                part.mix.count == 1
                ? "\(part.mix[0].kind)" : part.mix.map { "\($0.kind),\($0.count)" }.joined(separator: ",")
            return "[\(part.count),\(mix)]"
        }
        return "[\(parts.joined(separator: ",\n"))]"
    }

    /// What to know of ranges that were put together; nil where none were.
    var coarseNote: String? {
        step == 0
            ? nil
            : "There are more ranges than a page holds: neighbours that are shorter than \(humanSize(step)) are shown as "
                + "one, with the mix of them."
    }
}

/// What the parts of a picture can be, as a legend has it.
struct PageKind {
    /// What it is called.
    var name: String
    /// Its colours on a light and on a dark page.
    var colours: (light: String, dark: String?)
    /// More members of the object: JSON, by their names.
    var members: [(name: String, json: String)] = []

    var json: String {
        var object = JSONObject()
        object.add("name", name)
        object.add("light", colours.light)
        if let dark = colours.dark { object.add("dark", dark) }
        for (name, json) in members { object.add(name, raw: json) }
        return object.text
    }
}

/// Pairs of a name and a value, as JSON.
func jsonFacts(_ facts: [(name: String, value: String)]) -> String {
    "[\(facts.map { "[\(jsonString($0.name)), \(jsonString($0.value))]" }.joined(separator: ", "))]"
}
