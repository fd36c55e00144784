import Foundation
import HostTools

/// Chromium without a window, as the judge of pages. It has no network: every address but that of a file leads nowhere.
package enum Browser {
    /// A page as it is once its program ran.
    package struct Document: Sendable {
        /// Its elements as HTML.
        package let html: String

        /// The value of the attribute `name` of the whole document; nil where there is none.
        package func attribute(_ name: String) -> String? {
            guard let tag = html.range(of: "<html[^>]*>", options: .regularExpression) else { return nil }
            return Self.attribute(name, in: html[tag])
        }

        /// The bytes that the legend has of each kind, by its name.
        package var totals: [String: Int] {
            let buttons = (part("legend") ?? "").components(separatedBy: "<button").dropFirst()
            let pairs = buttons.map { tag in
                (
                    Self.attribute("data-name", in: tag) ?? "",
                    Int(Self.attribute("data-bytes", in: tag) ?? "") ?? -1
                )
            }
            return Dictionary(pairs) { $1 }
        }

        /// What stands in the first element whose attribute id is `id`, up to the next end of such an element: for
        /// elements that hold none of their own kind.
        package func part(_ id: String) -> String? {
            guard
                let start = html.range(of: "<([a-z0-9]+)[^>]* id=\"\(id)\"[^>]*>", options: .regularExpression)
                    ?? html.range(of: "<([a-z0-9]+) id=\"\(id)\"[^>]*>", options: .regularExpression)
            else { return nil }
            let name = html[start].dropFirst().prefix { $0.isLetter || $0.isNumber }
            guard let end = html.range(of: "</\(name)>", range: start.upperBound..<html.endIndex) else { return nil }
            return String(html[start.upperBound..<end.lowerBound])
        }

        /// The text in that element, as people read it.
        package func text(_ id: String) -> String? { part(id).map(Self.text) }

        /// The texts of the elements called `name` in the element `id`.
        package func texts(_ name: String, in id: String) -> [String] {
            (part(id) ?? "").components(separatedBy: "<\(name)").dropFirst().map { piece in
                Self.text("<\(name)" + (piece.components(separatedBy: "</\(name)>").first ?? ""))
            }
        }

        /// The value of the attribute `name` in the text of a tag.
        package static func attribute(_ name: String, in tag: some StringProtocol) -> String? {
            guard let start = tag.range(of: " \(name)=\"") else { return nil }
            return decoded(String(tag[start.upperBound...].prefix { $0 != "\"" }))
        }

        private static func text(_ html: String) -> String {
            decoded(html.replacingOccurrences(of: "<[^>]*>", with: " ", options: .regularExpression))
                .split(whereSeparator: \.isWhitespace).joined(separator: " ")
        }

        private static func decoded(_ text: String) -> String {
            text.replacingOccurrences(of: "&lt;", with: "<").replacingOccurrences(of: "&gt;", with: ">")
                .replacingOccurrences(of: "&quot;", with: "\"").replacingOccurrences(of: "&nbsp;", with: " ")
                .replacingOccurrences(of: "&amp;", with: "&")
        }
    }

    /// Opens the page `path`, at what stands behind `#` in its address.
    package static func open(_ path: String, at fragment: String = "") throws -> Document {
        let profile = try TemporaryFolder()
        var address = URL(fileURLWithPath: path).absoluteString
        if !fragment.isEmpty { address += "#\(fragment)" }
        let result = try Tool.run(
            "chromium",
            [
                "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                "--disable-background-networking", "--disable-component-update", "--proxy-server=http://127.0.0.1:9",
                "--user-data-dir=\(profile.path)", "--window-size=1280,900", "--virtual-time-budget=10000",
                "--dump-dom", address,
            ], timeout: 120)
        guard result.status == 0, result.text.contains("</html>") else {
            throw ToolFailure(description: "chromium \(address): \(result.status): \(result.text)\(result.errors)")
        }
        return Document(html: result.text)
    }

    /// Opens a copy of the page `path` that also runs `script` once all else ran. The policy of the page, which forbids
    /// that, is changed in the copy.
    package static func open(_ path: String, running script: String) throws -> Document {
        let folder = try TemporaryFolder()
        var html = try String(contentsOfFile: path, encoding: .utf8)
        html = html.replacingOccurrences(
            of: "script-src 'sha256-[^']*'", with: "script-src 'unsafe-inline'", options: .regularExpression)
        html = html.replacingOccurrences(of: "</body>\n</html>", with: "<script>\(script)</script>\n</body>\n</html>")
        return try open(folder.write(Array(html.utf8), to: "page.html"))
    }
}
