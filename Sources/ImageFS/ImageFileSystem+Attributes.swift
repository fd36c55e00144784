import Fuse
import ImageFormats

/// The extended attributes of what is in an image's folder: `user.rblock.format`, `.file`, `.layer` and `.cluster-size`.
extension ImageFileSystem {
    private static let prefix = Array("user.rblock.".utf8)

    /// See `FileSystem`.
    public func extendedAttribute(_ name: [UInt8], of inode: Inode, reply: consuming ExtendedAttributeReply) {
        // ls asks every file for some of others, which must not open every image.
        guard name.starts(with: Self.prefix), let node = node(inode) else { return reply.failure(.noData) }
        gated(by: node, reply) { [self] reply in
            guard let value = extendedAttributes(of: node).first(where: { $0.name == name })?.value else {
                return reply.failure(.noData)
            }
            reply.value(value)
        }
    }

    /// See `FileSystem`.
    public func extendedAttributeNames(of inode: Inode, reply: consuming ExtendedAttributeNamesReply) {
        let node = node(inode)
        gated(by: node, reply) { [self] reply in
            reply.names(node.map { extendedAttributes(of: $0).map(\.name) } ?? [])
        }
    }

    private func extendedAttributes(of node: Node) -> [(name: [UInt8], value: [UInt8])] {
        guard case .image(let image, let place) = node else { return [] }
        let depth = if case .disk(.layer(let depth)) = place { depth } else { 0 }
        let layers = opened(image).layers
        guard layers.indices.contains(depth) else { return [] }
        let info = ImageInfo(layers[depth], listsAll: false)
        var values = [("format", info.format), ("file", info.filename), ("layer", "\(depth)")]
        if let size = info.clusterSize { values.append(("cluster-size", "\(size)")) }
        return values.map { (Self.prefix + Array($0.utf8), Array($1.utf8)) }
    }
}
