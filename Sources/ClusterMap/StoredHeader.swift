import BlockImage
import ByteFormat

/// A header that begins a file, which can be shown whether it is sound or not.
public protocol FileHeader: Sendable {
    /// How many bytes it has.
    static var length: Int { get }
    /// What is wrong with its fields.
    var faults: [ParseFault] { get }
    /// Reads it. Throws where it is none, or not whole.
    init(parsing reader: inout ByteReader) throws(ParseFault)
}

/// The header of a file as it stands there. A value; may be used from any thread.
public struct StoredHeader<Header: FileHeader>: Sendable {
    /// Its bytes, as far as the file has them.
    public let bytes: [UInt8]
    /// Nil where the file has no whole one.
    public let whole: Header?
    private let fault: ParseFault?

    /// That of `file`. Throws what reading it throws.
    public init(of file: any HostFile) throws(ImageError) {
        bytes = try file.bytes(Int(min(file.size, UInt64(Header.length))), at: HostOffset(0), of: "header")
        do throws(ParseFault) {
            var reader = ByteReader(bytes)
            whole = try Header(parsing: &reader)
            fault = nil
        } catch {
            whole = nil
            fault = error
        }
    }

    /// The one by which tables can be found; nil where something is wrong with it.
    public var sound: Header? { whole.flatMap { $0.faults.isEmpty ? $0 : nil } }

    /// A cursor over its fields, which has what is wrong with each.
    public func cursor(isLittleEndian: Bool, telling consumer: any LayoutConsumer) -> LayoutCursor {
        var cursor = LayoutCursor(bytes, at: HostOffset(0), isLittleEndian: isLittleEndian, telling: consumer)
        for fault in (whole?.faults ?? []) + (fault.map { [$0] } ?? []) {
            cursor.faults[fault.position] = "\(fault.message)"
        }
        return cursor
    }
}
