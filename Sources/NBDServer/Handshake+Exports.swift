import BlockImage
import Catalog
import Glibc
import NIOCore

/// What clients ask of one export before they use it.
extension Handshake {
    /// What clients do best to read at once: the size of most images' clusters.
    private static let preferredBlockSize: UInt32 = 64 << 10
    /// The most contexts that one connection may choose.
    private static let contextLimit = 64

    /// INFO and GO.
    mutating func answerInfo(_ option: OptionRequest, _ data: ByteBuffer, into reply: inout ByteBuffer) -> Next {
        guard let query = InfoQuery(data) else {
            OptionReply.invalid.write("this is no query for an export", to: option, into: &reply)
            return .option
        }
        guard let export = open(query.name, for: option, into: &reply) else { return .option }
        func writeInfo(_ type: InfoType, _ payload: (inout ByteBuffer) -> Void) {
            OptionReply.info.write(to: option, into: &reply) { reply in
                reply.writeInteger(type.rawValue)
                payload(&reply)
            }
        }
        writeInfo(.export) {
            $0.writeMultipleIntegers(
                export.image.virtualSize, TransmissionFlags.ofExport(form, isWritable: export.isWritable).rawValue)
        }
        if query.wanted.contains(InfoType.name.rawValue) { writeInfo(.name) { $0.writeString(export.name) } }
        if query.wanted.contains(InfoType.description.rawValue) {
            writeInfo(.description) { $0.writeSubstring(export.summary.clipped()) }
        }
        if query.wanted.contains(InfoType.blockSize.rawValue) {
            writeInfo(.blockSize) {
                $0.writeMultipleIntegers(
                    UInt32(1), Self.preferredBlockSize, UInt32(truncatingIfNeeded: Request.payloadLimit))
            }
        }
        OptionReply.ack.write(to: option, into: &reply)
        return option.kind == .go ? .transmission(session(export)) : .option
    }

    /// LIST_META_CONTEXT and SET_META_CONTEXT.
    mutating func answerMetaContexts(_ option: OptionRequest, _ data: ByteBuffer, into reply: inout ByteBuffer) {
        let isChoice = option.kind == .setMetaContext
        // A choice that fails leaves none.
        if isChoice { chosen = nil }
        guard form != .simple, let query = MetaContextQuery(data) else {
            let message = form == .simple ? "structured replies come first" : "this is no query for contexts"
            return OptionReply.invalid.write(message, to: option, into: &reply)
        }
        guard let export = open(query.name, for: option, into: &reply) else { return }
        let queries = Set(query.queries.map { ExactName($0) })
        let found = MetaContext.all(of: export) { context in
            isChoice
                ? queries.contains(ExactName(context.name))
                : queries.isEmpty || queries.contains { context.isListed(by: $0.text) }
        }
        guard !isChoice || found.count <= Self.contextLimit else {
            return OptionReply.tooBig.write(
                "at most \(Self.contextLimit) contexts may be chosen", to: option, into: &reply)
        }
        for (id, context) in found {
            OptionReply.metaContext.write(to: option, into: &reply) { reply in
                reply.writeInteger(isChoice ? id : 0)
                reply.writeString(context.name)
            }
        }
        OptionReply.ack.write(to: option, into: &reply)
        if isChoice { chosen = (ExactName(export.name), Set(found.map { ExactName($0.context.name) })) }
    }

    /// The export called `name`; where there is none, or it cannot be read, the answer says so.
    private mutating func open(_ name: String, for option: OptionRequest, into reply: inout ByteBuffer) -> Export? {
        do throws(ImageError) {
            return try catalog.open(name)
        } catch {
            note = Note(error, opening: name, naming: catalog.paths)
            OptionReply.unknown.write(error.detail.text(naming: catalog.paths), to: option, into: &reply)
            return nil
        }
    }
}
