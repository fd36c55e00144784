import BlockImage
import Encryption

/// What a person says of how an image is to be opened, the same for every surface.
package struct OpeningOptions: Sendable {
    /// The passphrases of encrypted images.
    package var keys = ImageKeys()
    /// Whether a VMDK delta is read although its parent was changed after it was made.
    package var ignoresCID = false
    /// The place in the chain of the last image that is opened: 0 is the topmost alone. What the deeper ones store reads
    /// as zeros that no file stores, which is good for looking at one image's part of a disk and not for its content.
    package var deepest = Int.max
    /// Whether the chain is followed also below an image that is encrypted and has no key, to be described.
    package var followsEncrypted = false
    /// Whether a person said the format of the topmost image, so that what its content says is of no interest.
    package var isFormatSaid = false
    /// What lies under the topmost image, whatever that names; nil: what it names.
    package var backing: GivenBacking?
    /// The option by which a person can say what that is; nil where there is none.
    package var backingOption: String?

    /// Nothing said.
    package init() {}

    /// The image under another one, as a person gave it.
    package struct GivenBacking: Sendable {
        /// Its file.
        package var file: any HostFile
        /// The format that its name says; nil where it says none.
        package var format: ImageFormat?

        /// The image in `file`, whose name says that it is of `format`.
        package init(_ file: any HostFile, format: ImageFormat?) {
            self.file = file
            self.format = format
        }
    }
}
