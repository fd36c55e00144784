import BlockImage

/// Errors of every kind that name files of a host in every way that they can, for tests of what clients of servers get.
package enum HostErrors {
    /// The folder in which the files are that clients must not learn of, and an option that they do not have.
    package static let (folder, option) = ("/srv/top-secret", "--force")

    /// Every kind of error.
    private static let codes: [ImageError.Code] = [
        .corrupt, .unsupported, .truncated, .denied, .outOfRange, .system(errno: 13), .system(errno: 2),
    ]

    /// Names of files as errors have them: all but the last lead into the folder, or out of the image's own.
    private static let paths = [
        "\(folder)/base.raw", "\(folder)/with blanks/in it/a base.raw", "\(folder)/quo\"ted/'b'.raw",
        "../top-secret/base.raw", "sub/../../top-secret/base.raw", "\(folder)/colon: and/comma, b.raw",
        "file://\(folder)/base.raw", "file:\(folder)/base.raw",
        "FILE://\(folder)/base.raw", "nbd+unix:///x?socket=\(folder)/sock", "nbd://host/x?socket=\(folder)/sock",
        "json:{\"file\": {\"filename\": \"\(folder)/base.raw\"}}",
        "C:\\top-secret\\base.vmdk", "\\\\host\\top-secret\\base.vmdk", "..\\top-secret\\base.vmdk",
        "sub\\..\\..\\top-secret\\base.vmdk", "\(folder)/n\\xfc/n\\xfc.raw", "\(folder)/\u{301}/é.raw",
        "/images/../srv/top-secret/base.raw", "/images/sub/plain.qcow2",
    ]

    /// All errors: of every code, about every name, in every part of the error.
    package static let all: [ImageError] = codes.flatMap { code in
        paths.flatMap { path -> [ImageError] in
            let inner = ImageError(code, path: path, offset: HostOffset(512), "read: no", hint: "\(option) \(path)")
            let details: [ErrorText] = [
                "is no file", "backing file \"\(path: path)\": is no file",
                "leads to \(path: path), out of it; \(inner)",
                "the first (\(inner.detail)) of \(path: path)\(hint: "; \(option) overwrites \(path)")",
                "line \"\(quoting: "RW 1 FLAT \"\(path)\" \(option)")\": " + "the size must be a number",
                ErrorText(["\(path: path)", inner.text], separator: " and "),
            ]
            return details.flatMap { detail in
                [ImageError.Subject.file(path), .disk, .export("a/p1"), .export(nil), .named("a.qcow2")].map {
                    ImageError(code, about: $0, offset: HostOffset(4096), detail, hint: "\(option) reads \(path)")
                }
            }
        }
    }

    /// Whether `text` says nothing that clients must not get.
    package static func areHidden(in text: String) -> Bool {
        !text.contains("top-secret") && !text.contains("/srv") && !text.contains("/images") && !text.contains(option)
    }
}
