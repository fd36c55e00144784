import BlockImage
import ByteFormat
import Dispatch
import Glibc

/// Serves one disk to QEMU, by the NBD protocol (NetworkBlockDevice/nbd, doc/proto.md), on a socket that QEMU inherits: there
/// is no address that others could reach. Less than `NBDServer` does: one client, one export, simple replies, one thread.
final class DiskServer {
    /// The most bytes of a request, which QEMU learns from the server.
    private static let requestLimit = 1 << 20

    private let disk: any ServedDisk
    private let socket: MachineSocket
    private let buffer = AlignedBuffer(capacity: requestLimit)

    private init(_ disk: any ServedDisk, _ socket: MachineSocket) { (self.disk, self.socket) = (disk, socket) }

    /// Serves `disk` on a thread of its own, until QEMU closes `socket`. What goes wrong with the disk is noted in `faults`.
    /// While it does, it is in `group`.
    static func start(
        _ disk: MachineDisk, on socket: MachineSocket, noting faults: DiskFaults, in group: DispatchGroup
    ) {
        DispatchQueue(label: "machine disk").async(group: group) {
            do throws(ImageError) {
                let server = DiskServer(try disk.served(), socket)
                try server.negotiate()
                while try server.answerRequest(faults) {}
            } catch {
                faults.note(error)
            }
            socket.close()
        }
    }

    // MARK: Handshake

    private func negotiate() throws(ImageError) {
        var greeting = ByteWriter()
        greeting.write(bytes: "NBDMAGICIHAVEOPT".utf8)
        // NBD_FLAG_FIXED_NEWSTYLE, NBD_FLAG_NO_ZEROES.
        greeting.write(UInt16(3), .big)
        try socket.send(greeting.bytes)
        _ = try socket.receive(4)
        for _ in 0..<64 {
            var reader = ByteReader(try socket.receive(16))
            guard let magic = try? reader.read(bytes: 8), magic == Array("IHAVEOPT".utf8),
                let option = try? reader.read(.big, as: UInt32.self),
                let size = try? reader.read(.big, as: UInt32.self), size <= 64 << 10
            else { throw Self.fault("an option is damaged") }
            _ = try socket.receive(Int(size))
            switch option {
            // NBD_OPT_GO: two informations, and NBD_REP_ACK.
            case 7:
                try reply(to: option, 3, export)
                try reply(to: option, 3, blockSizes)
                return try reply(to: option, 1, [])
            // NBD_OPT_ABORT.
            case 2: throw Self.fault("the client goes")
            // NBD_REP_ERR_UNSUP.
            default: try reply(to: option, 1 << 31 | 1, [])
            }
        }
        throw Self.fault("too many options")
    }

    /// NBD_INFO_EXPORT.
    private var export: [UInt8] {
        var writer = ByteWriter()
        writer.write(UInt16(0), .big)
        writer.write(disk.size, .big)
        // NBD_FLAG_HAS_FLAGS, SEND_FLUSH, SEND_FUA, SEND_TRIM, SEND_WRITE_ZEROES.
        writer.write(UInt16(0b110_1101), .big)
        return writer.bytes
    }

    /// NBD_INFO_BLOCK_SIZE.
    private var blockSizes: [UInt8] {
        var writer = ByteWriter()
        writer.write(UInt16(3), .big)
        for size in [512, 4096, UInt32(Self.requestLimit)] { writer.write(size, .big) }
        return writer.bytes
    }

    private func reply(to option: UInt32, _ type: UInt32, _ content: [UInt8]) throws(ImageError) {
        var writer = ByteWriter()
        writer.write(UInt64(0x0003_e889_0455_65a9), .big)
        writer.write(option, .big)
        writer.write(type, .big)
        writer.write(UInt32(content.count), .big)
        writer.write(bytes: content)
        try socket.send(writer.bytes)
    }

    // MARK: Requests

    /// Answers one request; false: it was the last.
    private func answerRequest(_ faults: DiskFaults) throws(ImageError) -> Bool {
        let buffer = buffer
        guard let head = try socket.receiveUnlessEnd(28) else { return false }
        var reader = ByteReader(head)
        guard (try? reader.read(.big, as: UInt32.self)) == 0x2560_9513,
            let flags = try? reader.read(.big, as: UInt16.self),
            let command = try? reader.read(.big, as: UInt16.self),
            let cookie = try? reader.read(bytes: 8), let start = try? reader.read(.big, as: UInt64.self),
            let length = try? reader.read(.big, as: UInt32.self)
        else { throw Self.fault("a request is damaged") }
        // NBD_CMD_DISC.
        guard command != 2 else { return false }
        let moves = command < 2
        guard !moves || length <= UInt32(Self.requestLimit) else { throw Self.fault("a request is too large") }
        if command == 1 {
            try buffer.fill(Int(length)) { output throws(ImageError) in try socket.receive(Int(length), into: &output) }
        }
        var number: CInt = 0
        do throws(ImageError) {
            try perform(command, flags, UInt64(length), at: start)
        } catch {
            faults.note(error, isOfWrite: command != 0)
            if case .system(ENOSPC) = error.code { number = ENOSPC } else { number = EIO }
        }
        var writer = ByteWriter()
        writer.write(UInt32(0x6744_6698), .big)
        writer.write(UInt32(bitPattern: number), .big)
        writer.write(bytes: cookie)
        try socket.send(writer.bytes)
        if command == 0, number == 0 { try socket.send(buffer.bytes) }
        return true
    }

    private func perform(_ command: UInt16, _ flags: UInt16, _ length: UInt64, at start: UInt64) throws(ImageError) {
        guard start <= disk.size, length <= disk.size - start else {
            throw ImageError(.outOfRange, about: .disk, "\(length) bytes at \(GuestOffset(start)) are not in it")
        }
        let buffer = buffer
        switch command {
        case 0:
            try buffer.fill(Int(length)) { output throws(ImageError) in
                try disk.read(Int(length), at: start, into: &output)
            }
        case 1: try disk.write(buffer.bytes, at: start)
        case 3: try disk.flush()
        case 4: if length > 0 { try disk.discard(length, at: start) }
        // NBD_CMD_FLAG_NO_HOLE is the second bit.
        case 6: if length > 0 { try disk.zero(length, at: start, mayUnmap: flags & 2 == 0) }
        default: throw Self.fault("a request of the unknown kind \(command)")
        }
        // NBD_CMD_FLAG_FUA.
        if flags & 1 != 0, command == 1 || command == 6 || command == 4 { try disk.flush() }
    }

    private static func fault(_ text: String) -> ImageError {
        ImageError(.corrupt, about: .named("QEMU"), "the protocol of its disk: \(text)")
    }
}

/// The first that went wrong with disks of a machine: why a file system gives errors. May be used from any thread.
final class DiskFaults: Sendable {
    private let first = Guarded<(any: ImageError?, write: ImageError?)>((nil, nil))

    func note(_ error: ImageError, isOfWrite: Bool = false) {
        first.withLock { first in
            first.any = first.any ?? error
            if isOfWrite { first.write = first.write ?? error }
        }
    }

    var error: ImageError? { first.withLock { $0.any } }
    /// The first of a write that was not done: the kernel may have heard of it too late to say so.
    var writeError: ImageError? { first.withLock { $0.write } }
}
