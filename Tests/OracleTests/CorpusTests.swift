import BlockImage
import Foundation
import HostStorage
import HostTools
import ImageFormats
import SystemPackage
import TestImages
import Testing

/// Images that other products made, which lie beside the repository where they are there at all.
enum Corpus {
    /// A line of its manifest.
    struct Row: Sendable, CustomTestStringConvertible {
        var path: String
        var format: String
        var features: String
        var virtualSize: UInt64?
        var sha256: String
        var expectedError: String
        var testDescription: String { path }

        /// Whether it has a header, and hardly anything of the tables that this speaks of.
        var isHeaderOnly: Bool { format.contains("qcow v1") }
    }

    static let folder: String = {
        if let path = ProcessInfo.processInfo.environment["RBLOCK_CORPUS"] {
            return URL(fileURLWithPath: path).resolvingSymlinksInPath().path
        }
        let tests = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        return tests.deletingLastPathComponent().deletingLastPathComponent().appendingPathComponent("shared/corpus")
            .resolvingSymlinksInPath().path
    }()

    /// Its images. Empty, with a printed reason, where it is not there: it is no part of the repository.
    static let rows: [Row] = {
        guard let text = try? String(contentsOfFile: "\(folder)/MANIFEST.tsv", encoding: .utf8) else {
            print("skipped: no corpus of real images at \(folder); RBLOCK_CORPUS says where it is")
            return []
        }
        let lines = text.split(whereSeparator: \.isNewline).map {
            $0.split(separator: "\t", omittingEmptySubsequences: false)
        }
        guard let header = lines.first else { return [] }
        return lines.dropFirst().compactMap { line in
            func field(_ name: String) -> String {
                guard let index = header.firstIndex(where: { $0 == name }), index < line.count else { return "" }
                return line[index].replacingOccurrences(of: "\"", with: "")
            }
            guard field("role") == "image" else { return nil }
            return Row(
                path: field("path"), format: field("format"), features: field("features"),
                virtualSize: UInt64(field("virtual_size")), sha256: field("sha256_raw"),
                expectedError: field("expected_error"))
        }
    }()
}

@Suite(.enabled(if: !Corpus.rows.isEmpty))
struct `Images that other products made` {
    @Test(.enabled(if: Tool.areThere("openssl")), arguments: Corpus.rows)
    func `are read to the byte, or refused for the reason that they must be`(row: Corpus.Row) throws {
        let format: ImageFormat?
        switch ImageFormat.naming(of: Array(row.path.utf8)) {
        case .format(let named)?: format = named
        case .ambiguous?: format = nil
        case nil:
            // Shown by no mount; what another image names has a format of its own.
            guard row.format.hasPrefix("qcow2") || row.format.hasPrefix("vmdk") else { return }
            format = nil
        }
        let policy = try ConfinedOpenPolicy(images: FilePath(Corpus.folder))
        let file = try policy.openImage(at: FilePath("\(Corpus.folder)/\(row.path)"))
        let resources = LayerResources()
        let opened = ImageOpener(policy: policy, resources: resources)
            .open(file, as: format, counters: resources.counters)
        if row.isHeaderOnly {
            #expect(opened.disk.image?.virtualSize == row.virtualSize)
            return #expect(opened.disk.image?.allocation().1?.code == .truncated)
        }
        guard !row.sha256.isEmpty else {
            #expect(!row.expectedError.isEmpty)
            let error = opened.disk.error ?? opened.disk.image.flatMap { $0.allocation().1 }
            // A file that is not where the image says may be found by its last component, which is noted; QEMU stops there.
            let isFoundElsewhere = opened.layers.flatMap(\.notes).contains { $0.contains(" is read") }
            return #expect(error != nil || isFoundElsewhere, "must be refused: \(row.expectedError)")
        }
        // A hostile one whose disk others can read may be refused as well.
        if !row.expectedError.isEmpty && opened.disk.error != nil { return }
        let image = try opened.disk.result.get()
        #expect(image.virtualSize == row.virtualSize)
        #expect(try sha256(of: image) == row.sha256)
    }

    /// The digest of the disk, which is written to a file with holes for it. By openssl, which has the processor do it.
    private func sha256(of image: Image) throws -> String {
        let folder = try TemporaryFolder()
        let path = try folder.write([], to: "disk.raw")
        let file = try #require(FileHandle(forWritingAtPath: path))
        try file.truncate(atOffset: image.virtualSize)
        var position = GuestOffset(0)
        while let start = try image.next(hole: false, from: position) {
            let end = try image.next(hole: true, from: start) ?? GuestOffset(image.virtualSize)
            let count = min(end.rawValue - start.rawValue, 4 << 20)
            try file.seek(toOffset: start.rawValue)
            try file.write(contentsOf: Data(try image.bytes(Int(count), at: start.rawValue)))
            position = start.advanced(by: count)
            if position.rawValue >= image.virtualSize { break }
        }
        try file.close()
        let output = try Tool.check("openssl", "dgst", "-sha256", "-r", path, timeout: 300)
        return String(String(decoding: output, as: UTF8.self).prefix(64))
    }
}
