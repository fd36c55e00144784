import Catalog
import JSON

/// A request whose method is known, and its parameters are checked: what is kept of it while it waits. Nothing else that
/// came with it is.
struct PreparedRequest: Sendable {
    /// What the answer is to have; nil: a notification.
    var id: JSON?
    /// The method, and what it is called with; or why it cannot be called.
    var call: Result<(method: Method, arguments: Arguments), RPCError>

    /// What is called; nil where nothing is.
    var method: Method? { try? call.get().method }

    init(_ request: RPCRequest) {
        id = request.id
        do throws(RPCError) {
            guard let method = Method.named(request.method) else {
                throw RPCError(
                    .methodNotFound,
                    "there is no method \(JSON.string(String(request.method.prefix(40))).text); rpc.discover tells of "
                        + "those that there are")
            }
            call = .success((method, try Arguments(request.params, for: method.allParameters)))
        } catch {
            call = .failure(error)
        }
    }

    /// The same of what may have been refused already.
    static func make(
        _ request: Result<RPCRequest, RPCRequest.Refusal>
    ) -> Result<PreparedRequest, RPCRequest.Refusal> {
        request.map { PreparedRequest($0) }
    }

    /// Whether it has to be done by other threads than the one that serves all connections.
    var readsImages: Bool { method?.readsImages ?? false }

    /// Whether it is done in seconds, although it reads images.
    var isBounded: Bool { method?.isBounded ?? false }

    /// Whether it may take minutes.
    var takesLong: Bool { method.map { $0.isLong && !$0.isBounded } ?? false }

    /// The names of the images that it reads, without their snapshots and partitions, as far as they are known.
    func images(in catalog: ExportCatalog) -> [String] {
        guard let (method, arguments) = try? call.get(), !method.isBounded else { return [] }
        return method.parameters.filter(\.isImage).map { parameter in
            let name = arguments.string(parameter)
            return catalog.knownImage(of: name) ?? Self.imageName(in: name)
        }
    }

    /// The most bytes that its answer is likely to have; 0 where that is little.
    var answerSize: Int {
        guard let (method, arguments) = try? call.get() else { return 0 }
        switch method.answerSize {
        case .short: return 0
        case .long: return ControlSession.answerLimit
        // Base64 takes four bytes for three, and names take little.
        case .data(let length): return Int(clamping: arguments.count(length) ?? 0) / 3 * 4 + 8192
        }
    }

    /// What is likely the image's own name in that of a disk, such as "disk.qcow2@snapshot/p1".
    private static func imageName(in name: String) -> String {
        let bytes = Array(name.utf8)
        var end = bytes.firstIndex(of: UInt8(ascii: "@")) ?? bytes.count
        if let slash = bytes[..<end].lastIndex(of: UInt8(ascii: "/")), slash + 2 < end,
            bytes[slash + 1] == UInt8(ascii: "p"), bytes[(slash + 2)..<end].allSatisfy({ (0x30...0x39).contains($0) })
        {
            end = slash
        }
        return String(decoding: bytes[..<end], as: UTF8.self)
    }
}
