import BlockImage
import FormatCore

/// What only a VHD image has: what its footer and its header say. What does not apply is left out.
struct VHDInfo: Encodable, Sendable {
    private struct Shape: Encodable, Sendable {
        var cylinders: UInt16
        var heads: UInt8
        var sectors: UInt8
        var size: UInt64
    }

    private struct Parent: Encodable, Sendable {
        var uuid: String?
        var timeStamp: UInt64?
        var names: [PathText]

        private enum CodingKeys: String, CodingKey {
            case uuid, names
            case timeStamp = "time-stamp"
        }
    }

    private var subformat: String
    private var uuid: String
    private var currentSize: UInt64
    private var originalSize: UInt64
    private var geometry: Shape
    private var sizedByGeometry: Bool
    private var creator: String
    private var creatorVersion: String
    private var creatorSystem: String
    private var created: UInt64
    private var savedState: Bool?
    private var hidden: Bool?
    private var parent: Parent?

    private enum CodingKeys: String, CodingKey {
        case subformat, uuid, geometry, creator, created, hidden, parent
        case currentSize = "current-size"
        case originalSize = "original-size"
        case sizedByGeometry = "qemu-takes-geometry"
        case creatorVersion = "creator-version"
        case creatorSystem = "creator-host"
        case savedState = "saved-state"
    }

    init(_ description: VHDDescription) {
        let footer = description.footer
        subformat = description.kind.name
        uuid = footer.identity.description
        currentSize = footer.currentSize
        originalSize = footer.originalSize
        geometry = Shape(
            cylinders: footer.geometry.cylinders, heads: footer.geometry.heads, sectors: footer.geometry.sectors,
            size: footer.geometry.size)
        sizedByGeometry = footer.isSizedByGeometry && !footer.geometry.isLargest
        creator = footer.creatorText
        creatorVersion = "\(footer.creatorVersion >> 16).\(footer.creatorVersion & 0xffff)"
        creatorSystem = printable(footer.creatorSystem.prefix { $0 != 0 })
        created = vhdEpoch + UInt64(footer.timeStamp)
        savedState = footer.savedState == 0 ? nil : true
        hidden = footer.isOfXen && footer.hidden != 0 ? true : nil
        guard let link = description.parent, let header = description.header else { return }
        parent = Parent(
            uuid: link.identity?.description,
            timeStamp: header.parentTimeStamp == 0 ? nil : vhdEpoch + UInt64(header.parentTimeStamp),
            names: description.parentNames.map { PathText($0) })
    }
}

/// The beginning of 2000, from which time stamps count, in seconds since that of 1970.
let vhdEpoch: UInt64 = 946_684_800

extension Footer {
    /// The creator application as people read it.
    var creatorText: String { printable(creator.prefix { $0 != 0 }) }
    /// Whether XenServer's tapdisk made the disk.
    var isOfXen: Bool { creator.elementsEqual("tap\0".utf8) }
}
