import BlockImage
import Catalog

/// Requests that change an export.
extension Session {
    /// Does what `request` says, but for the bytes that it writes, which were written before. What its client is to be sure of
    /// is on stable storage when this returns.
    func change(by request: Request) throws(ImageError) {
        switch request.command {
        case .trim where request.length > 0: try export.discard(request.length, at: request.offset)
        case .writeZeroes where request.length > 0:
            let isRefused =
                request.flags.contains(.fastZero)
                ? try !export.zeroesFast(request.length, at: request.offset) : false
            guard !isRefused else {
                throw ImageError(.unsupported, about: .export(export.name), "zeros would be written there")
            }
            try export.zero(
                request.length, at: request.offset, mayUnmap: !request.flags.contains(.noHole))
        default: break
        }
        if request.command == .flush || request.flags.contains(.fua) { try export.flush() }
    }
}
