import Fuse

/// The extended attributes of what is in an image's folder, `user.rblock.format`, `.file`, `.layer` and `.cluster-size`; and those
/// of files of guests.
extension ImageFileSystem {
    /// Reads an extended attribute, such as "user.format".
    package func extendedAttribute(_ name: [UInt8], of inode: Inode, reply: consuming ExtendedAttributeReply) {
        // ls asks every file for some of others, which must not open every image.
        guard let node = inodes[inode], name.starts(with: node.attributePrefix) else { return reply.failure(.noData) }
        gated(by: node.gate, reply) { [self] reply in
            do throws(ErrorNumber) {
                let found = try node.extendedAttributes(in: self)
                let rest = name.dropFirst(node.attributePrefix.count)
                guard let value = found.first(where: { $0.name[...] == rest })?.value else { throw .noData }
                reply.value(value)
            } catch {
                reply.failure(error)
            }
        }
    }

    /// Lists the names of the extended attributes.
    package func extendedAttributeNames(of inode: Inode, reply: consuming ExtendedAttributeNamesReply) {
        guard let node = inodes[inode] else { return reply.names([]) }
        gated(by: node.gate, reply) { [self] reply in
            do throws(ErrorNumber) {
                let found = try node.extendedAttributes(in: self)
                reply.names(found.map { node.attributePrefix + $0.name })
            } catch {
                reply.failure(error)
            }
        }
    }
}
