import BlockImage
import Catalog
import NIOCore

/// What was negotiated with a client, and holds until the connection ends. May be used from any thread.
struct Session: Sendable {
    var export: Export
    var form: ReplyForm
    /// What may be asked of ranges, each under the number that it has for this connection.
    var contexts: [(id: UInt32, context: MetaContext)]
    /// Whether what is sent must pass through TLS.
    var isEncrypted = false

    /// Why a request is not even begun; nil where it is.
    func refusal(of request: Request) -> NBDError? {
        switch request.command {
        case nil: return NBDError(.invalid, "there is no such command")
        case .write, .trim, .writeZeroes:
            guard export.isWritable else { return NBDError(.notPermitted, "the export is read-only") }
        case .disconnect, .flush: return nil
        case .read, .cache, .blockStatus: break
        }
        guard request.flags.isSubset(of: knownFlags(of: request.command)) else {
            return NBDError(.invalid, "the command does not have these flags")
        }
        let size = export.image.virtualSize
        guard request.offset <= size, request.length <= size - request.offset else {
            let isWrite = request.command == .write || request.command == .writeZeroes
            return NBDError(
                isWrite ? .noSpace : .invalid, "the request goes beyond the \(size) bytes of the export")
        }
        switch request.command {
        case .read where request.length > Request.payloadLimit:
            return NBDError(.overflow, "at most \(Request.payloadLimit) bytes are read at a time")
        case .read where request.flags.contains(.dontFragment) && request.length > ReadReply.pieceSize:
            return NBDError(.overflow, "at most \(ReadReply.pieceSize) bytes are sent in one piece")
        case .blockStatus where contexts.isEmpty:
            return NBDError(.invalid, "no metadata context was chosen")
        case .blockStatus where request.length == 0: return NBDError(.invalid, "no bytes have no status")
        default: return nil
        }
    }

    private func knownFlags(of command: Request.Command?) -> Request.Flags {
        switch command {
        case .read: [.fua, .dontFragment]
        case .blockStatus: [.fua, .requestOne]
        case .write: form == .extended ? [.fua, .payloadLength] : .fua
        case .writeZeroes: [.fua, .noHole, .fastZero]
        default: .fua
        }
    }

    /// Answers a request for the status of a range, in all contexts. Takes as long as the metadata of the range does.
    /// At most `descriptorLimit` descriptors are listed.
    func writeStatus(
        to request: Request, with encoder: ReplyEncoder, descriptorLimit: Int, into buffer: inout ByteBuffer
    ) {
        let limit = request.flags.contains(.requestOne) ? 1 : max(1, descriptorLimit / contexts.count)
        do throws(ImageError) {
            try export.checkUnchanged()
            for (index, (id, context)) in contexts.enumerated() {
                let status = try BlockStatus(
                    context, of: export, request.length, at: request.offset, limit: limit)
                let isLast = index == contexts.count - 1
                status.write(id, isLast: isLast, to: request, with: encoder, into: &buffer)
            }
        } catch {
            encoder.writeError(NBDError(error, paths: export.paths), to: request, into: &buffer)
        }
    }
}
