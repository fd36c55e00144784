import BlockImage
import Catalog

/// What verbs that change files of guests have in common.
enum GuestChange {
    /// What --output json says of an image.
    struct Report: Encodable {
        var image: PathText
        /// Where what was changed is; nil: in the image.
        var overlay: PathText?
        /// How many files were made or removed.
        var files: Int
    }

    /// Gives `body` each of `files` with the tree that it is in; its result: how many files were changed. Of one image all is done, or
    /// nothing.
    static func run(
        _ files: [String], _ guest: GuestOptions, _ writing: WritingOptions, _ output: OutputForm,
        _ body: (GuestPlace, GuestTree) throws -> Int
    ) throws {
        guest.beginProgress(output)
        try Failure.reported(as: output, filename: files.first) {
            let places = try files.map(guest.place)
            var images: [String] = []
            for place in places where !images.contains(place.image) { images.append(place.image) }
            guard images.count == 1 || writing.overlay == nil else {
                throw Failure("--overlay: goes with files of one image", status: 64)
            }
            var reports: [Report] = []
            for image in images {
                reports.append(
                    try GuestSession.change(image, guest, writing) { session in
                        var count = 0
                        for place in places where place.image == image {
                            count += try body(place, try session.tree(place.selector))
                        }
                        session.isUnchanged = count == 0
                        return Report(
                            image: PathText(image), overlay: session.overlay.map { PathText($0) }, files: count)
                    })
            }
            if output == .json { try writeJSON(reports) }
        }
    }
}
