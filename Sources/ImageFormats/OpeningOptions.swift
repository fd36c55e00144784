import BlockImage
import Encryption

/// What a person says of how an image is to be opened, the same for every surface.
public struct OpeningOptions: Sendable {
    /// The passphrases of encrypted images.
    public var keys = ImageKeys()
    /// Whether an image is read although what it lies over was changed after it was made, or is another one.
    public var ignoresParentID = false
    /// The place in the chain of the last image that is opened: 0 is the topmost alone. What the deeper ones store reads
    /// as zeros that no file stores, which is good for looking at one image's part of a disk and not for its content.
    public var deepest = Int.max
    /// Whether the chain is followed also below an image that is encrypted and has no key, to be described.
    public var followsEncrypted = false
    /// Whether a person said the format of the topmost image, so that what its content says is of no interest.
    public var isFormatSaid = false
    /// What lies under the topmost image, whatever that names; nil: what it names.
    public var backing: GivenBacking?
    /// The option by which a person can say what that is; nil where there is none.
    public var backingOption: String?

    /// Nothing said.
    public init() {}

    /// The image under another one, as a person gave it.
    public struct GivenBacking: Sendable {
        /// Its file.
        public var file: any HostFile
        /// The format that its name says; nil where it says none.
        public var format: ImageFormat?

        /// The image in `file`, whose name says that it is of `format`.
        public init(_ file: any HostFile, format: ImageFormat?) {
            self.file = file
            self.format = format
        }
    }
}
