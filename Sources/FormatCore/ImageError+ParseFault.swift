import BlockImage
import ByteFormat

extension ImageError {
    /// What a fault in the structure `what`, which begins at `start` of `file`, means for the image.
    public init(_ fault: ParseFault, in file: any HostFile, at start: HostOffset, of what: String) {
        let offset = start.advanced(by: UInt64(clamping: fault.position))
        self.init(.corrupt, path: file.path, offset: offset, "\(what): \(fault.message)")
    }
}
