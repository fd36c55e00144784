import Foundation
import HostTools

/// The text of a VMDK descriptor, as products write it or as a test wants it.
package struct VMDKDescriptorText: Sendable {
    /// The comment that begins it.
    package var mark = "# Disk DescriptorFile"
    /// The value of `version`.
    package var version = "1"
    /// The value of `encoding`; nil: no such key.
    package var encoding: String?
    /// How the text lies in a file, which nothing but `encoding` says.
    package var characters = String.Encoding.utf8
    /// The value of `CID`.
    package var cid: UInt32
    /// The value of `parentCID`; `VMDKDescriptorText.noParent` for none.
    package var parentCID: UInt32
    /// The value of `createType`.
    package var createType: String
    /// The value of `parentFileNameHint`; nil: no such key.
    package var parentFileNameHint: String?
    /// The lines of the extents.
    package var extents: [String]
    /// The lines of the disk data base.
    package var database: [String] = [
        "ddb.virtualHWVersion = \"4\"", "ddb.geometry.cylinders = \"20\"", "ddb.geometry.heads = \"16\"",
        "ddb.geometry.sectors = \"63\"", "ddb.adapterType = \"ide\"",
    ]
    /// What ends a line.
    package var lineEnd = "\n"
    /// Bytes before all others, such as a byte order mark.
    package var prefix: [UInt8] = []

    /// The parentCID of a disk without a parent.
    package static let noParent: UInt32 = 0xffff_ffff

    /// A disk of `createType`, made of `extents`.
    package init(
        _ createType: String, _ extents: [String], cid: UInt32 = 0x1234_5678, parent: (name: String, cid: UInt32)? = nil
    ) {
        self.createType = createType
        self.extents = extents
        self.cid = cid
        parentCID = parent?.cid ?? Self.noParent
        parentFileNameHint = parent?.name
    }

    /// A line that describes an extent of `size` bytes.
    package static func extent(
        _ type: String, size: Int, file: String? = nil, offset: Int? = nil, access: String = "RW"
    ) -> String {
        var line = "\(access) \(size / 512) \(type)"
        if let file { line += " \"\(file)\"" }
        if let offset { line += " \(offset / 512)" }
        return line
    }

    /// The lines, without their ends.
    package var lines: [String] {
        var lines = [mark, "version=\(version)"]
        if let encoding { lines.append("encoding=\"\(encoding)\"") }
        lines += ["CID=\(Self.hexadecimal(cid))", "parentCID=\(Self.hexadecimal(parentCID))"]
        lines.append("createType=\"\(createType)\"")
        if let parentFileNameHint { lines.append("parentFileNameHint=\"\(parentFileNameHint)\"") }
        lines += ["", "# Extent description"] + extents
        return lines + ["", "# The Disk Data Base", "#DDB", ""] + database
    }

    /// The text as it lies in a file. Throws where `characters` cannot write it.
    package func bytes() throws -> [UInt8] {
        let text = lines.map { $0 + lineEnd }.joined()
        guard let data = text.data(using: characters) else {
            throw ToolFailure(description: "no \(characters) text: \(text)")
        }
        return prefix + data
    }

    private static func hexadecimal(_ value: UInt32) -> String {
        let digits = String(value, radix: 16)
        return String(repeating: "0", count: 8 - digits.count) + digits
    }
}
