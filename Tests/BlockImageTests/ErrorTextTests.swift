import BlockImage
import Testing

struct `The text of an error` {
    /// Calls files by their last components.
    private struct LastComponents: PathNaming {
        func name(of path: String) -> String { path.split(separator: "/").last.map { String($0) } ?? "" }
    }

    private let text: ErrorText =
        "backing file \"\(path: "/srv/b.raw")\": has \(3) bytes, " + "not 4\(hint: "; --force reads it")"

    @Test func `has its paths for the user of this host, and names and no hints for others`() {
        #expect(text.description == "backing file \"/srv/b.raw\": has 3 bytes, not 4; --force reads it")
        #expect(text.text(naming: nil) == text.description)
        #expect(text.text(naming: LastComponents()) == "backing file \"b.raw\": has 3 bytes, not 4")
    }

    @Test func `keeps the paths of texts and errors that it is made of`() {
        let error = ImageError(.denied, path: "/srv/a", offset: HostOffset(16), text, hint: "--allow-path /srv")
        let line = "/srv/a: at 0x10: \(text); --allow-path /srv"
        #expect(error.description == line && error.message == text.description && error.path == "/srv/a")
        let any: any Error = error
        for note: ErrorText in ["it failed: \(error)", "it failed: \(any)", "it failed: \(error.text)"] {
            #expect(note == ErrorText("it failed: \(line)"))
            #expect(
                note.text(naming: LastComponents())
                    == "it failed: a: at 0x10: backing file \"b.raw\": has 3 bytes, not 4")
        }
        let list = ErrorText(["\(path: "/srv/a")", "\(path: "/srv/b")"], separator: " and ")
        #expect(list.text(naming: LastComponents()) == "a and b" && list.description == "/srv/a and /srv/b")
    }

    @Test func `quotes to others no text of an image in which paths may be`() {
        let quoted: ErrorText = "line \"\(quoting: "RW 1 FLAT \"/srv/a\"")\": no; \"\(quoting: "KEY")\": no"
        #expect(quoted.description == "line \"RW 1 FLAT \"/srv/a\"\": no; \"KEY\": no")
        #expect(quoted.text(naming: LastComponents()) == "line \"…\": no; \"KEY\": no")
    }

    @Test func `is equal to one that reads the same`() {
        #expect("a \(path: "/b")" as ErrorText == "a /b" && Set<ErrorText>(["a \(path: "/b")", "a /b"]).count == 1)
        #expect(ErrorText("").isEmpty && !text.isEmpty)
        #expect(text.map { $0.uppercased() }.text(naming: LastComponents()).hasPrefix("BACKING FILE \"B.RAW\""))
    }

    @Test func `names what is no file as it is`() {
        for (subject, words) in [
            (ImageError.Subject.disk, "disk"), (.export("x/../y"), "export \"x/../y\""), (.export(nil), "export"),
            (.named("/a/b"), "/a/b"),
        ] {
            #expect(subject.description == words && subject.text(naming: LastComponents()) == words)
            #expect(ImageError(.outOfRange, about: subject, "no").description == "\(words): no")
        }
        #expect(ImageError.Subject.file("/a/b").text(naming: LastComponents()) == "b")
    }
}
