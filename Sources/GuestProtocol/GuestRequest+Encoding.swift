import ByteFormat

extension GuestRequest {
    /// The number of a request.
    enum Number: UInt8 {
        case mount = 1
        case unmount, usage, status, list, entries, target, attributeNames, attribute, open, read, runs, close
        case make, makeLink, makeName, write, setSize, setMode, setOwner, setTimes, setAttribute, removeAttribute
        case remove, rename, synchronize, powerOff, fill, batch
    }

    /// The request as a frame.
    public func frame() -> [UInt8] {
        if case .write(let handle, let offset, let bytes) = self {
            var writer = ByteWriter.frame(capacity: bytes.count + 32)
            writer.write(Number.write)
            writer.write(handle.number, .little)
            writer.write(offset, .little)
            writer.write(counted: bytes)
            return writer.framed()
        }
        var writer = ByteWriter.frame()
        writeReading(&writer)
        return writer.framed()
    }

    private func writeReading(_ writer: inout ByteWriter) {
        switch self {
        case .mount(let disk, let type, let options, let isWritable):
            writer.write(Number.mount)
            writer.write(disk, .little)
            writer.write(counted: Array(type.utf8))
            writer.write(counted: Array(options.utf8))
            writer.write(isWritable)
        case .unmount(let mount): writer.write(.unmount, mount)
        case .usage(let mount): writer.write(.usage, mount)
        case .status(let path): writer.write(.status, path)
        case .list(let path): writer.write(.list, path)
        case .entries(let handle):
            writer.write(Number.entries)
            writer.write(handle.number, .little)
        case .target(let path): writer.write(.target, path)
        case .attributeNames(let path): writer.write(.attributeNames, path)
        case .attribute(let path, let name):
            writer.write(.attribute, path)
            writer.write(counted: name)
        case .open(let path, let isWritable):
            writer.write(.open, path)
            writer.write(isWritable)
        case .read(let handle, let count, let offset):
            writer.write(Number.read)
            writer.write(handle.number, .little)
            writer.write(count, .little)
            writer.write(offset, .little)
        case .runs(let handle, let offset):
            writer.write(Number.runs)
            writer.write(handle.number, .little)
            writer.write(offset, .little)
        case .close(let handles):
            writer.write(Number.close)
            writer.write(UInt32(truncatingIfNeeded: handles.count), .little)
            for handle in handles { writer.write(handle.number, .little) }
        case .powerOff: writer.write(Number.powerOff)
        default: writeWriting(&writer)
        }
    }

    private func writeWriting(_ writer: inout ByteWriter) {
        switch self {
        case .make(let path, let mode, let major, let minor):
            writer.write(.make, path)
            for value in [mode, major, minor] { writer.write(value, .little) }
        case .makeLink(let path, let target):
            writer.write(.makeLink, path)
            writer.write(counted: target)
        case .makeName(let path, let file):
            writer.write(.makeName, path)
            writer.write(file)
        case .setSize(let path, let size):
            writer.write(.setSize, path)
            writer.write(size, .little)
        case .setMode(let path, let mode):
            writer.write(.setMode, path)
            writer.write(mode, .little)
        case .setOwner(let path, let user, let group):
            writer.write(.setOwner, path)
            for value in [user, group] { writer.write(value, .little) }
        case .setTimes(let path, let accessed, let modified):
            writer.write(.setTimes, path)
            for time in [accessed, modified] {
                writer.write(time != nil)
                if let time { writer.write(time) }
            }
        case .setAttribute(let path, let name, let value):
            writer.write(.setAttribute, path)
            writer.write(counted: name)
            writer.write(counted: value)
        case .removeAttribute(let path, let name):
            writer.write(.removeAttribute, path)
            writer.write(counted: name)
        case .remove(let path, let isDirectory):
            writer.write(.remove, path)
            writer.write(isDirectory)
        case .rename(let path, let other):
            writer.write(.rename, path)
            writer.write(other)
        case .synchronize(let mount): writer.write(.synchronize, mount)
        case .fill(let path, let bytes):
            writer.write(.fill, path)
            writer.write(counted: bytes)
        case .batch(let requests):
            writer.write(Number.batch)
            writer.write(UInt32(truncatingIfNeeded: requests.count), .little)
            for request in requests { writer.write(counted: Array(request.frame().dropFirst(4))) }
        default: break
        }
    }
}

extension ByteWriter {
    fileprivate mutating func write(_ number: GuestRequest.Number) { write(number.rawValue, .little) }

    fileprivate mutating func write(_ number: GuestRequest.Number, _ mount: GuestMountID) {
        write(number)
        write(mount.number, .little)
    }

    fileprivate mutating func write(_ number: GuestRequest.Number, _ path: GuestPath) {
        write(number)
        write(path)
    }

    fileprivate mutating func write(_ path: GuestPath) {
        write(path.mount.number, .little)
        write(counted: path.bytes)
    }

    mutating func write(_ time: GuestTime) {
        write(time.seconds, .little)
        write(time.nanoseconds, .little)
    }
}
