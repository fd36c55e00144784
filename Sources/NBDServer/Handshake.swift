import BlockImage
import Catalog
import Glibc
import NIOCore

/// Whether connections are encrypted.
package enum TLSMode: String, CaseIterable, Sendable {
    /// Never.
    case off
    /// Where the client wants it.
    case allow
    /// Always: until then a client learns nothing.
    case require
}

/// The server's side of the handshake, from its first byte to the export that the client chooses: the NBD protocol,
/// "Newstyle negotiation", in its fixed form. Knows no sockets. Answering may read images, and take its time.
struct Handshake: Sendable {
    /// What is to happen after an answer was sent.
    enum Next {
        /// The client's next option.
        case option
        /// TLS, and then the handshake goes on.
        case startTLS
        /// Requests.
        case transmission(Session)
        /// The end.
        case close
    }

    /// What an operator may want to know of an answer.
    enum Note: Hashable {
        /// The client gets not what it wants.
        case refused(String)
        /// It has named an export that there is not.
        case unknownExport(String, reason: String)
    }

    /// NBD_FLAG_FIXED_NEWSTYLE and NBD_FLAG_NO_ZEROES, of the server as of the client.
    private static let fixedNewstyle: UInt32 = 1 << 0
    private static let noZeroes: UInt32 = 1 << 1
    /// The most exports that are listed: more than clients take.
    private static let listLimit = 10_000

    let catalog: ExportCatalog
    let tls: TLSMode
    private var isEncrypted = false
    private var clientFlags: UInt32 = 0
    var form = ReplyForm.simple
    /// What SET_META_CONTEXT chose, by their names, and of which export.
    var chosen: (export: ExactName, contexts: Set<ExactName>)?
    /// What is to be noted of the last answer.
    var note: Note?

    /// A handshake about the exports of `catalog`.
    init(catalog: ExportCatalog, tls: TLSMode) {
        self.catalog = catalog
        self.tls = tls
    }

    /// Whether `message` is answered without looking at an image.
    static func isQuick(_ message: OptionDecoder.Message) -> Bool {
        guard case .option(let option) = message else { return true }
        switch option.kind {
        case .exportName, .list, .info, .go, .listMetaContext, .setMetaContext: return false
        case .abort, .startTLS, .structuredReply, .extendedHeaders, nil: return true
        }
    }

    /// What the server says first.
    static func writeGreeting(into buffer: inout ByteBuffer) {
        buffer.writeString("NBDMAGIC")
        buffer.writeInteger(OptionDecoder.magic)
        buffer.writeInteger(UInt16(truncatingIfNeeded: fixedNewstyle | noZeroes))
    }

    /// Answers what the client sent by what it appends to `reply`.
    mutating func answer(_ message: OptionDecoder.Message, into reply: inout ByteBuffer) -> Next {
        note = nil
        switch message {
        case .clientFlags(let flags):
            clientFlags = flags
            // A server that does not know what a flag changes cannot go on.
            guard flags & ~(Self.fixedNewstyle | Self.noZeroes) != 0 else { return .option }
            return refuse("does not speak NBD: its flags are 0x\(String(flags, radix: 16))")
        case .option(let option): return answer(option, into: &reply)
        }
    }

    /// Notes why the connection ends.
    private mutating func refuse(_ reason: String) -> Next {
        note = .refused(reason)
        return .close
    }

    private mutating func answer(_ option: OptionRequest, into reply: inout ByteBuffer) -> Next {
        let isFixed = clientFlags & Self.fixedNewstyle != 0
        guard isFixed || option.kind == .exportName else {
            return refuse("option \(option.number) of a client that does not speak the fixed newstyle negotiation")
        }
        if tls == .require, !isEncrypted, option.kind != .startTLS, option.kind != .abort {
            note = .refused("the client has not begun TLS, which is required")
            // EXPORT_NAME has no answer that says no.
            guard option.kind != .exportName else { return .close }
            OptionReply.tlsRequired.write("this server wants TLS first", to: option, into: &reply)
            return .option
        }
        guard let data = option.data else {
            guard option.kind != .exportName else {
                return refuse("a name of more than \(OptionDecoder.dataLimit) bytes")
            }
            OptionReply.tooBig.write(
                "has more than \(OptionDecoder.dataLimit) bytes of data", to: option, into: &reply)
            return .option
        }
        switch option.kind {
        case .exportName: return enterByName(data, into: &reply)
        case .abort:
            OptionReply.ack.write(to: option, into: &reply)
            return .close
        case .info, .go: return answerInfo(option, data, into: &reply)
        case .listMetaContext, .setMetaContext: answerMetaContexts(option, data, into: &reply)
        case .list, .startTLS, .structuredReply, .extendedHeaders:
            guard data.readableBytes == 0 else {
                OptionReply.invalid.write("this option has no data", to: option, into: &reply)
                return .option
            }
            return answerWithoutData(option, into: &reply)
        case nil: OptionReply.unsupported.write("this option is not known", to: option, into: &reply)
        }
        return .option
    }

    private mutating func answerWithoutData(_ option: OptionRequest, into reply: inout ByteBuffer) -> Next {
        switch option.kind {
        case .list: list(option, into: &reply)
        case .startTLS: return startTLS(option, into: &reply)
        case .structuredReply where form == .extended:
            OptionReply.extendedHeadersRequired.write(
                "extended headers were negotiated, which are more", to: option, into: &reply)
        case .structuredReply:
            form = .structured
            OptionReply.ack.write(to: option, into: &reply)
        default:
            form = .extended
            OptionReply.ack.write(to: option, into: &reply)
        }
        return .option
    }

    private mutating func startTLS(_ option: OptionRequest, into reply: inout ByteBuffer) -> Next {
        guard tls != .off else {
            note = .refused("the client wants TLS, which this server does not have")
            OptionReply.policy.write("this server has no TLS", to: option, into: &reply)
            return .option
        }
        guard !isEncrypted else {
            OptionReply.invalid.write("TLS has begun already", to: option, into: &reply)
            return .option
        }
        OptionReply.ack.write(to: option, into: &reply)
        // What was said before may have been said by an attacker between the client and here.
        (isEncrypted, form, chosen) = (true, .simple, nil)
        return .startTLS
    }

    /// Those that cannot be read are left out: a client that lists exports asks for each, and stops at the first that
    /// it does not get. An image that was only slow to answer is listed by its name.
    private func list(_ option: OptionRequest, into reply: inout ByteBuffer) {
        var count = 0
        let entries: [ExportCatalog.Entry]
        do throws(ImageError) {
            entries = try catalog.list()
        } catch {
            return OptionReply.unknown.write(error.detail.text(naming: catalog.paths), to: option, into: &reply)
        }
        for entry in entries {
            guard (try? entry.size.get()) != nil || entry.isSlow, entry.name.utf8.count <= NBDError.stringLimit else {
                continue
            }
            guard count < Self.listLimit else { break }
            count += 1
            OptionReply.server.write(to: option, into: &reply) { reply in
                reply.writeInteger(UInt32(truncatingIfNeeded: entry.name.utf8.count))
                reply.writeString(entry.name)
                reply.writeSubstring(entry.summary.clipped())
            }
        }
        OptionReply.ack.write(to: option, into: &reply)
    }

    private mutating func enterByName(_ data: ByteBuffer, into reply: inout ByteBuffer) -> Next {
        var data = data
        guard data.readableBytes <= NBDError.stringLimit, let name = data.readUTF8(data.readableBytes) else {
            return refuse("a name that is no UTF-8, or has more than \(NBDError.stringLimit) bytes")
        }
        let export: Export
        do throws(ImageError) {
            export = try catalog.open(name)
        } catch {
            note = Note(error, opening: name, naming: catalog.paths)
            return .close
        }
        reply.writeMultipleIntegers(
            export.image.virtualSize, TransmissionFlags.ofExport(form, isWritable: export.isWritable).rawValue)
        if clientFlags & Self.noZeroes == 0 { reply.writeRepeatingByte(0, count: 124) }
        return .transmission(session(export))
    }

    /// What was negotiated, for `export`, which may have been opened anew since contexts were chosen.
    func session(_ export: Export) -> Session {
        let names = chosen?.export == ExactName(export.name) ? chosen?.contexts ?? [] : []
        return Session(
            export: export, form: form, contexts: MetaContext.all(of: export) { names.contains(ExactName($0.name)) },
            isEncrypted: isEncrypted)
    }
}

extension Handshake.Note {
    /// Why the export `name` cannot be opened. An operator is not kept from the host's paths.
    init(_ error: ImageError, opening name: String, naming paths: HostPaths) {
        self =
            ExportCatalog.isAboutName(error)
            ? .unknownExport(name, reason: error.detail.text(naming: paths))
            : .refused("export \"\(name)\": \(error)")
    }
}
