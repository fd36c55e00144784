/// How disks are written over.
public struct OverlaySettings: Sendable {
    /// Whether what is written over an encrypted disk may be stored as it is, and so can be read without the key.
    let allowsPlaintext: Bool

    /// As it is where nothing is said.
    public init() {
        allowsPlaintext = false
    }

    /// As people have said it.
    public init(allowsPlaintext: Bool) {
        self.allowsPlaintext = allowsPlaintext
    }
}
